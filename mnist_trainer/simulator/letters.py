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

LETTERS = (
    "ACEFHKMNPRUVWXcdefkmnpuvwxAEFHKMNPRWXkmwxACEFHKMNRUVWXefkmnuvwxTLhrtaTLhtBBRRGQHHUYhyy"  # Latin
    "ÄÑÅÆæñΔΨΞΣπψωεηκμχ"
    "ЖЮЩЦШЯжшюГДИЙЛПгдийлпцщяљ"
    "אשמהחטלעקתبتثسشصضظغكنلي"  # Hebrew, Arabic
    "ԱԲԹԺԽՃՄՆՊՌՍՓաժխմպռփთფქ"  # Armenian, Georgian
)
"""Letters, without those whose handwritten forms look like digits: O I S Z l q g D b, Λ and Φ (a 1 with a long flag,
and a slashed 0). Repeated letters are drawn more often."""

CURSIVE = (
    ("𝓐𝓑𝓒𝓔𝓕𝓖𝓗𝓙𝓚𝓛𝓜𝓝𝓟𝓠𝓡𝓣𝓤𝓥𝓦𝓧𝓨𝓪𝓬𝓭𝓮𝓯𝓱𝓴𝓶𝓷𝓹𝓻𝓽𝓾𝓿𝔀𝔁𝔂", "STIXGeneral.ttf"),
    ("ABCEFGHJKLMNPQRTUVWXY", "cmsy10.ttf"),
    ("ABCEFGHJKLMNPQRTUVWXYacdefhkmnprtuvwxy", "cmmi10.ttf"),
)
"""Latin letters in the shape of handwriting: a script (Unicode's mathematical letters), calligraphy, and italics."""

CURSIVE_SHARE = 0.35
"""The share of letters that are `CURSIVE`."""

SYMBOLS = (
    "+=?#@%*&&$$!??%%⇐⇒⇔♡☺☹✗★☆△▽♪♫☀≠÷×±ΩΔΨπ☂✈❄✂☎"
    "~~~≈<>«»<>«»…€¥£¶©®™{}√∞∑∇∈⊂⊃∪∩∨⊕□"
    "☁☃☕☘☠☢☣☤☥☮☸♀♂♔♕♖♗♘♚♛♜♝♞♟♠♢♣♤♥♦♧♨♬♯♻⚀⚑⚒⚓⚔⚖⚗⚙⚛⚠⚡✆✉✌✍✎✏✒✓✕✚✝✞✠✡✢✤✦✩✪✳✶✹✻✽✿❀❁❂❆❈❉❋❖❡❤❥❦❧➘➙➜➟➢➤➥➨➳➵➸➺➽"
)

DRAWINGS = (
    "o50,50,48,48/o34,36,4,5/o66,36,4,5/26,62 50,80 74,62",  # faces
    "o50,50,48,46/o34,38,4,5/o66,38,4,5/28,76 50,62 72,76",
    "14,40 14,2! 36,20! 64,20! 86,2! 86,44 74,84 50,96 26,84 14,40/o36,48,4,5/o64,48,4,5/50,66 50,72",
    "o50,14,14,14/50,28 50,66/50,66 28,100/50,66 72,100/24,44 50,38 76,44",  # people
    "o50,12,12,12/50,24 52,62/52,62 34,100/52,62 74,98/50,36 20,18/50,36 80,56",
    "8,46 8,100! 92,100! 92,46! 50,4! 4,48/42,100 42,68! 60,68! 60,100",  # a house, trees, a flower, the sky
    "10,100! 90,40! 10,40! 90,100! 10,100! 10,40! 50,4! 90,40! 90,100",
    "44,100 44,60/58,100 58,60/44,60 18,58 12,34 30,10 52,2 80,14 88,40 76,58 58,60",
    "50,0! 20,36! 38,36! 10,72! 90,72! 62,36! 80,36! 50,0/50,72 50,100",
    "o50,30,10,10/o50,12,9,9/o68,30,9,9/o32,30,9,9/o50,48,9,9/50,56 50,100/50,84 30,72",
    "o50,50,24,24/50,20 50,0/50,80 50,100/20,50 0,50/80,50 100,50/28,28 14,14/72,28 86,14/28,72 14,86/72,72 86,86",
    "60,2 20,20 10,56 36,94 74,96 46,74 40,34 60,2",
    "60,0! 20,54! 50,54! 30,100! 84,38! 54,38! 78,0! 60,0",
    "20,100! 50,2! 80,100! 4,38! 96,38! 20,100",
    "50,98! 8,48 10,14 34,6 50,28! 66,6 90,14 92,48 50,98",  # things
    "4,50 30,24 62,30 80,50 100,26! 100,74! 80,50 60,70 30,76 4,50/o24,46,2,2",
    "0,70 4,48 24,44! 36,20 70,20! 82,44 100,50! 100,70! 0,70/o26,76,12,12/o76,76,12,12",
    "10,20 18,90! 70,90! 78,20! 10,20/76,34 98,36 96,62 72,66",
    "20,100 20,0! 84,10! 84,46! 20,50",
    "20,0 20,100/70,0 70,100/20,20 70,20/20,44 70,44/20,68 70,68",
    "2,16! 98,16! 98,86! 2,86! 2,16! 50,56! 98,16",
    "2,50 20,12 50,0 80,12 98,50! 2,50/50,50 50,90 40,100 30,92",
    "4,96! 0,20! 28,56! 50,8! 72,56! 100,20! 96,96! 4,96",
    "o20,30,18,18/34,40 96,96/70,74 82,60/82,84 94,72",
    "o24,50,22,22/o76,50,22,22/46,48 54,48",
    "o34,50,32,32/o66,50,32,32",
    "14,24 24,4 62,2 80,24 66,46 46,56 46,72/o46,92,3,3",  # ? and @
    "64,60 40,66 36,40 58,34 66,60 86,64 92,36 66,6 26,14 6,50 22,86 60,98 86,86",
    "50,0 50,100/6,34 94,34/48,36 10,80/52,36 92,80",  # Chinese
    "4,36 96,36/50,0 46,50 8,100/50,44 92,100",
    "10,10! 90,10! 90,94! 10,94! 10,10/50,10 50,94/10,52 90,52",
    "10,24! 90,24! 90,66! 10,66! 10,24/50,0 50,100",
    "50,4 50,90/8,40 8,92! 92,92! 92,40",
    "8,8 92,8/14,50 86,50/2,94 98,94/50,8 50,94",
    "70,4 24,16/14,38 86,36/4,64 96,62/52,10 56,84 34,96",
    "44,0 26,58 86,100/72,36 54,80 12,100/4,38 96,36",
    "50,0 50,92 36,84/8,36 38,36 8,84/88,20 56,44 94,86",
    "48,0 54,14/4,26 96,26/74,28 52,66 6,100/26,30 52,70 96,100",
    "8,30 86,30! 78,92 60,84/46,2 42,52 8,98",  # Japanese
    "12,34 88,22/6,64 94,52/38,2 62,100",
    "2,32 98,32/28,4 28,62/72,4 72,56 36,100",
    "34,16 24,60 2,94/62,10 84,44 98,92",
    "4,30 96,30/50,0 50,98 36,90/28,50 8,80/72,50 94,80",
    "14,8 86,8/2,44 98,44/46,8 46,86 62,96 92,92",
    "8,24 84,18/40,2 36,60 50,92/70,34 56,70 18,88 8,66 40,46 78,54 88,80 60,100",
    "6,10 46,10! 10,90/76,0 76,100/76,46 98,46",  # Korean
    "50,0 50,12/14,22 86,22/o50,46,18,14/50,62 50,80/4,84 96,84",
    "20,6 40,6/4,20 54,20/o28,42,20,16/76,0 76,64/76,32 98,32/16,66 16,96! 86,96",
    "0,8 100,8/52,8 52,100/52,40 22,30 10,56 30,70 52,46 80,34 92,56 76,74",  # Hindi
    "0,8 100,8/24,8 24,70 14,60/24,66 76,66/76,8 76,100",
)
"""Things that people draw, and characters of scripts that matplotlib's fonts lack, in the notation of `sketch`."""

MARKS = (
    "0,50 100,50/74,26 100,50! 74,74",
    "0,50 100,50/74,26 100,50! 74,74/26,26 0,50! 26,74",
    "4,90 20,30 90,20/68,0 94,20! 70,44",
    "4,54 36,96! 98,4",
    "50,50 58,44 62,54 50,64 36,56 36,36 56,26 78,40 78,66 54,84 24,76 12,48 24,18 56,4 90,14",
    "0,50 14,30 28,50 42,70 56,50 70,30 84,50 100,66",
    "0,60 20,20 30,60 14,76 20,40 44,20 54,60 38,76 46,40 68,20 78,60 62,76 72,36 98,30",
    "0,20! 25,80! 50,20! 75,80! 100,20",
    "2,80 30,24 70,24 98,80",
    "6,4! 6,96! 90,96",
    "50,0 50,100/0,50 100,50",
    "6,4 94,96/92,2 8,98",
    "50,0 50,100/6,26 94,74/94,26 6,74",
    "10,30 90,30/10,66 90,66",
    "10,20 90,20/10,50 90,50/10,80 90,80",
    "o10,50,4,4/o50,50,4,4/o90,50,4,4",
    "36,0 30,100/70,0 64,100/0,34 100,32/0,70 100,66",
    "4,4! 96,4! 96,96! 4,96! 4,4",
    "0,30! 100,30! 100,74! 0,74! 0,30",
    "50,4! 98,94! 2,94! 50,4",
    "2,2! 98,2! 98,98! 2,98! 2,2/2,2 98,98/98,2 2,98",
    "2,2! 80,2! 80,90! 2,90! 2,2/20,44 40,72! 98,6",
    "o50,50,48,48/o50,50,26,26",
    "o50,50,46,46/4,50 96,50/50,4 50,96",
)
"""Arrows, ticks, lines and shapes, which are drawn in any direction."""

WORDS = "the quick brown fox jumps over a lazy dog while many women and men wander home through warm rain "

SANS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
SERIF = ("DejaVuSerif.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf", "cmr10.ttf", "DejaVuSerif-Italic.ttf")
FACES = (*SANS, "cmss10.ttf", *SERIF)
"""Fonts of every version of matplotlib. Only those in `SANS` contain all of `LETTERS` and `SYMBOLS`."""

SIDE = 112
"""Pixels on each side of a rendered character, four times those of MNIST."""


def letter(rng: Rng) -> Image:
    """Return a letter [112, 112], bright on black."""
    if rng.random() < CURSIVE_SHARE:
        letters, face = CURSIVE[int(rng.integers(len(CURSIVE)))]
        return typed(_choose(letters, rng), face)
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
