"""Files with one page or several: `mnist_trainer/pictures/open.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from mnist_trainer.errors import DataError
from mnist_trainer.pictures import open as opening
from mnist_trainer.pictures.listing import list_pictures
from mnist_trainer.pictures.open import Picture, open_pages, open_picture

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
    with pytest.raises(DataError, match=r"half is (a damaged picture: .+\. Take a whole copy|no picture)"):
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
