"""The figures of each occasion, kept as JSON, and the part of RESULTS.md that is made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speed.machine import sentence
from speed.rounds import Series
from speed.rows import Goal, Row, number, row_lines
from speed.tables import Point, Table, growth_lines

ROWS = ("lecture_epoch", "lecture_process", "fast", "large_mlp", "start", "reading", "memory", "gpu")
"""The scripts, in the order of the table."""
BEGIN, END = "<!-- speed: begin, written by benchmarks/run -->", "<!-- speed: end -->"


@dataclass(frozen=True)
class Occasion:
    """What one call of `benchmarks/run` measured: rows by the name of their script, and tables of growth."""

    when: str
    machine: dict[str, Any]
    rows: dict[str, list[Row]]
    growth: list[Table] = field(default_factory=list)


def now() -> str:
    """UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def keep(occasion: Occasion, folder: Path) -> None:
    """Write it into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = occasion.when.replace(" ", "_").replace(":", "-")
    (folder / f"{name}.json").write_text(json.dumps(asdict(occasion), indent=1, ensure_ascii=False) + "\n")


def occasions(folder: Path) -> list[Occasion]:
    """All that were kept, the latest last."""
    return [_read(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def _read(saved: dict[str, Any]) -> Occasion:
    rows = {name: [_row(row) for row in some] for name, some in saved["rows"].items()}
    growth = [Table(**{**one, "points": [Point(**point) for point in one["points"]]}) for one in saved["growth"]]
    return Occasion(saved["when"], saved["machine"], rows, growth)


def _row(saved: dict[str, Any]) -> Row:
    series = tuple(Series(**one) for one in saved["series"])
    goals = tuple(Goal(**one) for one in saved["goals"])
    return Row(**{**saved, "series": series, "goals": goals})


def write(file: Path, lines: Iterable[str]) -> None:
    """Put the part about speed into `file`, in place of the one that is there, else at its end."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    part = "\n".join([BEGIN, *lines, END])
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if found else "\n"
    file.write_text(f"{before.rstrip()}\n\n{part}{after}".lstrip(), encoding="utf-8")


def part_lines(kept: list[Occasion]) -> Iterator[str]:
    """The part about speed: the goals on each occasion, then each row as it was measured last."""
    yield from ("## Speed", "", "`python benchmarks/run`. Everything here is written by it.", "")
    yield from ("| what | goal | measured, by occasion | met |", "|---|---|---|---|")
    latest = latest_rows(kept)
    for name, (rows, _) in latest.items():
        for row in rows:
            yield from _goal_lines(row, [earlier for one in kept for earlier in one.rows.get(name, [])])
    yield ""
    for index, occasion in enumerate(kept, 1):
        yield f"Occasion {index}, {occasion.when} UTC: {sentence(occasion.machine)}"
        yield ""
    for rows, occasion in latest.values():
        for row in rows:
            yield from row_lines(row)
            yield f"Measured {occasion.when} UTC."
            yield ""
    if tables := latest_growth(kept):
        yield from growth_lines(tables)


def latest_rows(kept: list[Occasion]) -> dict[str, tuple[list[Row], Occasion]]:
    """The rows of each script as they were measured last with all their goals, and when."""
    found: dict[str, tuple[list[Row], Occasion]] = {}
    for occasion in kept:
        for name, rows in occasion.rows.items():
            if name not in found or _goals(rows) >= _goals(found[name][0]):
                found[name] = rows, occasion
    return {name: found[name] for name in ROWS if name in found}


def _goals(rows: list[Row]) -> int:
    return sum(len(row.goals) for row in rows)


def latest_growth(kept: list[Occasion]) -> list[Table]:
    """Each table of growth as it was measured last, those over the same thing together."""
    found = {
        table.title: replace(table, measured=f"\nMeasured {occasion.when} UTC.")
        for occasion in kept
        for table in occasion.growth
    }
    things = list(dict.fromkeys(table.size for table in found.values()))
    return sorted(found.values(), key=lambda table: things.index(table.size))


def _goal_lines(row: Row, history: list[Row]) -> Iterator[str]:
    """A line for each goal, with its figures on all occasions on which the row was measured."""
    if row.open is not None:
        yield f"| {row.title} | | open: {row.open} | |"
    for goal in row.goals:
        same = [one for past in history if past.title == row.title for one in past.goals if one.text == goal.text]
        figures = ", ".join(number(one.measured) for one in same)
        met = "yes" if all(one.met for one in same) else "**no**" if not goal.met else "not always"
        yield f"| {row.title} | {goal.text} | {figures} {goal.unit} | {met} |"
