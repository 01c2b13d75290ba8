from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.reports import plots
from mnist_trainer.reports.canvas import FileFormat

from .conftest import pixels, where

ORANGE, GREEN = (213, 94, 0), (0, 122, 90)
TEN = [str(digit) for digit in range(10)]


def matrix_of(classes: int, mistake: tuple[int, int] | None = None, count: int = 40) -> NDArray[np.int64]:
    matrix = np.diag(np.full(classes, 200)).astype(np.int64)
    if mistake is not None:
        matrix[mistake] = count
    return matrix


def darkest(png: bytes) -> tuple[float, float]:
    """Row and column of the middle of the strongest mistake, each as a share of the matrix's part of the drawing."""
    picture = pixels(png)[:, :-150]  # without the bar of colours
    cell = where(picture, (127, 39, 4))
    return float(np.nonzero(cell)[0].mean() / picture.shape[0]), float(np.nonzero(cell)[1].mean() / picture.shape[1])


@pytest.mark.parametrize("classes", [2, 10, 26, 62])
def test_a_confusion_matrix_of_any_size_fits(classes: int) -> None:
    names = [f"class ${index}$ of many letters" for index in range(classes)]
    picture = pixels(plots.confusion(matrix_of(classes, (1, 0), 12345), names, "letters"))
    assert picture.shape[1] <= 1200 and 400 <= picture.shape[0] <= 1300
    assert (picture[[0, -1]] == 255).all() and (picture[:, [0, -1]] == 255).all()


def test_the_worst_mistake_stands_where_it_belongs() -> None:
    upper = darkest(plots.confusion(matrix_of(10, (1, 8)), TEN, "mnist"))
    lower = darkest(plots.confusion(matrix_of(10, (8, 1)), TEN, "mnist"))
    assert upper[0] < 0.3 and upper[1] > 0.7
    assert lower[1] < 0.3 and lower[0] > 0.7


def test_the_diagonal_is_neutral_and_without_mistakes_nothing_is_dark() -> None:
    picture = pixels(plots.confusion(matrix_of(10), TEN, "perfect"))
    assert where(picture, (233, 233, 233)).sum() > 10 * 50**2
    assert not where(picture[:, :-150], (127, 39, 4)).any()


def test_a_class_without_images_is_drawn() -> None:
    empty = matrix_of(3)
    empty[1] = 0
    assert pixels(plots.confusion(empty, ["a", "b", "日本"], "empty")).shape == (420, 460, 3)


def mistakes_of(count: int, names: Sequence[str] = TEN, probability: float | None = 0.98) -> bytes:
    images = np.full((count, 28, 28), 200, np.uint8)
    labels, predicted = ([names[(index + move) % len(names)] for index in range(count)] for move in (0, 1))
    return plots.mistakes(images, labels, predicted, [probability] * count, "The surest mistakes")


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (6, 2), (40, 5)])
def test_mistakes_fill_rows_of_five(count: int, rows: int) -> None:
    picture = pixels(mistakes_of(count))
    assert picture.shape == (70 + 225 * rows, 1000, 3)
    ink = where(picture, (200, 200, 200))
    middle = ink[-120]
    pictures = int((np.diff(middle.astype(int)) == 1).sum())
    assert pictures == min(count, 25) - 5 * (rows - 1)


def test_without_mistakes_it_says_so() -> None:
    picture = pixels(mistakes_of(0))
    assert picture.shape == (200, 700, 3)
    assert where(picture, GREEN).sum() > 100


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("7", "2", 0.98), "7 → 2 (98 %)"),
        (("7", "2", 0.9951), "7 → 2 (> 99 %)"),
        (("7", "2", 1.0), "7 → 2 (100 %)"),
        (("7", "2", None), "7 → 2"),
        (("Ankle boot", "T-shirt/top", 0.5), "Ankle boot → \nT-shirt/top (50 %)"),
        (("x" * 40, "y" * 40, None), f"{'x' * 7}…{'x' * 7} → \n{'y' * 5}…{'y' * 5}"),
    ],
)
def test_a_mistake_is_headed_by_what_it_is(arguments: tuple[str, str, float | None], text: str) -> None:
    assert plots._mistake_caption(*arguments) == text


@pytest.mark.parametrize(("units", "size"), [(1, (450, 510)), (10, (400, 570)), (64, (950, 1010)), (512, (950, 1010))])
def test_weights_are_laid_out_in_a_grid(units: int, size: tuple[int, int]) -> None:
    pictures = np.random.default_rng(0).normal(size=(units, 28, 28)).astype(np.float32)
    assert pixels(plots.weights(pictures, "mlp")).shape[:2] == size


def test_weights_share_one_scale_that_is_symmetric_around_zero() -> None:
    values = np.zeros((2, 28, 28), np.float32)
    values[0], values[1] = -0.5, 1
    picture = pixels(plots.weights(values, "two units"))[:, :-150]
    negative, positive = where(picture, (107, 172, 209)), where(picture, (103, 0, 31))
    assert negative.sum() > 5000 and positive.sum() > 5000
    assert np.nonzero(negative)[1].max() < np.nonzero(positive)[1].min()


def test_weights_of_which_few_are_not_zero_are_drawn() -> None:
    values = np.zeros((8, 28, 28), np.float32)
    values[0, 14, 14] = 0.3
    assert where(pixels(plots.weights(values, "sparse"))[:, :-150], (103, 0, 31)).any()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_weights_that_are_zero_or_broken_are_drawn(value: float) -> None:
    assert pixels(plots.weights(np.full((3, 28, 28), value, np.float32), "broken")).shape[2] == 3


def test_equal_input_gives_equal_bytes_and_other_input_other_bytes() -> None:
    weights = np.ones((2, 28, 28), np.float32)
    pairs = [
        [plots.confusion(matrix_of(3, at), TEN[:3], "mnist") for at in ((0, 1), (0, 1), (1, 0))],
        [mistakes_of(3, probability=sure) for sure in (0.5, 0.5, 0.6)],
        [plots.weights(factor * weights, "mlp") for factor in (1, 1, -1)],
    ]
    for one, same, other in pairs:
        assert one == same
        assert one != other


def test_pyplot_and_torch_stay_out() -> None:
    code = (
        "import sys; from mnist_trainer.reports import plots; "
        "from mnist_trainer.reports.curves import TrainingSummary, curves; "
        "early = 'matplotlib' in sys.modules; "
        "curves([{'epoch': 1, 'train_loss': 1.0, 'lr': 0.1}], TrainingSummary(1), 'a'); "
        "print(early, 'matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False False"


def test_units_that_never_fired_are_crossed_out() -> None:
    orange = [
        where(pixels(plots.weights(np.zeros((4, 28, 28), np.float32), "mlp", dead)), ORANGE) for dead in ([], [2])
    ]
    assert not orange[0].any()
    rows, columns = np.nonzero(orange[1])
    assert rows.min() > 250 and columns.max() < 250  # the third of four: below, on the left


def test_small_filters_have_the_gaps_of_large_pictures() -> None:
    values = [np.full((4, side, side), -0.5, np.float32) for side in (3, 28)]
    areas = [where(pixels(plots.weights(each, "cnn"))[:, :-150], (5, 48, 97)).sum() for each in values]
    assert 0.9 < areas[0] / areas[1] < 1.1


@pytest.mark.parametrize(("classes", "shares"), [(2, True), (10, True), (26, True), (62, False)])
def test_shares_stand_below_the_counts_where_there_is_room(
    classes: int, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    texts = []
    monkeypatch.setattr(Axes, "text", lambda axes, x, y, text, **look: texts.append(text))
    plots.confusion(matrix_of(classes, (1, 0), 50), [str(index) for index in range(classes)], "some")
    assert {"200", "50"} <= set(texts)
    assert ({"20.0 %", "80.0 %", "100 %"} <= set(texts)) == shares


@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_each_format_has_equal_bytes_for_equal_input(file_format: FileFormat, start: bytes) -> None:
    first, second = (plots.confusion(matrix_of(3), TEN[:3], "some", file_format) for _ in range(2))
    assert first.startswith(start)
    assert first == second
