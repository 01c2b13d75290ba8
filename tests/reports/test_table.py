from __future__ import annotations

import pytest
from rich.cells import cell_len

from mnist_trainer.reports.text import Column, table_lines

COLUMNS = (
    Column("time", least=5, keeps_end=True, rank=1),
    Column("name", least=6),
    Column("loss", right=True, rank=2),
    Column("notes", rank=3),
)
ROWS = [("2026-03-14 15:09", "a long name", "0.1234", "nothing"), ("2026-03-15 09:26", "b", "12.5", "")]


def test_a_table_without_a_width_is_whole_and_aligned() -> None:
    assert table_lines(COLUMNS, ROWS) == (
        [
            "time              name           loss  notes",
            "2026-03-14 15:09  a long name  0.1234  nothing",
            "2026-03-15 09:26  b              12.5",
        ],
        [],
    )


@pytest.mark.parametrize(
    ("width", "line", "left_out"),
    [
        (46, "2026-03-14 15:09  a long name  0.1234  nothing", []),
        (45, "2026-03-14 15:09  a long na…  0.1234  nothing", []),
        (40, "15:09  a long name  0.1234  nothing", []),
        (34, "15:09  a long na…  0.1234  nothing", []),
        (27, "15:09  a long name  0.1234", ["notes"]),
        (21, "15:09  a lon…  0.1234", ["notes"]),
        (20, "15:09  a long name", ["loss", "notes"]),
        (12, "a long name", ["time", "loss", "notes"]),
        (6, "a lon…", ["time", "loss", "notes"]),
        (1, "a lon…", ["time", "loss", "notes"]),
    ],
)
def test_columns_are_cut_and_then_left_out(width: int, line: str, left_out: list[str]) -> None:
    lines, missing = table_lines(COLUMNS, ROWS, width)
    assert (lines[1], missing) == (line, left_out)


def test_a_column_that_fits_stays_though_a_more_important_one_does_not() -> None:
    columns = (Column("a"), Column("b", rank=1), Column("c", rank=2))
    assert table_lines(columns, [("1", "x" * 50, "2")], 10) == (["a  c", "1  2"], ["b"])


def test_wide_characters_take_two_places() -> None:
    lines, _ = table_lines((Column("name", least=6), Column("n", right=True)), [("日本語日本語", "1"), ("x", "22")], 11)
    assert lines == ["name      n", "日本語…   1", "x        22"]
    assert {cell_len(line) for line in lines} == {11}


def test_a_table_without_rows_has_its_heads() -> None:
    assert table_lines(COLUMNS, [], 80) == (["time  name  loss  notes"], [])
