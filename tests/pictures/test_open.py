from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures import open as opening
from mnist_trainer.pictures.open import LONGEST, open_picture, picture_of

CORNERS = np.repeat(np.repeat(np.array([[0, 85, 85], [170, 255, 255]], np.uint8), 8, axis=0), 8, axis=1)
"""A picture [16, 24] whose corners differ, so that each of the eight orientations can be told from the others."""


def corners_of(grey: NDArray[np.uint8]) -> list[int]:
    """The grey levels of the four corners in reading order, rounded to what `CORNERS` has."""
    return [round(float(grey[y, x]) / 85) * 85 for y in (1, -2) for x in (1, -2)]


def png(width: int, height: int) -> bytes:
    """The head of a PNG of this size, and nothing that could be decoded."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize(
    ("orientation", "corners", "size"),
    [
        (1, [0, 85, 170, 255], (24, 16)),
        (2, [85, 0, 255, 170], (24, 16)),
        (3, [255, 170, 85, 0], (24, 16)),
        (4, [170, 255, 0, 85], (24, 16)),
        (5, [0, 170, 85, 255], (16, 24)),
        (6, [170, 0, 255, 85], (16, 24)),
        (7, [255, 85, 170, 0], (16, 24)),
        (8, [85, 255, 0, 170], (16, 24)),
        (0, [0, 85, 170, 255], (24, 16)),
        (9, [0, 85, 170, 255], (24, 16)),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_the_orientation_is_applied_and_an_invalid_one_ignored(
    tmp_path: Path, orientation: int, corners: list[int], size: tuple[int, int], suffix: str
) -> None:
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(CORNERS).save(path, exif=oriented(orientation))
    picture = open_picture(path)
    assert corners_of(picture.pixels) == corners
    assert picture.size == size == picture.pixels.shape[::-1]


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\xff\xff", b""])
def test_damaged_metadata_are_ignored(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "damaged.jpg"
    Image.fromarray(CORNERS).save(path, exif=exif)
    assert corners_of(open_picture(path).pixels) == [0, 85, 170, 255]


def test_an_orientation_that_is_no_number_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "words.jpg"
    six_as_text = b"II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 0x0112, 2, 4, b"six\0", 0)
    Image.fromarray(CORNERS).save(path, exif=b"Exif\0\0" + six_as_text)
    with Image.open(path) as image:
        assert image.getexif()[ExifTags.Base.Orientation] == "six"
    assert corners_of(open_picture(path).pixels) == [0, 85, 170, 255]


def test_a_large_jpeg_is_shrunk_while_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(CORNERS).resize((4800, 3200), Image.Resampling.NEAREST).convert("RGB").save(path, exif=oriented(6))
    decoded: list[tuple[int, int]] = []
    upright = opening._upright

    def spy(image: Image.Image, size: tuple[int, int]) -> opening.Picture:
        image.load()
        decoded.append(image.size)
        return upright(image, size)

    monkeypatch.setattr(opening, "_upright", spy)
    picture = open_picture(path)
    assert decoded == [(2400, 1600)]
    assert max(picture.pixels.shape) <= LONGEST
    assert picture.size == (3200, 4800)
    assert corners_of(picture.pixels) == [170, 0, 255, 85]


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    first, second = Image.fromarray(CORNERS), Image.fromarray(255 - CORNERS)
    first.save(path, save_all=True, append_images=[second])
    assert corners_of(open_picture(path).pixels) == [0, 85, 170, 255]


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_one_colour_before_nothing_is_a_drawing_in_the_alpha_channel(shade: int) -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 8:12] = 255
    image = Image.merge("LA", (Image.new("L", (20, 20), shade), Image.fromarray(alpha)))
    assert np.array_equal(picture_of(image).pixels, alpha)


def test_strokes_of_several_colours_before_nothing_are_a_drawing_too() -> None:
    alpha, grey = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    alpha[:, 3] = alpha[3, :] = 255
    grey[3, :] = 200
    image = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    assert np.array_equal(picture_of(image).pixels, alpha)


@pytest.mark.parametrize(("paper", "ink"), [(250, 10), (10, 250)])
def test_a_sheet_with_cut_out_corners_keeps_its_paper(paper: int, ink: int) -> None:
    grey, alpha = np.full((20, 20), paper, np.uint8), np.full((20, 20), 255, np.uint8)
    grey[5:15, 8:12] = ink
    alpha[:2, :2] = alpha[-2:, -2:] = 0
    hidden = np.where(alpha, grey, 128).astype(np.uint8)
    image = Image.merge("LA", (Image.fromarray(hidden), Image.fromarray(alpha)))
    assert np.array_equal(picture_of(image).pixels, grey)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 30000, 60000]], np.uint16),
        np.array([[0, 2000, 4000]], np.int32),
        np.array([[0, 0.5, 1]], np.float32),
        np.array([[-1, 0, 1]], np.float32),
    ],
)
def test_wide_numbers_use_the_whole_range(values: NDArray[np.float32]) -> None:
    assert picture_of(Image.fromarray(values)).pixels.tolist() == [[0, 128, 255]]


def test_numbers_that_are_none_become_black() -> None:
    values = np.array([[np.nan, np.inf, 1]], np.float32)
    assert picture_of(Image.fromarray(values)).pixels.tolist() == [[0, 0, 255]]


def test_warnings_of_pillow_do_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(CORNERS).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    assert open_picture(path).size == (24, 16)


def whole_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)


def cut_short(path: Path) -> None:
    whole_picture(path)
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "{} is not there. Check the spelling and the folder."),
        (Path.mkdir, "{} is a folder. Name one of the pictures in it."),
        (Path.touch, "{} is an empty file. Take a whole copy of it."),
        (lambda path: path.write_text("seven"), "{} is no picture in a known format. Save it as PNG or JPEG."),
        (
            lambda path: path.write_bytes(png(15_001, 10_000)),
            "{} has more than 150 million pixels. Make it smaller or cut it out.",
        ),
        (
            lambda path: path.write_bytes(png(60_000, 60_000)),
            "{} has more than 150 million pixels. Make it smaller or cut it out.",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "digit.png"
    make(path)
    with pytest.raises(DataError) as error:
        open_picture(path)
    assert str(error.value) == message.format(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"half.{suffix}"
    cut_short(path)
    with pytest.raises(DataError, match=r"half\.\w+ is (a damaged picture: .+\. Take a whole copy|no picture)"):
        open_picture(path)
