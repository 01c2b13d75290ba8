"""Render letters and symbols that do not look like digits, typed digits, and printed pages, in matplotlib's fonts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mnist_trainer.simulator.scene import Image, Rng

LETTERS = "ACEFHKMNPRUVWXcdefkmnpuvwxAEFHKMNPRWXkmwxÄÑÅÆæñŽЖФЮЩЦШЯжфщшюΩΔΨΞΣΠΛπλψωאשמ"
"""Letters, without those whose handwritten forms look like digits: O I S Z B l q g, and D G J L Q T Y a b h r.
Repeated letters are drawn more often."""

SYMBOLS = (
    "+=?#@%*⇐⇒⇔♡☺☹✗★☆△▽♪♫☀≠÷×±ΩΔΨπ☂✈❄✂☎"
    "~~~≈<>«»<>«»…€¥£§¶©®™{}√∞∑∇∈⊂⊃∪∩∧∨⊕□◇▭▱"
    "☁☃☕☘☠☢☣☤☥☮☸♀♂♔♕♖♗♘♚♛♜♝♞♟♠♢♣♤♥♦♧♨♬♯♻⚀⚑⚒⚓⚔⚖⚗⚙⚛⚠⚡✆✉✌✍✎✏✒✓✕✚✝✞✠✡✢✤✦✩✪✳✶✹✻✽✿❀❁❂❆❈❉❋❖❡❤❥❦❧➘➙➜➟➢➤➥➨➳➵➸➺➽"
)

WORDS = "the quick brown fox jumps over a lazy dog while many women and men wander home through warm rain "

SANS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
SERIF = ("DejaVuSerif.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf", "cmr10.ttf", "DejaVuSerif-Italic.ttf")
FACES = (*SANS, "cmss10.ttf", *SERIF)
"""Fonts of every version of matplotlib. Only those in `SANS` contain all of `LETTERS` and `SYMBOLS`."""

SIDE = 112
"""Pixels on each side of a rendered character, four times those of MNIST."""


def letter(rng: Rng) -> Image:
    """Return a letter [112, 112], bright on black."""
    character = _choose(LETTERS, rng)
    return typed(character, _choose(FACES if character.isascii() else SANS, rng))


def typed_digit(digit: int, rng: Rng) -> Image:
    """Return a digit [112, 112] in the shape of print, bright on black."""
    return typed(str(digit), _choose(FACES, rng))


def symbol(rng: Rng) -> Image:
    """Return an arrow, a heart, a plus sign or another symbol [112, 112], bright on black."""
    return typed(_choose(SYMBOLS, rng), _choose(SANS, rng))


def _choose(things: Sequence[str], rng: Rng) -> str:
    return str(things[int(rng.integers(len(things)))])


@cache
def typed(character: str, face: str) -> Image:
    """Return a character of a font [112, 112], bright on black."""
    font = _font(face, 80)
    left, top, right, bottom = font.getbbox(character)
    picture = Pillow.new("L", (SIDE, SIDE))
    ImageDraw.Draw(picture).text(((SIDE - left - right) / 2, (SIDE - top - bottom) / 2), character, 255, font)
    return np.asarray(picture)


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    package = find_spec("matplotlib")
    assert package is not None and package.origin is not None  # a dependency of this package
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / face, size)


@cache
def printed(side: int) -> Image:
    """Return a printed page [side, side] of words in several fonts and sizes, bright on black."""
    page = Pillow.new("L", (side, side))
    pen, row = ImageDraw.Draw(page), 0
    for line in range(side // 12):
        size = (13, 13, 16, 16, 20, 30)[line // 5 % 6]
        start = line * 37 % len(WORDS)
        text = (WORDS * 4)[start : start + 240]
        pen.text((0, row), text, 255, _font((*SERIF[:3], *SANS)[line // 7 % 5], size))
        row += int(1.4 * size) + (size if line % 9 == 8 else 0)
    return np.asarray(page)
