"""A file with pictures → its pages as upright pictures, small enough to work on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.formats import damaged_error, max_pixels, open_images, too_large_error
from mnist_trainer.pictures.page import bounding_box

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
