"""The figures that README.md shows: the latest medians, of what people wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from speed.rounds import Series
from speed.rows import Row, number

SHOWN = {
    "lecture_epoch": ("An epoch of the lecture's network alone", "this trainer"),
    "lecture_process": ("`mnist-train --config lecture`: two epochs, test, all pictures", "this trainer"),
    "fast": ("`mnist-train --config fast`: 99 % on the test images", "this trainer"),
    "reading": ("`mnist-predict picture.png`", "mnist-predict, one file"),
    "memory": ("The most memory that `lecture` holds", "mnist-train --config lecture"),
}
"""By the script's name: what is shown, and which of its series is ours."""
PEERLESS = "mnist-"
"""How other figures of ours begin, which stand beside none."""


def shown_lines(latest: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """A table of the rows that were measured."""
    yield from ("| what, whole commands with all their files | this trainer | others |", "|---|---|---|")
    for name, (words, ours) in SHOWN.items():
        for row in latest.get(name, ())[:1]:
            series = {one.name: one for one in row.series}
            others = [one for one in row.series if one.name != ours and not one.name.startswith(PEERLESS)]
            told = ", ".join(f"{one.name} {_amount(one)}" for one in others if one.unit != "%")
            told = told.replace('python -c "import torch"', "`import torch` alone")
            yield f"| {words} | {_amount(series[ours])} | {told} |"


def _amount(series: Series) -> str:
    return f"{number(series.median)} {series.unit}"
