"""The layouts of ink, and cuts between digits that touch: `mnist_trainer/pictures/layouts.py`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures import layouts
from mnist_trainer.pictures.ink import find_ink, find_parts
from mnist_trainer.pictures.layouts import Seam, find_layouts, find_seams
from mnist_trainer.pictures.page import Box, Expect, Glyph, Layout, Line, bounding_box

Draw = Callable[..., NDArray[np.uint8]]


def layouts_in(drawn: NDArray[np.uint8], expect: Expect = "auto", cost: float = 0.0) -> list[Layout]:
    ink = find_ink(np.float32(255) - drawn, photograph=False)
    return find_layouts(ink.levels, find_parts(ink, photograph=False), expect, cost)


def the_line(layouts: list[Layout]) -> Line:
    """The one line of the first layout."""
    (line,) = layouts[0].lines
    return line


def spans(line: Line) -> dict[tuple[int, int], Glyph]:
    return {(glyph.first, glyph.end): glyph for glyph in line.glyphs}


def ends_of_chains(line: Line) -> set[int]:
    """Where chains of glyphs that begin with the first piece may end."""
    ends = {0}
    for glyph in sorted(line.glyphs, key=lambda glyph: glyph.first):
        if glyph.first in ends:
            ends.add(glyph.end)
    return ends


def around(boxes: list[Box]) -> Box:
    left, top = min(x for x, *_ in boxes), min(y for _, y, *_ in boxes)
    right, bottom = max(x + width for x, _, width, _ in boxes), max(y + height for _, y, _, height in boxes)
    return left, top, right - left, bottom - top


def test_a_digit_alone_has_one_layout(write: Draw) -> None:
    for expect in ("auto", "single"):
        (layout,) = layouts_in(write("5"), expect)
        (glyph,) = layout.lines[0].glyphs
        assert (glyph.first, glyph.end, layout.lines[0].end) == (0, 1, 1)
        assert (glyph.cost, layout.cost) == (0, 0)
        assert glyph.box == pytest.approx((60, 50, 46, 81), abs=1)


@pytest.mark.parametrize("expect", ["auto", "row", "page"])
def test_digits_apart_are_the_cheapest_chain_of_a_row(write: Draw, expect: Expect) -> None:
    line = the_line(layouts_in(write("40735", (700, 220)), expect))
    found = spans(line)
    assert line.end == 5
    for place in range(5):
        glyph = found[place, place + 1]
        assert glyph.cost == 0
        assert glyph.box[0] == pytest.approx(60 + 80 * place, abs=2)
    assert all(glyph.cost > 1 for span, glyph in found.items() if span[1] - span[0] > 1)


def test_one_digit_may_be_what_is_expected(write: Draw) -> None:
    drawn = write("44", (700, 220), spacing=3)
    (single, *_), auto = layouts_in(drawn, "single"), layouts_in(drawn)
    assert len(single.lines) == 1 and single.lines[0].end == 1
    assert [len(layout.lines[0].glyphs) for layout in layouts_in(drawn, "single")] == [1] * len(
        layouts_in(drawn, "single")
    )
    assert auto[0].lines[0].end == 2 or len(auto[0].lines) == 2
    assert auto[0].cost == 0
    assert len(auto) > 1 and all(layout.cost > 1 for layout in auto[1:])


def test_a_page_has_its_rows_in_order_and_a_row_all_in_one(write: Draw) -> None:
    drawn = write("407", (500, 420))
    write("52", at=(80, 250), sheet=drawn)
    rows = layouts_in(drawn, "page")[0].lines
    assert [line.end for line in rows] == [3, 2]
    assert max(glyph.box[1] for glyph in rows[0].glyphs) < 200 < min(glyph.box[1] for glyph in rows[1].glyphs)
    (row,) = layouts_in(drawn, "row")[0].lines
    assert row.end >= 3
    assert around([glyph.box for glyph in row.glyphs]) == around([glyph.box for line in rows for glyph in line.glyphs])


def test_the_cost_of_the_view_is_part_of_every_layout(write: Draw) -> None:
    drawn = write("407", (500, 220))
    plain, costly = layouts_in(drawn), layouts_in(drawn, cost=0.75)
    assert [layout.cost + 0.75 for layout in plain] == pytest.approx([layout.cost for layout in costly])


def test_no_parts_have_no_layout() -> None:
    for expect in ("auto", "single", "row", "page"):
        assert layouts_in(np.full((50, 60), 255, np.uint8), expect) == []


@pytest.mark.parametrize("gap", [2, 8])
def test_a_digit_in_two_parts_side_by_side_may_be_joined(write: Draw, gap: int) -> None:
    """The foot of a broken 4 beside its corner."""
    drawn = write("4", (400, 220), (60, 50))
    drawn[:, 94 - gap : 94] = 255
    write("7", at=(180, 50), sheet=drawn)
    line = the_line(layouts_in(drawn, "row"))
    whole = next(glyph for glyph in line.glyphs if glyph.first == 0 and glyph.box[2] > 40 and glyph.box[0] < 62)
    assert whole.box == pytest.approx((60, 50, 46, 81), abs=1)
    assert ends_of_chains(line) >= {whole.end, line.end}


def test_joining_costs_more_the_wider_the_gap(write: Draw) -> None:
    costs = []
    for spacing in (0.6, 0.65, 0.7):
        line = the_line(layouts_in(write("11", (300, 220), spacing=spacing - 0.3), "row"))
        costs.append(spans(line)[0, 2].cost)
    assert 0 < costs[0] < costs[1] < costs[2]


def test_digits_that_touch_may_be_cut_or_not(write: Draw) -> None:
    drawn = write("575", (400, 220), spacing=0.56)
    line = the_line(layouts_in(drawn, "row"))
    found = spans(line)
    assert line.end >= 3
    left = [glyph for glyph in line.glyphs if glyph.first == 0 and glyph.box[2] == pytest.approx(45, abs=8)]
    assert left and left[0].cost > 0.2
    assert around([glyph.box for glyph in line.glyphs]) == pytest.approx((60, 50, 135, 81), abs=2)
    assert (0, 1) in found and ends_of_chains(line) == set(range(line.end + 1))


def test_the_whole_of_a_cut_piece_is_there_too_and_costs_less_than_its_cuts(write: Draw) -> None:
    """A wide digit may just be wide."""
    import cv2

    drawn = cv2.resize(write("51", (500, 220)), None, fx=1.5, fy=1)
    line = the_line(layouts_in(np.asarray(drawn, np.uint8), "row"))
    last = line.end - 1
    assert last > 1
    whole = spans(line)[0, last]
    assert all(whole.cost < glyph.cost for glyph in line.glyphs if glyph.end <= last and glyph is not whole)


def test_cuts_in_one_place_are_alternatives(write: Draw) -> None:
    """Whatever of them a glyph ends at, others begin there, and no digit need be put together of slices."""
    line = the_line(layouts_in(write("77", (400, 220), spacing=0.56), "row"))
    firsts = [glyph for glyph in line.glyphs if glyph.first == 0 and glyph.box[2] == pytest.approx(45, abs=8)]
    assert len(firsts) > 1
    for first in firsts:
        assert (first.end, line.end) in spans(line)


def test_a_cut_costs_more_in_a_narrow_piece() -> None:
    """Two bars that meet, as the one half of a piece, and of one twice as wide."""
    least = []
    for wide in (60, 120):
        drawn = np.full((120, 300), 255, np.uint8)
        drawn[20:100, 240:250] = 0
        drawn[20:100, [20, 21, 22, 23, 24, 16 + wide, 17 + wide, 18 + wide, 19 + wide]] = 0
        drawn[55:60, 20 : 20 + wide] = 0
        line = the_line(layouts_in(drawn, "row"))
        least.append(min(glyph.cost for glyph in line.glyphs if glyph.first == 0 and glyph.end + 2 < line.end))
    assert least[0] > least[1] + 0.5


def test_what_is_hardly_cut_like_that_is_not_there(write: Draw) -> None:
    """A network has no time to look at all that may be cut from a long row."""
    line = the_line(layouts_in(write("5757575", (700, 220), spacing=0.56), "row"))
    cut = [glyph for glyph in line.glyphs if glyph.end - glyph.first < line.end]
    assert line.end > 12
    assert len(cut) < 0.45 * line.end * (line.end + 1) / 2


def test_what_is_much_lower_than_the_line_costs_more(write: Draw) -> None:
    drawn = write("55", (500, 220))
    write("5", at=(260, 70), height=40, sheet=drawn)
    *_, high, low = (glyph for glyph in the_line(layouts_in(drawn, "row")).glyphs if glyph.end - glyph.first == 1)
    assert high.cost == 0
    assert low.cost > 1


def test_the_ink_of_a_piece_is_in_its_glyphs_and_that_of_others_is_not(write: Draw) -> None:
    """Digits whose boxes overlap."""
    drawn = np.full((220, 300), 255, np.uint8)
    write("7", at=(60, 50), sheet=drawn)
    alone = the_line(layouts_in(drawn, "row")).glyphs[0]
    write("7", at=(98, 85), height=60, sheet=drawn)
    line = the_line(layouts_in(drawn, "row"))
    first = spans(line)[0, 1]
    assert first.box == alone.box
    assert np.array_equal(first.image, alone.image)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), expect=st.sampled_from(("auto", "single", "row", "page")))
def test_there_is_a_chain_through_every_line_of_anything(seed: int, expect: Expect) -> None:
    import cv2

    random = np.random.default_rng(seed)
    height, width = random.integers(8, 120, 2).tolist()
    drawn = np.full((height, width), 255, np.uint8)
    for _ in range(random.integers(1, 12)):
        start, end = random.integers(0, 120, (2, 2)).tolist()
        cv2.line(drawn, start, end, int(random.integers(0, 200)), int(random.integers(1, 7)), cv2.LINE_AA)
    for layout in layouts_in(drawn, expect):
        assert layout.lines and np.isfinite(layout.cost)
        for line in layout.lines:
            assert line.end in ends_of_chains(line)
            assert len(spans(line)) == len(line.glyphs)
            for glyph in line.glyphs:
                assert 0 <= glyph.first < glyph.end <= line.end
                assert glyph.cost >= 0 and np.isfinite(glyph.cost)
                assert glyph.image.shape == (28, 28) and glyph.image.dtype == np.uint8 and glyph.image.max() == 255
                x, y, across, down = glyph.box
                assert x >= 0 and y >= 0 and across > 0 and down > 0 and x + across <= width and y + down <= height


def test_lines_of_one_digit_each_may_be_a_broken_one(write: Draw) -> None:
    above_each_other = np.full((420, 200), 255, np.uint8)
    above_each_other[:200] = write("5")[:200]
    above_each_other[220:] = write("2")[:200]
    assert len(layouts_in(above_each_other)[0].lines) == 2
    assert layouts_in(above_each_other)[0].cost > 0
    assert layouts_in(above_each_other, "page")[0].cost == 0


def test_a_glyph_that_is_wider_than_the_line_is_high_costs_more() -> None:
    import cv2

    drawn = np.full((120, 200), 255, np.uint8)
    cv2.ellipse(drawn, (100, 60), (28, 20), 0, 0, 360, 0, 4)
    line = the_line(layouts_in(drawn, "row"))
    assert spans(line)[0, line.end].cost > 1


def test_what_touches_the_border_may_be_no_writing_but_a_digit_alone_may(write: Draw) -> None:
    """A finger that comes in from the side is not read with the row, and costs little to leave out."""
    import cv2

    drawn = write("58", (320, 220))
    cv2.line(drawn, (270, 110), (320, 118), 0, 14)
    both, inner, *others = layouts_in(drawn)
    assert the_line([inner]).end == 2 < the_line([both]).end
    assert inner.cost + 0.5 < both.cost
    assert min(layout.cost for layout in others) > inner.cost + 1  # one digit of two is too little
    (alone,) = layouts_in(write("5", (200, 220), (154, 50)))
    assert alone.cost == 0


def test_what_is_as_long_as_a_line_of_print_is_not_cut(write: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of print would take half a minute."""
    tried: list[int] = []

    def counted(levels: NDArray[np.float32], most: int) -> list[Seam]:
        tried.append(most)
        return []

    monkeypatch.setattr(layouts, "find_seams", counted)
    layouts_in(write("8" * 8, (260, 120), (20, 30), 50, spacing=0.4))
    assert len(tried) == 1
    layouts_in(write("8" * 40, (900, 120), (20, 30), 50, spacing=0.4))
    assert len(tried) == 1


def touching(write: Draw, text: str, overlap: float, height: int = 80) -> NDArray[np.float32]:
    """Levels of digits that reach into each other, of which a half high and one begins `overlap` before it ends."""
    drawn = write(text, (height * 6, height * 2), (height, height // 3), height, spacing=0.58 - overlap)
    levels = 1 - drawn.astype(np.float32) / 255
    x, y, width, down = bounding_box(levels > 0)
    return levels[y : y + down, x : x + width]


def left_of(seam: Seam, levels: NDArray[np.float32]) -> float:
    """The share of the ink that is on the left of a seam."""
    return float(levels[np.arange(levels.shape[1]) < seam.columns[:, None]].sum() / levels.sum())


def crossed(seam: Seam, levels: NDArray[np.float32]) -> float:
    """The ink that a seam crosses, as a share of the height."""
    height, width = levels.shape
    return float(levels[np.arange(height), np.minimum(seam.columns, width - 1)].mean())


def nearest(found: list[Seam], middle: float) -> Seam:
    """The seam that is nearest to a column in the mean."""
    return min(found, key=lambda seam: abs(float(seam.columns.mean()) - middle))


def test_two_discs_that_touch_are_cut_between_them() -> None:
    import cv2

    levels = np.zeros((60, 118), np.float32)
    cv2.circle(levels, (30, 30), 29, 1, -1)
    cv2.circle(levels, (87, 30), 29, 1, -1)
    between = nearest(find_seams(levels, 3), 58.5)
    assert between.columns.shape == (60,)
    assert np.abs(between.columns - 58.5).max() < 12
    assert crossed(between, levels) < 0.35


@pytest.mark.parametrize("height", [32, 48, 80, 300])
@pytest.mark.parametrize("text", ["47", "77", "57", "97"])
def test_digits_that_touch_are_cut_where_they_do(write: Draw, text: str, height: int) -> None:
    levels = touching(write, text, 0.02, height)
    ink = levels[:, : levels.shape[1] // 2].sum() / levels.sum()
    found = find_seams(levels, 5)
    shares = [left_of(seam, levels) for seam in found]
    best = int(np.argmin(np.abs(np.array(shares) - ink)))
    assert shares[best] == pytest.approx(ink, abs=0.12)
    assert crossed(found[best], levels) < 0.3


def test_a_seam_through_a_junction_costs_less_than_one_through_a_stroke() -> None:
    """Two strokes that meet in a corner at the top are rather two digits than one bar that ends there."""
    import cv2

    levels = np.zeros((60, 90), np.float32)
    cv2.line(levels, (10, 5), (80, 5), 1, 5)
    for x in (10, 45, 80):
        cv2.line(levels, (x, 5), (x, 55), 1, 5)
    junction = nearest(find_seams(levels, 9), 45)
    stroke = nearest(find_seams(levels, 9), 28)
    assert abs(float(junction.columns.mean()) - 45) < 6
    assert junction.cost < stroke.cost / 2
    assert crossed(junction, levels) >= crossed(stroke, levels)


def test_strokes_that_lean_are_cut_along_them() -> None:
    """A seam may move two columns in a row: no steeper one parts a bar that slants from what is under it."""
    import cv2

    levels = np.zeros((60, 110), np.float32)
    cv2.line(levels, (2, 55), (90, 4), 1, 4)
    cv2.line(levels, (22, 57), (107, 8), 1, 4)
    assert min(crossed(seam, levels) for seam in find_seams(levels, 6)) < 0.07


def test_a_seam_goes_round_ink() -> None:
    """No straight cut would do between strokes that lean."""
    import cv2

    levels = np.zeros((60, 80), np.float32)
    for x in (32, 48, 64):
        cv2.line(levels, (x, 2), (x - 14, 57), 1, 5)
    between = nearest(find_seams(levels, 4), 49)
    assert crossed(between, levels) < 0.1
    assert between.columns[3] - between.columns[56] > 4


def test_there_are_at_most_as_many_seams_as_asked_for_the_one_with_least_ink_on_its_left_first(write: Draw) -> None:
    levels = touching(write, "5328", 0.0)
    for most in range(1, 8):
        shares = [left_of(seam, levels) for seam in find_seams(levels, most)]
        assert len(shares) <= most
        assert shares == pytest.approx(sorted(shares), abs=0.01)
    assert len(find_seams(levels, 3)) == 3


def test_seams_are_not_all_where_there_is_the_best_of_them(write: Draw) -> None:
    """Where bold digits meet in two places, one of which is much the thicker."""
    drawn = write("575", (400, 220), spacing=0.56)
    x, y, width, height = bounding_box(drawn < 255)
    levels = 1 - drawn[y : y + height, x : x + width].astype(np.float32) / 255
    found = find_seams(levels, 9)
    for middle in (46, 90):
        near = [seam for seam in found if abs(float(seam.columns.mean()) - middle) < 12]
        assert 0 < len(near) < len(found)


def test_seams_differ(write: Draw) -> None:
    levels = touching(write, "23456", 0.03, 96)
    found = find_seams(levels, 24)
    differences = [np.abs(one.columns - other.columns).max() for one, other in combinations(found, 2)]
    assert len(found) > 4
    assert min(differences) > 6, "three columns of the 48 rows in which they are looked for"


@pytest.mark.parametrize("shape", [(60, 10), (60, 1), (1, 1), (300, 40)])
def test_narrow_pieces_are_not_cut(shape: tuple[int, int]) -> None:
    assert find_seams(np.ones(shape, np.float32), 5) == []


def test_a_block_is_not_worth_a_cut() -> None:
    assert find_seams(np.ones((60, 200), np.float32), 5) == []


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 90), width=st.integers(1, 300), most=st.integers(1, 6))
def test_seams_run_inside_anything_from_its_first_row_to_its_last(
    seed: int, height: int, width: int, most: int
) -> None:
    levels = (np.random.default_rng(seed).random((height, width)) ** 3).astype(np.float32)
    for seam in find_seams(levels, most):
        assert seam.columns.shape == (height,)
        assert seam.columns.min() >= 0 and seam.columns.max() <= width
        assert seam.cost >= 0 and np.isfinite(seam.cost)


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.2])
@pytest.mark.parametrize("size", [1, 3])
def test_a_strip_is_a_straight_line_of_digits_of_one_height(slope: float, size: int) -> None:
    """Rings at any slope and in any size are 18 pixels high, in the middle row; windows have them in the middle."""
    import cv2

    drawn = np.full((150 * size, 330 * size), 255, np.uint8)
    middles = [(60 + 70 * at, round(75 + slope * 70 * (at - 1))) for at in range(4)]
    for x, y in middles:
        cv2.ellipse(drawn, (x * size, y * size), (12 * size, 20 * size), 0, 0, 360, 0, 4 * size, cv2.LINE_AA)
    line = the_line(layouts_in(drawn))
    assert line.strip is not None
    rows = np.flatnonzero((line.strip.image > 99).any(axis=1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(13.5, abs=1) and len(rows) == pytest.approx(18, abs=2)
    assert not line.strip.image[:, :13].any() and not line.strip.image[:, -13:].any()
    whole = [glyph for glyph in line.glyphs if glyph.cost == 0]
    assert len(whole) == 4
    for glyph in whole:
        columns = np.flatnonzero((line.strip.window(glyph.box) > 99).any(axis=0))
        inner = columns[(columns > 6) & (columns < 21)]
        assert (inner[0] + inner[-1]) / 2 == pytest.approx(13.5, abs=1)


def test_the_only_digit_has_no_strip(write: Draw) -> None:
    assert all(line.strip is None for layout in layouts_in(write("1")) for line in layout.lines)
