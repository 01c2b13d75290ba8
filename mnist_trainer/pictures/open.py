"""Any file with pictures → its pages as images that are not decoded yet: Pillow's formats, HEIC and PDF.

A file with pictures → its pages as upright pictures, small enough to work on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.page import bounding_box

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


PAGES, ALL_PIXELS = 200, 2_000_000_000
"""Pages of a file that are read, and their pixels together."""

LONGEST = 1600
"""Pixels on the longer side that are worked on: a digit on 3 % of them still has more than the 20 it needs."""

_BAND = 4_000_000
"""Pixels that are converted at once, before they are shrunk: a whole picture in another mode may not fit in memory."""

_ORIENTATION = 0x0112
_UPRIGHT = {  # https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E, section 4.6.5.1.6
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """`pixels` uint8 [H, W], or [H, W, 3] where it has colours, upright, at most `LONGEST` a side; `size`: its width
    and height before it was shrunk."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


def open_picture(path: Path) -> Picture:
    """Return the picture in a file. Raises `DataError` with what is wrong with the file, or if it has several pages."""
    first, *others = islice(open_pages(path), 2)
    if others:
        raise DataError(f"{path} has more than one page. Save each page as a picture of its own.")
    if isinstance(first, DataError):
        raise first
    return first


def open_pages(path: Path) -> Iterator[Picture | DataError]:
    """Yield the pages of the picture in a file, or what is wrong with a page; most files have one.

    Raises `DataError` with what is wrong with the file.
    """
    # Pillow gets the open file, not its name: it would map a TIFF by name into memory, and then turns it wrongly.
    with _open_file(path) as file:
        yield from decode_pages(file, str(path))


def decode_pages(file: BinaryIO, name: str) -> Iterator[Picture | DataError]:
    """Yield the pages in an open file, which `name` stands for in the text of a `DataError`."""
    pixels = 0
    for number, image in enumerate(open_images(file, name), start=1):
        where = name if number == 1 else f"{name}[{number}]"
        pixels += 0 if isinstance(image, DataError) else image.width * image.height
        if number > PAGES or (number > 1 and pixels > ALL_PIXELS):
            most = f"{PAGES} pages and {ALL_PIXELS // 10**6:,} million pixels"
            yield DataError(f"{where} and all pages after it are left out: a file may have {most}. Split it.")
            return
        yield image if isinstance(image, DataError) else _decoded(image, where)


def _decoded(image: Image.Image, name: str) -> Picture | DataError:
    width, height = image.size
    if width * height > (most := max_pixels(image)):
        return too_large_error(name, most)
    shrink = max(1.0, max(width, height) / LONGEST)
    try:
        with warnings.catch_warnings(action="ignore"):
            image.draft("RGB", (int(width / shrink), int(height / shrink)))  # JPEG decodes ½, ¼ or ⅛ of it faster
            return _convert(image, (width, height))
    except Exception as error:
        return damaged_error(name, error)


def picture_from_image(image: Image.Image) -> Picture:
    """A picture that is in memory already. Raises what Pillow raises when it can't be decoded."""
    return _convert(image, image.size)


def _convert(image: Image.Image, size: tuple[int, int]) -> Picture:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # known only now: some formats turn while they decode
    small = _downscale(image)
    plain = _flatten_alpha(small) if small.mode == "RGBA" else small
    if turn is not None:
        plain = plain.transpose(turn)
    sideways = (plain.width > plain.height) != (size[0] > size[1])
    return Picture(_merge_equal_channels(np.asarray(plain)), (size[1], size[0]) if sideways else size)


def _merge_equal_channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W] where the channels of [H, W, 3] are alike."""
    if pixels.ndim == 3 and all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2)):
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder. Name one of the pictures in it.")
        if not path.is_file():  # a pipe would be waited for, a device never ends
            if path.exists():
                raise DataError(f"{path} is a pipe or a device, and no file. Name a picture, or - for one from a pipe.")
            raise DataError(f"{path} is not there. Check the spelling and the folder.")
        if not path.stat().st_size:
            raise DataError(f"{path} is an empty file. Take a whole copy of it.")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from None


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) when it has none or one that can't be read."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata fail in many ways, and none of them says anything about the pixels
        return 1
    return value if isinstance(value, int) else 1


def _downscale(image: Image.Image) -> Image.Image:
    """The image at most `LONGEST` pixels a side, in mode L, RGB or RGBA, a band after the other."""
    factor = -(-max(image.size) // LONGEST)
    mode, most = _mode(image), _value_range(image)
    if factor == 1:
        return _converted(image, mode, most)
    width, height = (-(-side // factor) for side in image.size)
    small = Image.new(mode, (width, height))
    rows = max(1, _BAND // image.width // factor)
    for top in range(0, height, rows):
        bottom = min(image.height, (top + rows) * factor)
        band = image.crop((0, top * factor, image.width, bottom))
        small.paste(_converted(band, mode, most).reduce(factor), (0, top))
    return small


def _mode(image: Image.Image) -> str:
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode in ("1", "L") or _is_high_depth(image) else "RGB"


def _is_high_depth(image: Image.Image) -> bool:
    """Whether its numbers have more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def _value_range(image: Image.Image) -> tuple[float, float]:
    """The numbers of a wide image that are black and white: 0 (or the smallest, if negative) and the largest."""
    if not _is_high_depth(image):
        return 0.0, 255.0
    extrema = [0.0, 1e-9]
    for top in range(0, image.height, rows := max(1, _BAND // image.width)):
        values = np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
        finite = values[np.isfinite(values)]
        if finite.size:
            extrema += [float(finite.min()), float(finite.max())]
    return min(extrema), max(extrema)


def _converted(image: Image.Image, mode: str, most: tuple[float, float]) -> Image.Image:
    if not _is_high_depth(image):
        return image if image.mode == mode else image.convert(mode)
    black, white = most
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    shares = np.clip((values - black) / (white - black), 0, 1)
    return Image.fromarray((255 * shares).round().astype(np.uint8)).convert(mode)


def _flatten_alpha(image: Image.Image) -> Image.Image:
    """Mode L or RGB of an RGBA image: its alpha channel where that is the drawing, else it on paper of its own colour.

    Alpha is the drawing if all that is visible has one colour, or is too sparse to be a sheet with something on it.
    """
    colours, alpha = image.convert("RGB"), image.getchannel("A")
    visible = np.asarray(alpha) >= 128
    if visible.all():
        return colours
    shades = np.asarray(image.convert("L"))[visible]
    if not shades.size or np.ptp(shades) <= 16:
        return alpha
    _, _, width, height = bounding_box(visible)
    if shades.size < width * height / 2:
        return alpha
    red, green, blue = np.median(np.asarray(colours)[visible], axis=0).astype(int).tolist()
    paper = Image.new("RGB", image.size, (red, green, blue))
    paper.paste(colours, mask=alpha)
    return paper
