"""Decode files into pages: upright and shrunk pixel arrays. Reads Pillow's formats, HEIC and PDF.

Limits on size and pages protect against decompression bombs. Errors name the file, and the page if there are several.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import RLock
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

MEGAPIXELS = 150
MEGAPIXELS_OF_FORMAT = {"WEBP": 50, "JPEG2000": 50, "HEIF": 100, "AVIF": 100, "progressive": 100}
"""Maximum size of a picture. It is smaller for formats whose decoders need more than 6 bytes a pixel (WebP 16, JPEG
2000 19), so that decoding needs less than 1 GB."""

MAX_PAGES, MAX_PIXELS_OF_FILE = 200, 2_000_000_000
"""Maximum number of pages that are read from a file, and of their pixels together."""

MAX_FRAMES = 2000
"""Maximum number of frames of a file that are searched for pages."""

EXTERNAL = ("EPS", "WMF")
"""Formats that are refused, because Pillow would start other programs to decode them."""

SINGLE = ("MPO", "PSD")
"""Formats whose other frames are not pages: previews, second images of stereo cameras, layers."""

SUBFILE_TYPE, NO_PAGE = 254, 0b101
"""The tag NewSubfileType of TIFF 6.0, and its bits for a smaller version of another page and for a mask."""

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of files that pillow-heif reads (ISO/IEC 23008-12); Pillow itself reads AVIF."""

PDF_DPI, PDF_SIDE = 270, 3200
"""Resolution at which a page of a PDF is drawn, and the maximum number of pixels on its longer side."""

_pdfium = RLock()
"""PDFium is not safe to use in several threads."""

LONGEST = 1600
"""Maximum number of pixels on the longer side. A digit on 3 % of it is still larger than the 20 pixels of MNIST."""

BAND = 4_000_000
"""Number of pixels that are converted at a time, because a whole converted picture may not fit into memory."""

ORIENTATION = 0x0112
TRANSPOSES = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""EXIF's tag, and how to turn pictures whose orientation is 2 to 8:
https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E, section 4.6.5.1.6"""


@dataclass(frozen=True)
class Picture:
    """An upright picture: `pixels` uint8 [H, W], or [H, W, 3] if it has colours, at most `LONGEST` a side.

    `size` is its width and height before it was shrunk.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


def open_picture(path: Path) -> Picture:
    """Return the picture in a file. Raises `DataError` if it can't be read or has several pages."""
    first, *others = islice(open_pages(path), 2)
    if others:
        raise DataError(f"{path} has more than one page. Save each page as a picture of its own.")
    if isinstance(first, DataError):
        raise first
    return first


def open_pages(path: Path) -> Iterator[Picture | DataError]:
    """Yield the pages of a file, or the error of a page. Raises `DataError` if it can't be read."""
    # Pillow gets the open file, not its name: it would memory-map a TIFF, and then apply its orientation wrongly.
    with _open_file(path) as file:
        yield from decode_pages(file, str(path))


def decode_pages(file: BinaryIO, name: str) -> Iterator[Picture | DataError]:
    """Yield the pages of an open file, or the error of a page. Raises `DataError`, whose text calls the file `name`."""
    pixels = 0
    for number, image in enumerate(_open_images(file, name), start=1):
        page = name if number == 1 else f"{name}[{number}]"
        pixels += 0 if isinstance(image, DataError) else image.width * image.height
        if number > MAX_PAGES or (number > 1 and pixels > MAX_PIXELS_OF_FILE):
            limits = f"{MAX_PAGES} pages and {MAX_PIXELS_OF_FILE // 10**6:,} million pixels"
            yield DataError(f"{page} and all pages after it are left out: a file may have {limits}. Split it.")
            return
        yield image if isinstance(image, DataError) else _decode(image, page)


def picture_from_image(image: Image.Image) -> Picture:
    """Return an image in memory as a picture. Raises what Pillow raises if it can't be decoded."""
    return _convert(image, image.size)


def _open_file(path: Path) -> BinaryIO:
    """Return the opened file. Raises `DataError` for a folder, a pipe, an empty or missing file."""
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder. Name one of the pictures in it.")
        if not path.exists():
            raise DataError(f"{path} is not there. Check the spelling and the folder.")
        if not path.is_file():  # reading a pipe would block, and a device never ends
            raise DataError(f"{path} is a pipe or a device, not a file. Name a picture, or - for one from a pipe.")
        if not path.stat().st_size:
            raise DataError(f"{path} is an empty file. Copy it again.")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from None


def _too_large(name: str, megapixels: int = MEGAPIXELS) -> DataError:
    return DataError(f"{name} has more than {megapixels} million pixels. Make it smaller, or crop it.")


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name} is a damaged picture: {str(error) or type(error).__name__}. Copy it again.")


def _open_images(file: BinaryIO, name: str) -> Iterator[Image.Image | DataError]:
    """Yield each page, not decoded yet, or its error; it must be decoded before the next one is requested."""
    head = file.read(12)
    file.seek(0)
    is_heic = head[4:8] == b"ftyp" and head[8:12] in HEIC
    return _pdf_pages(file, name) if head.startswith(b"%PDF-") else _frames(_open_image(file, is_heic, name), name)


def _open_image(file: BinaryIO, is_heic: bool, name: str) -> Image.Image:
    """Return the image, not decoded yet. Raises `DataError` for unknown formats and too many pixels."""
    unknown = DataError(f"{name} is no picture in a known format. Save it as PNG or JPEG.")
    try:
        with warnings.catch_warnings(action="ignore"):
            image = _open_heic(file, name) if is_heic else Image.open(file)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except Exception:  # each of its many formats fails in its own way: no list of types would be complete
        raise unknown from None
    if image.format in EXTERNAL:
        raise unknown
    return image


def _open_heic(file: BinaryIO, name: str) -> Image.Image:
    """Return a HEIC picture, not decoded yet. Raises `DataError` without the package that reads it."""
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise DataError(f"{name} is a HEIC picture, as phones take. To read it: {EXTRA}") from None
    image: Image.Image = HeifImageFile(file)  # type: ignore[no-untyped-call]  # not registered: Pillow is the caller's, too
    return image


def _frames(image: Image.Image, name: str) -> Iterator[Image.Image | DataError]:
    """Yield the pages of an image, not decoded yet, or their errors; thumbnails inside a TIFF are left out."""
    first, number, failed = image.tell(), 1, False
    yield image
    for index in (index for index in range(_max_frames(image)) if index != first):
        try:
            with warnings.catch_warnings(action="ignore"):
                image.seek(index)
                is_page = not (isinstance(image, TiffImageFile) and int(image.tag_v2.get(SUBFILE_TYPE, 0)) & NO_PAGE)
        except EOFError:
            return
        except Exception as error:
            number += 1
            yield _damaged(f"{name}[{number}]", error)
            if failed:  # two errors in a row: stop instead of reporting every frame
                return
            failed = True
        else:
            failed = False
            if is_page:
                number += 1
                yield image


def _max_frames(image: Image.Image) -> int:
    """Return 1, or `MAX_FRAMES` for a file with several frames, which would take long to count."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return MAX_FRAMES if image.format not in SINGLE and getattr(image, "is_animated", False) else 1
    except Exception:  # a damaged file
        return 1


def _pdf_pages(file: BinaryIO, name: str) -> Iterator[Image.Image | DataError]:
    """Yield the pages of a PDF as images, or their errors. Raises `DataError` if it can't be opened."""
    try:
        from pypdfium2 import PdfDocument, PdfiumError
    except ImportError:
        raise DataError(f"{name} is a PDF. To read it: {EXTRA}") from None
    try:
        with _pdfium:
            document = PdfDocument(file)
            count = len(document)
    except PdfiumError as error:
        if "password" in str(error).lower():
            raise DataError(f"{name} is locked with a password. Save it without one.") from None
        raise _damaged(name, error) from None
    if not count:
        raise DataError(f"{name} has no page.")
    try:
        for number in range(count):
            page = name if number == 0 else f"{name}[{number + 1}]"
            try:
                yield _render_page(document, number, page)
            except DataError as error:
                yield error
            except Exception as error:
                yield _damaged(page, error)
    finally:
        with _pdfium:
            document.close()


def _render_page(document: PdfDocument, number: int, name: str) -> Image.Image:
    """Return a rendered page of a PDF. Scans inside it have the same size limit as picture files."""
    from pypdfium2 import PdfImage
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    with _pdfium, closing(document[number]) as page:
        for scan in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
            assert isinstance(scan, PdfImage)
            width, height = scan.get_px_size()
            if width * height > MEGAPIXELS * 10**6:
                raise _too_large(name)
        scale = min(PDF_DPI / 72, PDF_SIDE / max(1.0, *page.get_size()))
        drawn: Image.Image = page.render(scale=scale, rev_byteorder=True).to_pil()
        return drawn.copy()


def _decode(image: Image.Image, name: str) -> Picture | DataError:
    """Return the decoded image, reduced to `LONGEST` pixels, or the error of a damaged or too large one."""
    kind = "progressive" if image.info.get("progressive") else str(image.format)
    limit = MEGAPIXELS_OF_FORMAT.get(kind, MEGAPIXELS)
    width, height = image.size
    if width * height > limit * 10**6:
        return _too_large(name, limit)
    shrink = max(1.0, max(width, height) / LONGEST)
    try:
        with warnings.catch_warnings(action="ignore"):
            image.draft("RGB", (int(width / shrink), int(height / shrink)))  # JPEG decodes ½, ¼ or ⅛ of it faster
            return _convert(image, (width, height))
    except Exception as error:
        return _damaged(name, error)


def _convert(image: Image.Image, size: tuple[int, int]) -> Picture:
    """Decode and shrink an image whose file says `size`, and apply its orientation."""
    image.load()
    orientation = _orientation(image)  # after load(), because some formats apply the orientation while decoding
    small = _downscale(image)
    plain = _flatten_alpha(small) if small.mode == "RGBA" else small
    upright = plain.transpose(Image.Transpose[TRANSPOSES[orientation - 2]]) if 2 <= orientation <= 8 else plain
    pixels = np.asarray(upright)
    if pixels.ndim == 3 and all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2)):
        pixels = np.ascontiguousarray(pixels[..., 0])
    sideways = (upright.width > upright.height) != (size[0] > size[1])
    return Picture(pixels, size[::-1] if sideways else size)


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation; 1 (upright) without a valid one."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # damaged metadata fail in many ways and do not make the pixels unusable
        return 1
    return value if isinstance(value, int) else 1


def _downscale(image: Image.Image) -> Image.Image:
    """Return an image of at most `LONGEST` pixels a side in mode L, RGB or RGBA, converted band by band."""
    factor = -(-max(image.size) // LONGEST)
    is_deep = image.mode.startswith(("I", "F"))  # more than 8 bits
    grey = is_deep or image.mode in ("1", "L")
    mode = "RGBA" if image.has_transparency_data else "L" if grey else "RGB"
    value_range = _value_range(image) if is_deep else None
    if factor == 1:
        return _to_mode(image, mode, value_range)
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    rows = max(1, BAND // image.width // factor)
    for top in range(0, small.height, rows):
        band = image.crop((0, top * factor, image.width, min(image.height, (top + rows) * factor)))
        small.paste(_to_mode(band, mode, value_range).reduce(factor), (0, top))
    return small


def _value_range(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and white: 0 (or the minimum if it is negative) and the maximum."""
    extrema = [0.0, 1e-9]
    for top in range(0, image.height, rows := max(1, BAND // image.width)):
        values = np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
        finite = values[np.isfinite(values)]
        if finite.size:
            extrema += [float(finite.min()), float(finite.max())]
    return min(extrema), max(extrema)


def _to_mode(image: Image.Image, mode: str, value_range: tuple[float, float] | None) -> Image.Image:
    """Return the image in `mode`; grey levels of `value_range` become 0 to 255 first."""
    if value_range is not None:
        black, white = value_range
        values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
        shares = np.clip((values - black) / (white - black), 0, 1)
        image = Image.fromarray((255 * shares).round().astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def _flatten_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA image in mode L or RGB: its alpha channel if that is the drawing, else its colours on paper.

    The alpha channel is the drawing if all visible pixels have one colour, or are too sparse to be a sheet of paper.
    """
    colours, alpha = image.convert("RGB"), image.getchannel("A")
    visible = np.asarray(alpha) >= 128
    if visible.all():
        return colours
    shades = np.asarray(image.convert("L"))[visible]
    if not shades.size or np.ptp(shades) <= 16:
        return alpha
    *_, width, height = bounding_box(visible)
    if shades.size < width * height / 2:
        return alpha
    red, green, blue = np.median(np.asarray(colours)[visible], axis=0).astype(int).tolist()
    paper = Image.new("RGB", image.size, (red, green, blue))
    paper.paste(colours, mask=alpha)
    return paper
