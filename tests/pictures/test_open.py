"""Files of one page or several to pictures, or errors that say what is wrong: `mnist_trainer/pictures/open.py`."""

from __future__ import annotations

import importlib
import re
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from mnist_trainer.errors import DataError
from mnist_trainer.pictures import open as opening
from mnist_trainer.pictures.listing import list_pictures
from mnist_trainer.pictures.open import LONGEST, Picture, decode_pages, open_pages, open_picture, picture_from_image

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
        (Path.touch, "{} is an empty file. Copy it again."),
        (lambda path: path.write_text("seven"), "{} is no picture in a known format. Save it as PNG or JPEG."),
        (
            lambda path: path.write_bytes(png(15_001, 10_000)),
            "{} has more than 150 million pixels. Make it smaller, or crop it.",
        ),
        (
            lambda path: path.write_bytes(png(60_000, 60_000)),
            "{} has more than 150 million pixels. Make it smaller, or crop it.",
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
    with pytest.raises(DataError, match=r"half\.\w+ is (a damaged picture: .+\. Copy it again|no picture)"):
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


SHADES = (40, 120, 200)


def sheets(shades: Sequence[int] = SHADES, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    return [Image.new("RGB", size, (shade, shade, shade)) for shade in shades]


def save(path: Path, pages: list[Image.Image]) -> Path:
    if path.suffix == ".heic":
        heif = importlib.import_module("pillow_heif").HeifFile()
        for page in pages:
            heif.add_from_pillow(page)
        heif.save(path, quality=95)
    elif len(pages) == 1:
        pages[0].save(path)
    else:
        pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def shades_in(path: Path) -> list[int | str]:
    """What each page is painted with, rounded to 40; or its error."""
    return [
        round(float(page.pixels.mean()) / 40) * 40 if isinstance(page, Picture) else str(page)
        for page in open_pages(path)
    ]


@pytest.mark.parametrize("kind", ["tif", "gif", "png", "webp", "pdf", "heic"])
def test_all_pages_are_read_in_their_order(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / f"scan.{kind}", sheets())
    assert shades_in(path) == list(SHADES)
    with pytest.raises(DataError, match=rf"scan\.{kind} has more than one page"):
        open_picture(path)
    assert shades_in(save(tmp_path / f"one.{kind}", sheets()[1:2])) == [120]


def test_previews_are_no_pages(tmp_path: Path) -> None:
    first, second, third = sheets()
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[second])
    assert shades_in(tmp_path / "phone.jpg") == [40]
    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "small.tif", True) as file:
        for page, kind in ((first, 0), (second, 1), (third, 0)):
            page.save(file, format="TIFF", tiffinfo={254: kind})
            file.newFrame()
    assert shades_in(tmp_path / "small.tif") == [40, 200]


def test_the_primary_picture_of_heic_comes_first(tmp_path: Path) -> None:
    heif = importlib.import_module("pillow_heif").HeifFile()
    for page in sheets():
        heif.add_from_pillow(page)
    heif.save(tmp_path / "burst.heic", primary_index=2, quality=95)
    assert shades_in(tmp_path / "burst.heic") == [200, 40, 120]


def test_a_damaged_page_does_not_hide_the_others(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.tif", sheets())
    content = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(1)
        place = image.tag_v2._offset + 2  # type: ignore[attr-defined]
    entries = [content[at : at + 12] for at in range(place, place + 12 * content[place - 2], 12)]
    compression = next(number for number, entry in enumerate(entries) if entry[:2] == b"\x03\x01")
    content[place + 12 * compression + 8] = 99
    path.write_bytes(content)
    first, error, last = shades_in(path)
    assert (first, last) == (40, 200)
    assert str(error).startswith(f"{path}[2] is a damaged picture: ")


def test_pages_and_pixels_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "scan.gif", sheets((0, 40, 80, 120, 160)))
    monkeypatch.setattr(opening, "MAX_PAGES", 3)
    left_out = "and all pages after it are left out: a file may have {} pages and {} million pixels. Split it."
    assert shades_in(path) == [0, 40, 80, f"{path}[4] {left_out.format(3, '2,000')}"]
    monkeypatch.setattr(opening, "MAX_PIXELS_OF_FILE", 2 * 64 * 48)
    assert shades_in(path) == [0, 40, f"{path}[3] {left_out.format(3, 0)}"]


def test_a_page_of_pdf_is_drawn_sharply_and_bounded(tmp_path: Path) -> None:
    a4 = Image.new("L", (827, 1169), 255)  # at 100 dpi
    a4.save(tmp_path / "a4.pdf", resolution=100)
    picture = open_picture(tmp_path / "a4.pdf")
    assert max(picture.size) == pytest.approx(270 * 11.69, abs=2)
    a4.save(tmp_path / "poster.pdf", resolution=5)
    assert max(open_picture(tmp_path / "poster.pdf").size) <= opening.PDF_SIDE + 1


def test_a_huge_scan_inside_a_pdf_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.pdf", sheets()[:1])
    path.write_bytes(path.read_bytes().replace(b"/Width 64", b"/Width 9999999"))
    with pytest.raises(DataError, match=r"scan\.pdf has more than 150 million pixels\."):
        open_picture(path)


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"%PDF-1.7\n%%EOF", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"])
def test_a_document_that_is_cut_short_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "half").write_bytes(content)
    with pytest.raises(DataError, match=r"half is (a damaged picture: .+\. Copy it again|no picture)"):
        open_picture(tmp_path / "half")


@pytest.mark.parametrize(
    ("kind", "package", "message"),
    [
        (
            "heic",
            "pillow_heif",
            "{} is a HEIC picture, as phones take. To read it: pip install 'mnist-trainer[pictures]'",
        ),
        ("pdf", "pypdfium2", "{} is a PDF. To read it: pip install 'mnist-trainer[pictures]'"),
    ],
)
def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, message: str
) -> None:
    path = save(tmp_path / f"scan.{kind}", sheets()[:1])
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError) as caught:
        open_picture(path)
    assert str(caught.value) == message.format(path)


def test_pdfs_in_a_folder_are_pictures_where_they_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.pdf", "c.HEIC"):
        (tmp_path / name).touch()
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.png", "b.pdf", "c.HEIC"]
    monkeypatch.setattr("mnist_trainer.pictures.listing.find_spec", lambda _: None)
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.png", "c.HEIC"]
    assert listing.notes(tmp_path)[1] == f"{tmp_path}: to read PDF, too: {opening.EXTRA}"
