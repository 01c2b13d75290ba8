"""Pictures as people make them, from MNIST's digits: to train with, and to measure by kind. No torch.

Every function is a pure function of its arguments and of the random numbers that it draws.
"""

from __future__ import annotations

from mnist_trainer.pictures.simulator.non_digits import NON_DIGITS, non_digit
from mnist_trainer.pictures.simulator.pages import page, page_and_digits
from mnist_trainer.pictures.simulator.photographs import KINDS, photograph, photograph_and_box, photograph_and_digit
from mnist_trainer.pictures.simulator.scene import DrawnDigit
from mnist_trainer.pictures.simulator.wrong_cuts import glyph_non_digit

__all__ = [
    "KINDS",
    "NON_DIGITS",
    "Shown",
    "glyph_non_digit",
    "non_digit",
    "page",
    "page_and_digits",
    "photograph",
    "photograph_and_box",
    "photograph_and_digit",
]
