from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.inference.explain import Explanation
from mnist_trainer.inference.influence import Embedding, LayerInfluence, NetworkExplanation
from mnist_trainer.inference.reading import DigitPrediction, Prediction
from mnist_trainer.reports.explanations import (
    attribution_colours,
    embedding,
    explained_digits,
    explanation_lines,
    influence,
    network_lines,
)

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def has(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((pixels == colour).all(axis=2).any())


@pytest.fixture
def image() -> NDArray[np.uint8]:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[5:23, 12:16] = 255
    return pixels


@pytest.fixture
def digit(image: NDArray[np.uint8]) -> DigitPrediction:
    """A 4 whose upper half speaks for it, and the rest for 9."""
    attributions = (image / 255).astype(np.float32)
    attributions[14:] *= -1
    explanation = Explanation(4, 9, attributions, 3.0, 1.0, attributions > 0, 0.95, 0.25, 0.9, 9, 0.7)
    return DigitPrediction(4, 0.95, (), (0, 0, 9, 9), image=image, explanation=explanation)


def read(*digits: DigitPrediction) -> Prediction:
    return Prediction("a.png", "4" * len(digits), digits, 0.95)


def test_a_line_names_answer_and_runner_up_and_what_is_lost(digit: DigitPrediction) -> None:
    words = (
        "4, not 9: without the 36 pixels that decided most it reads 9 (70.0 %); 4 loses 70.0 points (5.0 without 36 "
        "random pixels of the ink)"
    )
    assert explanation_lines(read(digit)) == [f"  {words}"]
    unexplained, refused = replace(digit, explanation=None), replace(digit, explanation=None, refused=True)
    below = replace(digit, line=1)
    assert explanation_lines(read(refused, digit, below, unexplained)) == [
        f"  line 1, digit 2: {words}",
        f"  line 2, digit 1: {words}",
        "  the other 1 digit: not explained",
    ]
    assert explanation_lines(read(unexplained, refused)) == []


def test_values_are_no_percentages(digit: DigitPrediction) -> None:
    (line,) = explanation_lines(read(replace(digit, confidence=None)))
    assert "it reads 9 (0.70); 4 loses 0.70 (0.05 without" in line


def test_colours_say_which_class_a_pixel_speaks_for(digit: DigitPrediction, image: NDArray[np.uint8]) -> None:
    assert digit.explanation is not None
    attributions = digit.explanation.attributions.copy()
    attributions[6, 12], attributions[7, 12] = 0, 0.5
    colours = attribution_colours(attributions, image)
    assert colours.shape == (28, 28, 3)
    np.testing.assert_allclose(255 * colours[5, 12], BLUE)
    np.testing.assert_allclose(255 * colours[20, 12], ORANGE)
    np.testing.assert_allclose(colours[0, 0], 1)
    np.testing.assert_allclose(colours[6, 12], 0.8)
    np.testing.assert_allclose(colours[7, 12], (0.8 + np.array(BLUE) / 255) / 2)
    assert np.isfinite(attribution_colours(np.zeros_like(attributions), image)).all()


def test_each_digit_has_three_panels(digit: DigitPrediction) -> None:
    one = pixels_of(explained_digits(read(digit)))
    assert one.shape[:2] == (300, 600)
    assert has(one, BLUE)
    assert has(one, ORANGE)
    left, middle, right = np.split(one, 3, axis=1)
    black = [(part == 0).all(axis=2).sum() for part in (left, middle, right)]
    assert black[2] > black[0] > 5000 > black[1]  # the removed pixels are black, too
    assert pixels_of(explained_digits(read(*[digit] * 5))).shape[:2] == (780, 1200)
    assert explained_digits(read(digit)) == explained_digits(read(digit))


def network(*errors: int, layers: int = 1, count: int = 100) -> NetworkExplanation:
    changes = np.array(errors)
    active = np.linspace(0, 1, len(changes))
    each = [LayerInfluence(number, "Linear, ReLU", changes, changes / 100, active) for number in range(1, layers + 1)]
    points = Embedding(np.eye(4, 2), (0.5, 0.25), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    return NetworkExplanation(tuple(each), count, 100, 7, 0.25, points)


def test_the_influence_in_words() -> None:
    found = network(0, 5, -2)
    found = replace(found, layers=(replace(found.layers[0], saturated=(1, 2)),))
    assert network_lines(found, "test") == [
        "Each hidden unit switched off in turn, on 100 test images (7 errors, a loss of 0.2500 with all units)",
        "",
        "layer  type          units  dead  saturated  largest change",
        "    1  Linear, ReLU      3     1          2       +5 errors",
        "",
        "layer  unit  errors     loss   active",
        "    1     1      +5  +0.0500   50.0 %",
        "    1     0      +0  +0.0000    0.0 %",
        "    1     2      -2  -0.0200  100.0 %",
        "dead: layer 1: 0",
        "saturated: layer 1: 1, 2",
        "",
        "Two directions hold 50.0 % and 25.0 % of the variance of what the output layer sees.",
    ]
    fewer = network_lines(replace(found, count=50), "test")[0]
    assert fewer.startswith("Each hidden unit switched off in turn, on 50 of the 100 test images (")


def test_only_some_units_are_named() -> None:
    found = network(*range(40))
    dead = replace(found, layers=(replace(found.layers[0], active=np.zeros(40)),))
    lines = network_lines(dead, "test")
    assert [line.split()[1] for line in lines[6:16]] == [str(unit) for unit in range(39, 29, -1)]
    assert lines[16] == "dead: layer 1: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 28 more"


def test_influence_is_drawn_by_layer() -> None:
    drawn = pixels_of(influence(network(5, 0, -2), "a title"))
    assert drawn.shape[:2] == (380, 600)
    assert has(drawn, BLUE)
    assert has(drawn, ORANGE)
    assert not has(pixels_of(influence(network(5, 0, 2), "a title")), ORANGE)
    assert pixels_of(influence(network(5, 0, layers=14), "a title")).shape[:2] == (60 + 4 * 320, 1200)


def test_points_are_coloured_by_class() -> None:
    points = network(1).embedding
    few = pixels_of(embedding(points, ("no", "yes"), "a title"))
    assert few.shape[:2] == (760, 900)
    assert has(few, (31, 119, 180))
    assert has(few, (255, 127, 14))
    many = [f"class {number}" for number in range(26)]
    assert pixels_of(embedding(points, many, "a title")).shape[:2] == (760, 900)
