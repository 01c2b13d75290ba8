"""How time and memory grow with a size: tables, and the picture of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, nan
from pathlib import Path

from speed.rows import number


@dataclass(frozen=True)
class Point:
    """One measurement."""

    size: int
    seconds: float
    cpu_seconds: float | None
    peak_mb: float


@dataclass(frozen=True)
class Table:
    """How long `what` takes for several sizes."""

    title: str
    size: str
    """What the sizes count."""
    what: str
    """What the seconds are of."""
    points: list[Point]
    note: str = ""
    measured: str = ""
    """When, for people."""


def growth_lines(tables: Sequence[Table]) -> Iterator[str]:
    """All of them as Markdown."""
    yield from ("### Growth", "", "`python benchmarks/run growth`", "")
    yield from ("![Time and memory over each size](../docs/growth.png)", "")
    yield (
        "An exponent of 1 is growth in proportion, between this size and the one before; 0 is none. Memory is the "
        "process's peak, 10⁶ bytes."
    )
    yield ""
    for table in tables:
        yield from table_lines(table)


def table_lines(table: Table) -> Iterator[str]:
    """One of them as Markdown."""
    yield from (f"**{table.title}.** {table.note}".rstrip(), "")
    yield f"| {table.size} | {table.what}, s | exponent | CPU s | peak MB |"
    yield "|---|---|---|---|---|"
    exponents = ["", *(f"{exponent(before, after):.2f}" for before, after in pairwise(table.points))]
    for point, grown in zip(table.points, exponents, strict=True):
        cpu = "" if point.cpu_seconds is None else small(point.cpu_seconds)
        yield f"| {point.size:,} | {small(point.seconds)} | {grown} | {cpu} | {point.peak_mb:.0f} |"
    yield from (table.measured, "") if table.measured else ("",)


def exponent(before: Point, after: Point) -> float:
    """p of the time's growth as size to the power p; not a number where a difference of times drowned in noise."""
    if min(before.seconds, after.seconds) <= 0:
        return nan
    return log(after.seconds / before.seconds) / log(after.size / before.size)


def small(seconds: float) -> str:
    """Seconds, with enough digits for some microseconds."""
    return number(seconds) if seconds >= 0.01 else f"{seconds:.5f}"


def draw(tables: Sequence[Table], file: Path) -> None:
    """A panel for each table: seconds in blue on the left, memory in orange on the right, growth in proportion grey."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    columns = 5
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    for index, table in enumerate(tables, 1):
        axes = figure.add_subplot(rows, columns, index)
        shown = [point for point in table.points if point.seconds > 0]  # a difference of times may drown in noise
        sizes, seconds = [point.size for point in shown], [point.seconds for point in shown]
        axes.plot(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], color="0.8", linestyle="--")
        axes.plot(sizes, seconds, color="tab:blue", marker="o")
        axes.set(xscale="log", yscale="log", title=table.title, xlabel=table.size)
        axes.set_ylim(min(seconds) / 2, max(seconds) * 2)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(f"{table.what}, s", color="tab:blue")
        memory = axes.twinx()
        memory.plot(sizes, [point.peak_mb for point in shown], color="tab:orange", marker="s", markersize=4)
        memory.set_ylim(0, 1.15 * max(point.peak_mb for point in shown))
        memory.set_ylabel("peak MB", color="tab:orange")
    figure.savefig(file, dpi=80)
