"""Any picture that Pillow opens → one upright grey picture, small enough to work on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.ink import box_of

MAX_PIXELS = 150_000_000
LONGEST = 1600
"""Pixels on the longer side that are worked on: a digit on 3 % of them still has more than the 20 it needs."""

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
    """`grey` uint8 [H, W], upright, at most `LONGEST` pixels a side; `size`: width and height before it was shrunk."""

    grey: NDArray[np.uint8]
    size: tuple[int, int]


def open_picture(path: Path) -> Picture:
    """The picture in a file, its first frame if it has several. Raises `DataError` with what is wrong with the file."""
    # Pillow gets the open file, not its name: it would map a TIFF by name into memory, and then turns it wrongly.
    with _open_file(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(file)
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        except Exception:  # each of its many formats fails in its own way: no list of types would be complete
            raise DataError(f"{path} is no picture in a known format. Save it as PNG or JPEG.") from None
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path)
        shrink = max(1.0, max(width, height) / LONGEST)
        try:
            image.draft("L", (int(width / shrink), int(height / shrink)))  # JPEG decodes ½, ¼ or ⅛ of it faster
            return _upright(image, (width, height))
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise DataError(f"{path} is a damaged picture: {reason}. Take a whole copy of it.") from None


def picture_of(image: Image.Image) -> Picture:
    """A picture that is in memory already. Raises what Pillow raises when it can't be decoded."""
    return _upright(image, image.size)


def _upright(image: Image.Image, size: tuple[int, int]) -> Picture:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # known only now: some formats turn while they decode
    plain = _plain(image)
    factor = -(-max(plain.size) // LONGEST)
    plain = plain.reduce(factor) if factor > 1 else plain
    grey = _opaque(plain) if plain.mode == "RGBA" else plain
    if turn is not None:
        grey = grey.transpose(turn)
    sideways = (grey.width > grey.height) != (size[0] > size[1])
    return Picture(np.asarray(grey), (size[1], size[0]) if sideways else size)


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder. Name one of the pictures in it.")
        if not path.is_file():
            raise DataError(f"{path} is not there. Check the spelling and the folder.")
        if not path.stat().st_size:
            raise DataError(f"{path} is an empty file. Take a whole copy of it.")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from None


def _too_large(path: Path) -> DataError:
    return DataError(f"{path} has more than {MAX_PIXELS // 10**6} million pixels. Make it smaller or cut it out.")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) when it has none or one that can't be read."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata fail in many ways, and none of them says anything about the pixels
        return 1
    return value if isinstance(value, int) else 1


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode RGBA if any of it can be transparent, else in mode L."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L")


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Wide numbers of unknown range as uint8: 0 (or the smallest, if negative) stays black, the largest is white."""
    finite = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    finite -= min(0.0, float(finite.min()))
    shares = finite / max(float(finite.max()), 1e-9)
    return np.asarray((255 * shares).round(), np.uint8)


def _opaque(image: Image.Image) -> Image.Image:
    """Mode L of an RGBA image: its alpha channel where that is the drawing, else the image on paper of its own grey.

    Alpha is the drawing if all that is visible has one colour, or is too sparse to be a sheet with something on it.
    """
    grey, alpha = image.convert("L"), image.getchannel("A")
    visible = np.asarray(alpha) >= 128
    shades = np.asarray(grey)[visible]
    if visible.all():
        return grey
    if not shades.size or np.ptp(shades) <= 16:
        return alpha
    _, _, width, height = box_of(visible)
    if shades.size < width * height / 2:
        return alpha
    paper = Image.new("L", image.size, int(np.median(shades)))
    paper.paste(grey, mask=alpha)
    return paper
