"""A table as aligned text that fits a width: columns are cut first, then left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

COLUMN_GAP = 2
"""Spaces between columns."""


@dataclass(frozen=True)
class Column:
    """A column's head, and what may become of it where the table is too wide.

    It can be cut to `least` characters (None: not at all): at its end to any width from there on, or with `keeps_end`
    to its last `least` characters alone. Columns with a `rank` above 0 may be left out, those with a low one are taken
    first.
    """

    head: str
    right: bool = False
    least: int | None = None
    keeps_end: bool = False
    rank: int = 0


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
) -> tuple[list[str], list[str]]:
    """The table's lines, the heads first, and the heads of the columns that were left out to keep within `width`."""
    table = [[column.head for column in columns], *rows]
    natural = [max(cell_len(cells[index]) for cells in table) for index in range(len(columns))]
    widths = natural if width is None else _fitted(columns, natural, width)
    lines = [
        (" " * COLUMN_GAP)
        .join(_cell(*entry) for entry in zip(columns, cells, widths, strict=True) if entry[2])
        .rstrip()
        for cells in table
    ]
    return lines, [column.head for column, kept in zip(columns, widths, strict=True) if not kept]


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """The columns' widths; 0 is a column that is left out. What room is left goes to those that were cut."""
    least = [
        wide if column.least is None else min(wide, max(column.least, cell_len(column.head)))
        for column, wide in zip(columns, natural, strict=True)
    ]
    widths = [0] * len(columns)
    for index in sorted(range(len(columns)), key=lambda index: columns[index].rank):
        if columns[index].rank == 0 or _total_width([*widths, least[index]]) <= width:
            widths[index] = least[index]
    for index, wide in enumerate(natural):
        room = max(0, width - _total_width(widths))
        if widths[index] and (widths[index] + room >= wide or not columns[index].keeps_end):
            widths[index] = min(wide, widths[index] + room)
    return widths


def _total_width(widths: Sequence[int]) -> int:
    kept = [wide for wide in widths if wide]
    return sum(kept) + COLUMN_GAP * (len(kept) - 1)


def _cell(column: Column, text: str, width: int) -> str:
    length = cell_len(text)
    if length > width and column.keeps_end:
        text = text[-width:]
    elif length > width:
        text = f"{set_cell_size(text, width - 1).rstrip()}…"
    spaces = " " * (width - cell_len(text))
    return f"{spaces}{text}" if column.right else f"{text}{spaces}"
