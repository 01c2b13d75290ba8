"""Any file to an upright picture, or an error that says what is wrong with it: `mnist_trainer/pictures/open.py`."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures import open as opening
from mnist_trainer.pictures.open import LONGEST, decode_pages, open_picture, picture_from_image

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
    upright = opening._convert

    def spy(image: Image.Image, size: tuple[int, int]) -> opening.Picture:
        image.load()
        decoded.append(image.size)
        return upright(image, size)

    monkeypatch.setattr(opening, "_convert", spy)
    picture = open_picture(path)
    assert decoded == [(2400, 1600)]
    assert max(picture.pixels.shape) <= LONGEST
    assert picture.size == (3200, 4800)
    assert corners_of(picture.pixels) == [170, 0, 255, 85]


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_one_colour_before_nothing_is_a_drawing_in_the_alpha_channel(shade: int) -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 8:12] = 255
    image = Image.merge("LA", (Image.new("L", (20, 20), shade), Image.fromarray(alpha)))
    assert np.array_equal(picture_from_image(image).pixels, alpha)


def test_strokes_of_several_colours_before_nothing_are_a_drawing_too() -> None:
    alpha, grey = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    alpha[:, 3] = alpha[3, :] = 255
    grey[3, :] = 200
    image = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    assert np.array_equal(picture_from_image(image).pixels, alpha)


@pytest.mark.parametrize(("paper", "ink"), [(250, 10), (10, 250)])
def test_a_sheet_with_cut_out_corners_keeps_its_paper(paper: int, ink: int) -> None:
    grey, alpha = np.full((20, 20), paper, np.uint8), np.full((20, 20), 255, np.uint8)
    grey[5:15, 8:12] = ink
    alpha[:2, :2] = alpha[-2:, -2:] = 0
    hidden = np.where(alpha, grey, 128).astype(np.uint8)
    image = Image.merge("LA", (Image.fromarray(hidden), Image.fromarray(alpha)))
    assert np.array_equal(picture_from_image(image).pixels, grey)


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
    assert picture_from_image(Image.fromarray(values)).pixels.tolist() == [[0, 128, 255]]


def test_numbers_that_are_none_become_black() -> None:
    values = np.array([[np.nan, np.inf, 1]], np.float32)
    assert picture_from_image(Image.fromarray(values)).pixels.tolist() == [[0, 0, 255]]


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


FORMATS = ("png", "jpeg", "gif", "tiff", "bmp", "webp", "ppm", "ico", "tga", "pcx")


def saved(kind: str) -> bytes:
    """A small picture with some detail as a file of that format."""
    values = np.random.default_rng(0).integers(0, 255, (40, 48), np.uint8)
    values[10:30, 10:30] = 0
    file = BytesIO()
    Image.fromarray(values).convert("RGB" if kind in ("jpeg", "webp") else "L").save(file, format=kind)
    return file.getvalue()


def picture_in(content: bytes) -> opening.Picture:
    """The first page."""
    page = next(decode_pages(BytesIO(content), "a.png"))
    if isinstance(page, DataError):
        raise page
    return page


def opened(content: bytes) -> opening.Picture | None:
    """The first page, or None where it is refused in words."""
    try:
        return picture_in(content)
    except DataError as error:
        known = r"a\.png is (no picture in a known format|a damaged picture: .+)|a\.png has more than"
        assert re.match(known, str(error), re.DOTALL), str(error)
        return None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_may_be_cut_short_anywhere(kind: str) -> None:
    whole = saved(kind)
    assert opened(whole) is not None
    points = [*range(min(40, len(whole))), *range(40, len(whole), max(1, len(whole) // 60))]
    pictures = [opened(whole[:point]) for point in points]
    assert pictures[0] is None
    assert sum(picture is None for picture in pictures) > len(pictures) / 2
    assert all(picture.pixels.size for picture in pictures if picture is not None)


@settings(max_examples=150)
@given(kind=st.sampled_from(FORMATS), at=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20))
def test_a_file_may_have_damaged_bytes_anywhere(kind: str, at: list[tuple[float, int]]) -> None:
    damaged = bytearray(saved(kind))
    for place, value in at:
        damaged[int(place * (len(damaged) - 1))] = value
    picture = opened(bytes(damaged))
    assert picture is None or picture.pixels.dtype == np.uint8


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\xff\xd8\xff"])
)
def test_any_bytes_are_a_picture_or_an_error(content: bytes, head: bytes) -> None:
    opened(head + content)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    screen, frame = struct.pack("<HHBBB", width, height, 0x80, 0, 0), struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + screen + bytes(6) + b"," + frame + b"\x02\x01\x44"


def tiff(width: int, height: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, min(value, 2**32 - 1)) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def ppm(width: int, height: int) -> bytes:
    return f"P5 {width} {height} 255\n".encode()


@pytest.mark.parametrize("head", [png, bmp, gif, tiff, ppm])
@pytest.mark.parametrize(("width", "height"), [(15_001, 10_000), (65_000, 65_000), (2_400, 62_501)])
def test_a_huge_picture_is_refused_before_memory_is_taken(
    head: Callable[[int, int], bytes], width: int, height: int
) -> None:
    content = head(width, height) + bytes(1000)
    Image.init()  # its plug-ins take memory when they are loaded
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"^a\.png has more than 150 million pixels\. Make it smaller"):
            picture_in(content)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_an_error(width: int, height: int) -> None:
    assert opened(png(width, height)) is None


@pytest.mark.parametrize(
    "name",
    ["two words.png", "-rf.png", "--help.png", "größe ٣ 数字.png", "a\nb.png", "no ending", "digit.txt", "*?.png"],
)
def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(CORNERS).save(name, format="png")
    assert open_picture(Path(name)).size == (24, 16)
    Path(name).write_bytes(b"seven")
    with pytest.raises(DataError) as error:
        open_picture(Path(name))
    assert str(error.value).startswith(f"{name} is no picture")
