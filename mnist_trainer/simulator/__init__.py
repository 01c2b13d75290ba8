"""Pictures as people make them, from MNIST's digits: to train with, and to measure by kind. No torch.

Every function is a pure function of its arguments and of the random numbers that it draws.
"""

from __future__ import annotations

from mnist_trainer.simulator.non_digits import NON_DIGITS, glyph_non_digit, non_digit
from mnist_trainer.simulator.photographs import (
    KINDS,
    page,
    page_and_digits,
    photograph,
    photograph_and_box,
    photograph_and_digit,
)
from mnist_trainer.simulator.scene import DrawnDigit

__all__ = [
    "KINDS",
    "NON_DIGITS",
    "DrawnDigit",
    "glyph_non_digit",
    "non_digit",
    "page",
    "page_and_digits",
    "photograph",
    "photograph_and_box",
    "photograph_and_digit",
]
