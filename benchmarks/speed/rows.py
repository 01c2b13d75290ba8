"""A row of the table: what was measured beside what, and whether its goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from speed.rounds import Series


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was."""

    text: str
    measured: float
    unit: str
    met: bool
    spread: tuple[float, float] | None = None
    """Lowest and highest of the rounds."""
    by_cpu: float | None = None
    """The same of CPU time instead of seconds: what a busy machine disturbs less."""

    def summary(self) -> str:
        """`21.2 × (19.0 to 22.3)`."""
        spread = f" ({number(self.spread[0])} to {number(self.spread[1])})" if self.spread else ""
        return f"{number(self.measured)} {self.unit}{spread}"


@dataclass(frozen=True)
class Row:
    """One row, with all that its figures need to be understood."""

    title: str
    command: str
    series: tuple[Series, ...] = ()
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = field(default=())
    open: str | None = None
    """Why it was not measured here."""


def faster(ours: Series, theirs: Series, least: float) -> Goal:
    """Ours is to be `least` times faster."""
    ratio = theirs.median / ours.median
    return Goal(
        f"≥ {least:g} × faster than {theirs.name}",
        ratio,
        "×",
        ratio >= least,
        _ratios(theirs, ours),
        _by_cpu(theirs, ours),
    )


def within(ours: Series, theirs: Series, most: float) -> Goal:
    """Ours is to take no more than `most` times as long."""
    ratio = ours.median / theirs.median
    return Goal(
        f"{ours.name}: ≤ {most:g} × {theirs.name}",
        ratio,
        "×",
        ratio <= most,
        _ratios(ours, theirs),
        _by_cpu(ours, theirs),
    )


def above(ours: Series, base: Series, most: float) -> Goal:
    """Ours is to take no more than `most` on top of `base`."""
    more = ours.median - base.median
    pairs = [mine - theirs for mine, theirs in zip(ours.values, base.values, strict=False)]
    cpu = statistics.median(ours.cpu) - statistics.median(base.cpu) if ours.cpu and base.cpu else None
    text = f"{ours.name}: ≤ {base.name} + {most:g} {ours.unit}"
    return Goal(text, more, ours.unit, more <= most, (min(pairs), max(pairs)), cpu)


def at_least(name: str, values: Series, least: float, measured: float | None = None) -> Goal:
    """A figure, the median of `values` if no other is told, is to be at least `least`."""
    value = values.median if measured is None else measured
    return Goal(f"{name} ≥ {least:g} {values.unit}", value, values.unit, value >= least)


def _by_cpu(upper: Series, lower: Series) -> float | None:
    if not upper.cpu or not lower.cpu:
        return None
    return statistics.median(upper.cpu) / statistics.median(lower.cpu)


def _ratios(upper: Series, lower: Series) -> tuple[float, float]:
    pairs = [a / b for a, b in zip(upper.values, lower.values, strict=False)]
    return min(pairs), max(pairs)


def row_lines(row: Row) -> Iterator[str]:
    """The row as Markdown."""
    yield from (f"### {row.title}", "", f"`{row.command}`", "")
    if row.open is not None:
        yield from (f"**Open**: {row.open}", "")
    if row.series:
        yield "| measured | median | lowest to highest | CPU time, median | runs |"
        yield "|---|---|---|---|---|"
        yield from map(_series_line, row.series)
        yield ""
    if row.goals:
        yield "| goal | measured (lowest to highest of the rounds) | by CPU time | met |"
        yield "|---|---|---|---|"
        yield from map(_goal_line, row.goals)
        yield ""
    for note in row.notes:
        yield from (note, "")


def _goal_line(goal: Goal) -> str:
    cpu = "" if goal.by_cpu is None else f"{number(goal.by_cpu)} {goal.unit}"
    return f"| {goal.text} | {goal.told()} | {cpu} | {'yes' if goal.met else '**no**'} |"


def _series_line(series: Series) -> str:
    spread = f"{number(min(series.values))} to {number(max(series.values))}"
    cpu = f"{number(statistics.median(series.cpu))} s" if series.cpu else ""
    return f"| {series.name} | {number(series.median)} {series.unit} | {spread} | {cpu} | {len(series.values)} |"


def number(value: float) -> str:
    """Three digits that count, more before the point where there are."""
    if value == 0:
        return "0"
    digits = 3 if abs(value) < 0.0995 else 2 if abs(value) < 9.95 else 1 if abs(value) < 99.5 else 0
    return f"{value:,.{digits}f}"
