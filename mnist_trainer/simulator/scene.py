"""What all effects of a simulated picture work on: colour planes, where the writing is, and tables of noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, bounding_box
from mnist_trainer.pictures.render import render, tight_box

Image = NDArray[np.uint8]
Levels = NDArray[np.float32]
Colour = NDArray[np.float32]
"""Red, green and blue [3, 1, 1], 0 to 255."""
Random = np.random.Generator

LARGEST = 1000
"""Pixels a side that simulated pictures have at most."""

_TABLE = 1024
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class DrawnInk:
    """`ink` float32 [H, W], 0 to 1; `letter`: the height of one digit in pixels; `stroke`: how wide the pen is."""

    ink: Levels
    letter: float
    stroke: float

    @property
    def box(self) -> Box:
        """x, y, width and height of the ink; the middle pixel where there is none."""
        height, width = self.ink.shape
        return bounding_box(self.ink > 0) if self.ink.any() else (width // 2, height // 2, 1, 1)


@dataclass(frozen=True, eq=False)
class DrawnDigit:
    """Where a digit is on a picture, and how it is read when nothing is lost and nothing added: uint8 [28, 28]."""

    box: Box
    image: Image

    @classmethod
    def of(cls, ink: Levels, box: Box) -> DrawnDigit:
        """The digit whose ink [H, W], 0 to 1, is read."""
        return cls(box, render(ink, tight_box(ink)))


@dataclass(eq=False)
class Scene:
    """A picture in the making: `planes` float32 [3, H, W], 0 to 255, which effects change, and the writing on it."""

    planes: Levels
    writing: DrawnInk

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.writing.ink.shape
        return height, width


Effect = Callable[[Scene, Random], None]
"""Changes a scene's planes in place."""


def paste(ink: Levels, patch: Image, top: int, left: int) -> None:
    """Lays coverage uint8 [h, w] onto `ink` [H, W], as far as it lies on it."""
    height, width = ink.shape
    part = patch[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    place = ink[max(0, top) :, max(0, left) :][: part.shape[0], : part.shape[1]]
    np.maximum(place, to_unit_range(part), out=place)


def to_unit_range(levels: Image) -> Levels:
    """Levels of 255 as 0 to 1."""
    return levels * np.float32(1 / 255)


def overlay(planes: Levels, alpha: Levels, colour: Colour) -> None:
    """Lays a colour [3, 1, 1] or [3, H, W] over `planes` [3, H, W] as far as `alpha` [H, W], 0 to 1, covers them."""
    planes += alpha * (colour - planes)


def random_colour(level: float, strength: float, random: Random) -> Colour:
    """A random colour of the brightness `level`, 0 to 255."""
    tint = random.normal(0, strength, 3).astype(np.float32)
    colour: Colour = np.clip(level + tint - tint @ _LUMA, 0, 255).astype(np.float32)
    return colour[:, None, None]


BLACK: Colour = np.zeros((3, 1, 1), np.float32)


def grain(shape: tuple[int, int], random: Random) -> Levels:
    """Normal noise [H, W], each pixel by itself; a random part of a table, which is ten times faster."""
    return _part(_white(), shape, random)


def clouds(shape: tuple[int, int], random: Random) -> Levels:
    """Normal noise [H, W] of paper: coarse and fine fibres and blotches."""
    return _part(_fibres(), shape, random)


def waves(shape: tuple[int, int], random: Random, cells: int = 3) -> Levels:
    """Smooth normal noise [H, W] with so many hills along each side."""
    import cv2

    coarse = random.standard_normal((cells + 1, cells + 1), np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def slope(shape: tuple[int, int], angle: float) -> Levels:
    """How far each pixel of [H, W] lies from the middle in the direction `angle` (radians), in pixels."""
    y, x = (np.arange(size, dtype=np.float32) - size / 2 for size in shape)
    distance: Levels = np.add.outer(y * np.float32(np.sin(angle)), x * np.float32(np.cos(angle)))
    return distance


def _part(table: Levels, shape: tuple[int, int], random: Random) -> Levels:
    top, left = random.integers(0, [_TABLE - shape[0] + 1, _TABLE - shape[1] + 1])
    rows, columns = random.choice([-1, 1], 2)
    part: Levels = table[top : top + shape[0], left : left + shape[1]][::rows, ::columns]
    return part


@cache
def _white() -> Levels:
    return np.random.default_rng(0).standard_normal((_TABLE, _TABLE), np.float32)


@cache
def _fibres() -> Levels:
    import cv2

    layers = [cv2.GaussianBlur(np.roll(_white(), 331 * i), (0, 0), 2**i) * 2**i for i in range(6)]
    table = np.sum(layers, axis=0, dtype=np.float32)
    return np.asarray(table / table.std(), np.float32)
