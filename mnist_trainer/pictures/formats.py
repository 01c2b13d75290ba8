"""Any file with pictures → its pages as images that are not decoded yet: Pillow's formats, HEIC and PDF."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from mnist_trainer.errors import DataError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

EXTRA = "pip install 'mnist-trainer[pictures]'"

MAX_PIXELS = 150_000_000
MORE_MEMORY = {
    "WEBP": 50_000_000,
    "JPEG2000": 50_000_000,
    "HEIF": 100_000_000,
    "AVIF": 100_000_000,
    "progressive": 100_000_000,
}
"""Limits of formats that take more than 6 bytes a pixel to decode (WebP 16, JPEG 2000 19), so that none takes 1 GB."""

PROGRAMS = ("EPS", "WMF")
"""Formats that other programs would be started for; a picture from a stranger starts none."""

ONE_PICTURE = ("MPO", "PSD")
"""Formats whose further frames are no pages: previews and second eyes of cameras, layers."""

SUBFILE, NO_PAGE = 254, 0b101
"""TIFF 6.0, NewSubfileType, and its bits for what is no page: a smaller version of another one, and a mask."""

FRAMES = 2000
"""Frames of a file that are looked at."""

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of files that pillow-heif reads (ISO/IEC 23008-12); Pillow itself reads AVIF."""

DPI, PDF_SIDE = 270, 3200
"""Dots per inch at which a page of a PDF is drawn; fewer where its longer side would have more pixels than that."""


def open_images(file: BinaryIO, name: str) -> Iterator[Image.Image | DataError]:
    """Yield each page of an open file; it is to be decoded before the next one is asked for.

    Raises `DataError` when it is no picture, and yields one for a page that can't be opened. `name` stands for the file
    in its text.
    """
    head = file.read(12)
    file.seek(0)
    if head.startswith(b"%PDF-"):
        return _pdf_pages(file, name)
    return _frames(_open(file, head, name), name)


def max_pixels(image: Image.Image) -> int:
    """Return the most pixels that a picture of that format may have."""
    kind = "progressive" if image.info.get("progressive") else str(image.format)
    return MORE_MEMORY.get(kind, MAX_PIXELS)


def too_large_error(name: str, most: int = MAX_PIXELS) -> DataError:
    """Return the error for a picture of more than `most` pixels."""
    return DataError(f"{name} has more than {most // 10**6} million pixels. Make it smaller or cut it out.")


def damaged_error(name: str, error: Exception) -> DataError:
    """Return the error for a picture that can't be decoded."""
    reason = str(error) or type(error).__name__
    return DataError(f"{name} is a damaged picture: {reason}. Take a whole copy of it.")


def _open(file: BinaryIO, head: bytes, name: str) -> Image.Image:
    unknown = DataError(f"{name} is no picture in a known format. Save it as PNG or JPEG.")
    try:
        with warnings.catch_warnings(action="ignore"):
            image = _open_heic(file, name) if head[4:8] == b"ftyp" and head[8:12] in HEIC else Image.open(file)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise too_large_error(name) from None
    except Exception:  # each of its many formats fails in its own way: no list of types would be complete
        raise unknown from None
    if image.format in PROGRAMS:
        raise unknown
    return image


def _open_heic(file: BinaryIO, name: str) -> Image.Image:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise DataError(f"{name} is a HEIC picture, as phones take. To read it: {EXTRA}") from None
    image: Image.Image = HeifImageFile(file)  # type: ignore[no-untyped-call]  # not registered: Pillow is the caller's, too
    return image


def _frames(image: Image.Image, name: str) -> Iterator[Image.Image | DataError]:
    first, number, failed = image.tell(), 1, False
    yield image
    for place in (place for place in range(_frame_count(image)) if place != first):
        try:
            with warnings.catch_warnings(action="ignore"):
                image.seek(place)
                is_page = not (isinstance(image, TiffImageFile) and int(image.tag_v2.get(SUBFILE, 0)) & NO_PAGE)
        except EOFError:
            return
        except Exception as error:
            number += 1
            yield damaged_error(f"{name}[{number}]", error)
            if failed:  # two in a row: the rest is not worth a message each
                return
            failed = True
        else:
            failed = False
            if is_page:
                number += 1
                yield image


def _frame_count(image: Image.Image) -> int:
    """Return 1, or for a file with several pages the most that it may have: to count them would take long."""
    try:
        with warnings.catch_warnings(action="ignore"):
            several = image.format not in ONE_PICTURE and getattr(image, "is_animated", False)
    except Exception:  # its pages can't be told from its damage
        return 1
    return FRAMES if several else 1


def _pdf_pages(file: BinaryIO, name: str) -> Iterator[Image.Image | DataError]:
    try:
        from pypdfium2 import PdfDocument, PdfiumError
    except ImportError:
        raise DataError(f"{name} is a PDF. To read it: {EXTRA}") from None
    try:
        document = PdfDocument(file)
        count = len(document)
    except PdfiumError as error:
        if "password" in str(error).lower():
            raise DataError(f"{name} is locked with a password. Save it without one.") from None
        raise damaged_error(name, error) from None
    if not count:
        raise DataError(f"{name} has no page.")
    try:
        for number in range(count):
            where = name if number == 0 else f"{name}[{number + 1}]"
            try:
                yield _render_page(document, number, where)
            except DataError as error:
                yield error
            except Exception as error:
                yield damaged_error(where, error)
    finally:
        document.close()


def _render_page(document: PdfDocument, number: int, name: str) -> Image.Image:
    """Return a page of a PDF as a picture. A scan in it is bounded like one in a file of its own."""
    from pypdfium2 import PdfImage
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    page = document[number]
    try:
        for scan in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
            assert isinstance(scan, PdfImage)
            width, height = scan.get_px_size()
            if width * height > MAX_PIXELS:
                raise too_large_error(name)
        scale = min(DPI / 72, PDF_SIDE / max(1.0, *page.get_size()))
        drawn: Image.Image = page.render(scale=scale, rev_byteorder=True).to_pil()
        return drawn.copy()
    finally:
        page.close()
