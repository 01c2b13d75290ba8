"""The strip that shows how a picture was read: `mnist_trainer/reports/digit_images.py`."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import StorageError
from mnist_trainer.inference.reading import DigitPrediction, Prediction, unreadable
from mnist_trainer.pictures.page import ReadingSteps
from mnist_trainer.reports.digit_images import StripFolder, strip

GOLDEN = Path(__file__).parent / "samples" / "strip.png"
GREEN, ORANGE = (0, 122, 90), (213, 94, 0)


def answer(digit: int, x: int, refused: bool = False) -> DigitPrediction:
    image = np.full((28, 28), 20 * digit, np.uint8)
    reason = "looks like no digit: 87 % sure" if refused else None
    return DigitPrediction(digit, 0.9, (), (x, 40, 60, 80), refused, reason, image)


def picture(path: str | None = "a.png", high: int = 80, wide: int = 100, digits: int = 2) -> Prediction:
    """A red picture of twice the size of its steps, with a digit in its left half and one in its right."""
    upright = np.zeros((high, wide, 3), np.uint8)
    upright[..., 0] = 255
    steps = ReadingSteps(upright, np.full((high, wide), 200, np.uint8), np.full((high, wide), 100, np.uint8), 2.0)
    answers = (answer(4, 20), answer(9, 120, refused=True))[:digits]
    return Prediction(path, "4?"[:digits], answers, 0.9, steps=steps)


def drawn(prediction: Prediction) -> NDArray[np.uint8]:
    content = strip(prediction)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return np.asarray(Image.open(BytesIO(content)))


def is_at(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.intp]:
    """Where the pixels have a colour, as y and x."""
    return np.argwhere((pixels == colour).all(axis=2))


def test_the_steps_stand_side_by_side_above_the_digits() -> None:
    pixels = drawn(picture())
    assert pixels.shape[1] == 1200
    for colour, left in (((255, 0, 0), 12), ((200, 200, 200), 309), ((100, 100, 100), 606)):
        there = is_at(pixels, colour)
        there = there[(there[:, 0] > 50) & (there[:, 1] >= left) & (there[:, 1] < left + 297)]  # below the title
        assert there.min(axis=0).tolist() == [54, left]
        assert (there.max(axis=0) - there.min(axis=0) + 1).tolist() == [228, 285]
    below = 54 + 228 + 12 + 18
    for place, grey in ((12, 80), (108, 180)):
        assert (pixels[below : below + 84, place : place + 84] == grey).all()


def test_boxes_are_where_the_digits_are() -> None:
    panel = drawn(picture())[54 : 54 + 228, 903 : 903 + 285]
    scale = 2.85 / 2  # from the upright picture, which is twice as large as its steps
    for colour, left in ((GREEN, 20), (ORANGE, 120)):
        edges = is_at(panel, colour)
        edges = edges[edges[:, 0] > 40 * scale + 4]  # below the answer that stands above the box
        (_, x), (bottom, right) = edges.min(axis=0), edges.max(axis=0)
        assert [x, right, bottom] == pytest.approx([left * scale, (left + 60) * scale, 120 * scale], abs=2)


@pytest.mark.parametrize(("wide", "columns"), [(100, 4), (159, 4), (160, 2), (479, 2), (480, 1), (800, 1)])
def test_wide_pictures_get_more_room(wide: int, columns: int) -> None:
    first = is_at(drawn(picture(wide=wide, digits=0)), (255, 0, 0))
    first = first[(first[:, 0] == first[0, 0]) & (first[:, 1] < 1200 // columns)]
    assert first[:, 1].max() - first[:, 1].min() + 1 == 1188 // columns - 12


def test_many_digits_take_several_rows() -> None:
    rows = []
    for count in (1, 12, 13, 40):
        many = Prediction("a.png", "4" * count, tuple(answer(4, 0) for _ in range(count)), 0.9)
        rows.append(drawn(many).shape[0])
    assert [(height - rows[0]) / 114 for height in rows] == [0, 0, 1, 3]


def test_a_refused_picture_shows_what_was_seen() -> None:
    seen = picture(digits=0)
    refused = Prediction("a.png", "", (), None, refused=True, reason="no ink " * 40, steps=seen.steps)
    assert drawn(refused).shape[0] > drawn(seen).shape[0]


def test_every_strip_is_drawn_as_it_was() -> None:
    """But for the last bits of letters, which differ from one FreeType to the next."""
    golden = np.asarray(Image.open(GOLDEN)).astype(float)
    pixels = drawn(picture())
    assert pixels.shape == golden.shape
    assert np.abs(pixels - golden).mean() < 0.5


def test_each_picture_has_a_file_of_its_own(tmp_path: Path) -> None:
    strips = StripFolder(tmp_path / "new" / "steps")
    paths = ["one/a.png", "two/a.png", "two/A.jpg", "a-steps-2.png", "-", None, "ü 1.png"]
    answers = [picture(path) for path in paths]
    answers.insert(1, unreadable("broken.png", "damaged"))
    assert list(strips.write_strips(answers)) == answers
    names = ["a-steps.png", "a-steps-2.png", "A-steps-3.png", "a-steps-2-steps.png"]
    names += ["picture-steps.png", "picture-steps-2.png", "ü 1-steps.png"]
    assert strips.names == names
    assert sorted(path.name for path in (tmp_path / "new" / "steps").iterdir()) == sorted(names)
    assert (tmp_path / "new" / "steps" / "ü 1-steps.png").read_bytes() == strip(picture())
    assert strips.summary() == f"Written to {tmp_path / 'new' / 'steps'}: 7 strips"


def test_each_page_has_a_file_of_its_own(tmp_path: Path) -> None:
    strips = StripFolder(tmp_path)
    list(strips.write_strips([replace(picture("scan.tif"), page=number) for number in (1, 2)]))
    assert strips.names == ["scan-page-1-steps.png", "scan-page-2-steps.png"]


def test_strips_are_written_as_answers_come(tmp_path: Path) -> None:
    strips = StripFolder(tmp_path)
    coming = strips.write_strips(picture(path) for path in ("a.png", "b.png"))
    assert list(tmp_path.iterdir()) == []
    next(coming)
    assert [path.name for path in tmp_path.iterdir()] == ["a-steps.png"]
    assert strips.summary() == f"Written to {tmp_path}: a-steps.png"


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        StripFolder(tmp_path / "file")
