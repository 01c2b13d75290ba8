"""Warnings of signs among digits: `mnist_trainer/inference/sign_warnings.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_trainer import predict
from mnist_trainer.inference.sign_warnings import sign_warnings
from mnist_trainer.pictures.page import Box

SIZE = (600, 300)


@dataclass(frozen=True)
class Read:
    sign: str
    box: Box
    image: NDArray[np.uint8] | None = None


TWO, FIVE = Read("2", (100, 100, 60, 100)), Read("5", (240, 100, 60, 100))


@pytest.mark.parametrize(
    ("marks", "kinds"),
    [
        ([(190, 188, 12, 12)], ["a dot or comma between 2 and 5"]),
        ([(185, 185, 14, 30)], ["a dot or comma between 2 and 5"]),
        ([(190, 120, 12, 12), (190, 170, 12, 12)], ["dots between 2 and 5"]),
        ([(178, 145, 45, 8)], ["a bar between 2 and 5"]),
        ([(40, 145, 45, 8)], ["a bar before 2"]),
        ([(320, 120, 50, 50)], ["a mark after 5"]),
        ([(180, 80, 40, 140)], ["a mark between 2 and 5"]),  # a slash longer than the digits
        ([(190, 188, 4, 4)], []),  # a speck
        ([(190, 120, 12, 12)], []),  # a dot in the middle is none
        ([(245, 85, 50, 10)], []),  # above the 5, of which it may be the bar
        ([(250, 150, 12, 12)], []),  # within the 5
        ([(450, 188, 12, 12)], []),  # far away
        ([(0, 188, 12, 12)], []),  # at the border
        ([(190, 20, 12, 12)], []),  # above the line
    ],
)
def test_ink_beside_digits_is_named(marks: list[Box], kinds: list[str]) -> None:
    told = sign_warnings([[TWO, FIVE]], [TWO.box, FIVE.box, *marks], SIZE)
    assert told == tuple(f"a sign may have been left out: {kind}" for kind in kinds)


def test_ink_that_was_joined_with_a_digit_is_named_too() -> None:
    seven, ink = Read("7", (40, 100, 120, 100)), [(100, 100, 60, 100), (40, 145, 45, 8)]
    assert sign_warnings([[seven]], ink, SIZE) == ("a sign may have been left out: a bar before 7",)


def drawn(text: str) -> Image.Image:
    image = Image.new("L", (80 * len(text) + 80, 180), 255)
    ImageDraw.Draw(image).text((50, 30), text, fill=0, font=ImageFont.load_default(90))
    return image


def test_pictures_with_signs_are_warned_of_and_others_are_not() -> None:
    pictures = {
        "1/2": ("the 1 between 1 and 2 may be a slash",),
        "2.5": ("a sign may have been left out: a dot or comma between 2 and 5",),
        "-7": ("a sign may have been left out: a bar before 7",),
        "3,14": ("a sign may have been left out: a dot or comma between 3 and 1",),
        "7:30": ("a sign may have been left out: dots between 7 and 3",),
        "407": (),
        "112": (),
        "5": (),
    }
    found = predict([drawn(text) for text in pictures])
    assert [each.warnings for each in found] == list(pictures.values())
    assert found[0].to_json()["warnings"] == ["the 1 between 1 and 2 may be a slash"]
    assert "warnings" not in found[-1].to_json()
