"""The stage's door: a picture in, the digits on it out. Today each picture is taken to hold exactly one."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.ink import Box, box_of, find_ink
from mnist_trainer.pictures.open import Picture, open_picture, picture_of
from mnist_trainer.pictures.page import Expect, Glyph, Line, Page
from mnist_trainer.pictures.render import looks_rendered, render, tight_box


@dataclass(frozen=True)
class Digit:
    """`image` uint8 [28, 28], bright ink on black; `box`: x, y, width, height in pixels of the upright picture."""

    image: NDArray[np.uint8]
    box: Box


def read_digits(path: Path) -> tuple[Digit, ...]:
    """The digits on the picture in a file. Raises `DataError` when it can't be read or holds no ink."""
    return _digits(open_picture(path), str(path))


def digits_of(image: Image.Image | NDArray[Any]) -> tuple[Digit, ...]:
    """The digits on a picture in memory: a Pillow image, or an array [H, W], [H, W, 3] or [H, W, 4].

    Arrays are uint8 or bool; with one channel also of any other number, 0 black and the largest white. Raises
    `DataError` when it is no picture or holds no ink.
    """
    try:
        picture = picture_of(image if isinstance(image, Image.Image) else _from_array(image))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"The picture can't be read: {error}.") from None
    return _digits(picture, "The picture")


def read_page(path: Path, expect: Expect = "auto", *, steps: bool = False) -> Page:
    """What is written on the picture in a file. Raises `DataError` when it can't be read."""
    return _page(open_picture(path))


def page_of(image: Image.Image | NDArray[Any], expect: Expect = "auto", *, steps: bool = False) -> Page:
    """What is written on a picture in memory, as `digits_of` takes it. Raises `DataError` when it is no picture."""
    (digit,) = digits_of(image)
    return Page((Line(1, (Glyph(digit.image, digit.box, 0, 1),)),))


def _page(picture: Picture) -> Page:
    (digit,) = _digits(picture, "The picture")
    return Page((Line(1, (Glyph(digit.image, digit.box, 0, 1),)),))


def _from_array(values: NDArray[Any]) -> Image.Image:
    if not values.size or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ValueError(f"an array of shape {list(values.shape)} is neither [H, W] nor [H, W, 3] nor [H, W, 4]")
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype != np.uint8:
        if values.ndim == 3:
            raise ValueError(f"colours must be uint8, these are {values.dtype}")
        values = values.astype(np.float32)
    return Image.fromarray(np.ascontiguousarray(values))


def _digits(picture: Picture, name: str) -> tuple[Digit, ...]:
    grey = picture.grey
    if looks_rendered(grey):
        return (Digit(grey, box_of(grey > 0)),)
    levels = find_ink(grey)
    if levels is None:
        raise DataError(f"{name} holds no ink: nothing on it stands out from the paper. Write darker or more.")
    box = tight_box(levels)
    return (Digit(render(levels, box), _enlarged(box, picture)),)


def _enlarged(box: Box, picture: Picture) -> Box:
    """The same box in pixels of the picture before it was shrunk, rounded outwards."""
    x, y, width, height = box
    across, down = picture.size[0] / picture.grey.shape[1], picture.size[1] / picture.grey.shape[0]
    left, top = int(x * across), int(y * down)
    right, bottom = min(picture.size[0], ceil((x + width) * across)), min(picture.size[1], ceil((y + height) * down))
    return left, top, right - left, bottom - top
