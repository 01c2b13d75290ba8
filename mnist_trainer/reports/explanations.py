"""Explanations as pictures and text: the pixels that decided, the influence of units, and the embedding of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE, render
from mnist_trainer.reports.text import Column, loss_text, percent, plural, shorten, table_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnist_trainer.inference.explain import Explanation
    from mnist_trainer.inference.influence import Embedding, NetworkExplanation
    from mnist_trainer.inference.reading import DigitPrediction, Prediction

# --- the pixels of an image ---


def explanation_lines(prediction: Prediction) -> list[str]:
    """Return a line for each digit that is explained, and one on those that are not because they are too many."""
    accepted = [digit for digit in prediction.digits if not digit.refused]
    explained = [digit for digit in accepted if digit.explanation is not None]
    lines = [f"  {_position(digit, prediction.digits)}{_sentence(digit)}" for digit in explained]
    left_out = len(accepted) - len(explained)
    return [*lines, f"  the other {plural(left_out, 'digit')}: not explained"] if lines and left_out else lines


def _position(digit: DigitPrediction, digits: Sequence[DigitPrediction]) -> str:
    """Return `digit 2: `, or `line 1, digit 2: `; nothing for the only digit."""
    lines = [list(each) for _, each in groupby(digits, key=lambda other: other.line)]
    for number, line in enumerate(lines, start=1):
        for position, other in enumerate(line, start=1):
            if other is digit and len(digits) > 1:
                return f"{f'line {number}, ' if len(lines) > 1 else ''}digit {position}: "
    return ""


def _sentence(digit: DigitPrediction) -> str:
    """Return `4, not 9: without the 39 pixels that decided most it reads 9 (71.2 %); …`."""
    explanation = digit.explanation
    assert explanation is not None
    answer, pixels = explanation.answer, int(explanation.important.sum())
    scale, digits, points = (1, 2, "") if digit.confidence is None else (100, 1, " points")
    lost, at_random = (
        f"{scale * (explanation.confidence - confidence):.{digits}f}"
        for confidence in (explanation.confidence_without, explanation.confidence_random)
    )
    return (
        f"{answer}, not {explanation.runner_up}: without the {plural(pixels, 'pixel')} that decided most it reads "
        f"{_answer_without(digit, explanation)}; {answer} loses {lost}{points} ({at_random} without {pixels} random "
        "pixels of the ink)"
    )


def _answer_without(digit: DigitPrediction, explanation: Explanation) -> str:
    """Return `9 (71.2 %)`, or `9 (0.71)` of a model without probabilities."""
    value = explanation.answer_confidence_without
    return f"{explanation.answer_without} ({f'{value:.2f}' if digit.confidence is None else percent(value, 1)})"


PANEL = 200
"""Width of a panel in pixels."""


def explained_digits(prediction: Prediction) -> bytes:
    """Return a PNG with three panels for each digit that is explained.

    They are the network's input, the attributions (blue speaks for the answer, orange for the runner-up), and the input
    without the most important pixels with what the model reads then.
    """
    digits = [digit for digit in prediction.digits if digit.explanation is not None and digit.image is not None]
    across = 1 if len(digits) < 3 else 2
    rows = ceil(len(digits) / across)

    def draw(figure: Figure) -> None:
        for index, digit in enumerate(digits):
            first = index // across * 3 * across + index % across * 3 + 1
            panels = [figure.add_subplot(rows, 3 * across, first + offset) for offset in range(3)]
            _draw_digit(panels, digit)

    title = f"{shorten(prediction.name, 60)}: {shorten(prediction.text.replace(chr(10), ' '), 60)}"
    return render((3 * across * PANEL, 60 + rows * (PANEL + 40)), title, draw)


def _draw_digit(panels: Sequence[Axes], digit: DigitPrediction) -> None:
    """Draw the three panels of a digit."""
    explanation, image = digit.explanation, digit.image
    assert explanation is not None and image is not None
    answer, runner_up = (shorten(str(name), 12) for name in (explanation.answer, explanation.runner_up))
    confidence = "" if digit.confidence is None else f" ({percent(digit.confidence, 1)})"
    without = np.where(explanation.important, 0, image)
    titles = (
        f"{answer}{confidence}",
        f"blue speaks for {answer},\norange for {runner_up}",
        f"without {plural(int(explanation.important.sum()), 'pixel')}:\n{_answer_without(digit, explanation)}",
    )
    pictures: tuple[NDArray[Any], ...] = (image, attribution_colours(explanation.attributions, image), without)
    for axes, title, picture in zip(panels, titles, pictures, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)  # RGB has no colour map


def attribution_colours(attributions: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return attributions [28, 28] as RGB from 0 to 1, [28, 28, 3]: blue above 0, orange below, on pale grey ink.

    The largest absolute value has the full colour.
    """
    strength = np.abs(attributions) / (np.abs(attributions).max() or 1.0)
    paper = np.repeat(1 - 0.2 * image[..., None] / 255, 3, axis=2)
    colours = np.where(attributions[..., None] > 0, _rgb(BLUE), _rgb(ORANGE))
    return np.asarray(paper + strength[..., None] * (colours - paper), np.float64)


def _rgb(colour: str) -> NDArray[np.float64]:
    """Return `#RRGGBB` as three numbers from 0 to 1."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


# --- the units of a network ---

MOST, MAX_NAMED = 10, 12
"""The number of influential units, and of dead ones in a layer, that are named."""

MAX_LAYERS = 12
"""The number of layers that are drawn."""


def network_lines(explanation: NetworkExplanation, split: str) -> list[str]:
    """Return what the hidden units contribute: a row a layer, the most influential units, those without influence."""
    few = "" if explanation.count == explanation.total else f"{explanation.count:,} of the "
    loss = "" if explanation.loss is None else f", a loss of {loss_text(explanation.loss)}"
    heads = ("layer", "type", "units", "dead", "saturated", "largest change")
    rows, units = _layer_rows(explanation), _unit_rows(explanation)
    lines = [
        f"Each hidden unit switched off in turn, on {few}{explanation.total:,} {split} images "
        f"({plural(explanation.errors, 'error')}{loss} with all units)",
        "",
        *table_lines(_columns(*heads), rows)[0],
        "",
        *table_lines(_columns("layer", "unit", "errors", "loss", "active"), units)[0],
    ]
    for word in ("dead", "saturated"):
        named = [
            f"layer {layer.layer}: {_numbers(units)}" for layer in explanation.layers if (units := getattr(layer, word))
        ]
        lines += [f"{word}: {'; '.join(named)}"] if named else []
    shares = " and ".join(percent(share, 1) for share in explanation.embedding.shares)
    return [*lines, "", f"Two directions hold {shares} of the variance of what the output layer sees."]


def _columns(*heads: str) -> list[Column]:
    """Return columns of numbers; `type` is text."""
    return [Column(head, right=head != "type") for head in heads]


def _layer_rows(explanation: NetworkExplanation) -> list[tuple[str, ...]]:
    """Return a row for each layer: its number, type, units, dead and saturated ones, and the most influential unit."""
    return [
        (
            *(f"{layer.layer}", layer.name, f"{len(layer.errors):,}", f"{len(layer.dead)}", f"{len(layer.saturated)}"),
            f"{layer.errors.max():+,} errors",
        )
        for layer in explanation.layers
    ]


def _unit_rows(explanation: NetworkExplanation) -> list[tuple[str, ...]]:
    """Return a row for each of the most influential units: layer, unit, more errors, more loss, active images."""
    return [
        (
            *(f"{layer.layer}", f"{unit}", f"{layer.errors[unit]:+,}"),
            "-" if np.isnan(layer.loss[unit]) else f"{layer.loss[unit]:+.4f}",
            percent(layer.active[unit], 1),
        )
        for layer, unit in explanation.most_influential(MOST)
    ]


def _numbers(units: Sequence[int]) -> str:
    """Return `3, 17, 40`; of more than `MAX_NAMED` units only the first."""
    more = len(units) - MAX_NAMED
    return ", ".join(map(str, units[:MAX_NAMED])) + (f" and {more} more" if more > 0 else "")


def influence(explanation: NetworkExplanation, title: str) -> bytes:
    """Draw the influence of all units of each layer, in descending order: a bar a unit, orange if it does harm."""
    layers = explanation.layers[:MAX_LAYERS]
    columns = min(len(layers), 3)
    rows = ceil(len(layers) / columns)

    def draw(figure: Figure) -> None:
        for position, layer in enumerate(layers, start=1):
            changes = np.sort(layer.errors)[::-1]
            dead = f", {len(layer.dead)} dead" if layer.dead else ""
            axes = figure.add_subplot(rows, columns, position, title=f"layer {layer.layer}: {layer.name}{dead}")
            colours = np.where(changes < 0, ORANGE, BLUE)
            axes.bar(np.arange(len(changes)) + 1, changes, width=1.0, color=colours)
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.grid(visible=True, axis="y")
            axes.set(xlabel="units, the most influential first", ylabel="more errors without the unit")

    few = (
        f" (the first {len(layers)} of {len(explanation.layers)} layers)"
        if len(explanation.layers) > len(layers)
        else ""
    )
    return render((max(600, 400 * columns), 60 + 320 * rows), title + few, draw)


def embedding(points: Embedding, classes: Sequence[str], title: str) -> bytes:
    """Draw images as points, coloured by class, each class's name at its median; errors are crosses."""

    def draw(figure: Figure) -> None:
        from matplotlib import colormaps
        from matplotlib.patheffects import withStroke

        x, y = (
            f"component {number}: {percent(share, 1)} of the variance" for number, share in enumerate(points.shares, 1)
        )
        axes = figure.add_subplot(xlabel=x, ylabel=y)
        colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
        wrong = points.labels != points.predicted
        for label, name in enumerate(classes):
            colour = colours(label if len(classes) <= 10 else label / (len(classes) - 1))
            own = points.labels == label
            (right_x, right_y), (wrong_x, wrong_y) = points.points[own & ~wrong].T, points.points[own & wrong].T
            axes.scatter(right_x, right_y, s=14, color=colour, alpha=0.7, linewidths=0)
            axes.scatter(wrong_x, wrong_y, s=60, color=colour, marker="X", edgecolors="black", zorder=3)
            if own.any():
                stroke = [withStroke(linewidth=4, foreground="white")]
                left, top = np.median(points.points[own], axis=0)
                style: Any = {"fontsize": 15, "fontweight": "bold", "ha": "center", "va": "center", "zorder": 4}
                axes.text(left, top, shorten(name, 12), color=colour, path_effects=stroke, **style)

    wrong = int((points.labels != points.predicted).sum())
    return render((900, 760), f"{title}; crosses: {plural(wrong, 'error')}", draw)
