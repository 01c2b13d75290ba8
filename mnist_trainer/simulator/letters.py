"""Letters and symbols that look like no digit, from the fonts that come with matplotlib and OpenCV's strokes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mnist_trainer.simulator.scene import Image, Random

LETTERS = "ACEFHKMNPRUVWXcdefkmnpuvwxAEFHKMNPRWXkmwxÄÑÅÆæñŽЖФЮЩЦШЯжфщшюΩΔΨΞΣΠΛπλψωאשמ"
"""Without those that look like a digit when they are written by hand: O I S Z B l q g, and D G J L Q T Y a b h r.
Those that every alphabet has come twice as often."""

SYMBOLS = (
    "+=?#@%*⇐⇒⇔♡☺☹✗★☆△▽♪♫☀≠÷×±ΩΔΨπ☂✈❄✂☎"
    "~~~≈<>«»<>«»…€¥£§¶©®™{}√∞∑∇∈⊂⊃∪∩∧∨⊕□◇▭▱"
    "☁☃☕☘☠☢☣☤☥☮☸♀♂♔♕♖♗♘♚♛♜♝♞♟♠♢♣♤♥♦♧♨♬♯♻⚀⚑⚒⚓⚔⚖⚗⚙⚛⚠⚡✆✉✌✍✎✏✒✓✕✚✝✞✠✡✢✤✦✩✪✳✶✹✻✽✿❀❁❂❆❈❉❋❖❡❤❥❦❧➘➙➜➟➢➤➥➨➳➵➸➺➽"
)

WORDS = "the quick brown fox jumps over a lazy dog while many women and men wander home through warm rain "

_SANS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
_SERIF = ("DejaVuSerif.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf", "cmr10.ttf", "cmti10.ttf")
_FACES = (*_SANS, "cmss10.ttf", *_SERIF)
_SIDE = 112


def letter(random: Random) -> Image:
    """A letter [112, 112], bright on black, four times as large as MNIST has its digits."""
    character = _choose(LETTERS, random)
    return typed(character, _choose(_FACES if character.isascii() else _SANS, random))


def typed_digit(digit: int, random: Random) -> Image:
    """A digit [112, 112] as printers have it, and people who learnt to write from print."""
    return typed(str(digit), _choose(_FACES, random))


def symbol(random: Random) -> Image:
    """An arrow, a heart, a plus sign or another symbol [112, 112], bright on black."""
    return typed(_choose(SYMBOLS, random), _choose(_SANS, random))


def _choose(things: Sequence[str], random: Random) -> str:
    return str(things[int(random.integers(len(things)))])


@cache
def typed(character: str, face: str) -> Image:
    """A character of a face [112, 112], bright on black."""
    font = _font(face, 80)
    left, top, right, bottom = font.getbbox(character)
    picture = Pillow.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(picture).text(((_SIDE - left - right) / 2, (_SIDE - top - bottom) / 2), character, 255, font)
    return np.asarray(picture)


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    package = find_spec("matplotlib")
    assert package is not None and package.origin is not None  # a dependency of this package
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / face, size)


@cache
def printed(side: int) -> Image:
    """A page of words [side, side] in several faces and sizes, 255 where there is ink."""
    page = Pillow.new("L", (side, side))
    pen, row = ImageDraw.Draw(page), 0
    for line in range(side // 12):
        size = (13, 13, 16, 16, 20, 30)[line // 5 % 6]
        start = line * 37 % len(WORDS)
        text = (WORDS * 4)[start : start + 240]
        pen.text((0, row), text, 255, _font((*_SERIF[:3], *_SANS)[line // 7 % 5], size))
        row += int(1.4 * size) + (size if line % 9 == 8 else 0)
    return np.asarray(page)
