from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.reports import plots

BLUE, ORANGE, GREEN = (0, 114, 178), (213, 94, 0), (0, 122, 90)
TEN = [str(digit) for digit in range(10)]


def pixels(png: bytes) -> NDArray[np.int64]:
    """The drawing [height, width, 3]."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(BytesIO(png)) as image:
        assert "Software" not in image.info
        return np.asarray(image.convert("RGB")).astype(np.int64)


def where(picture: NDArray[np.int64], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Which pixels [height, width] have (nearly) this colour."""
    close: NDArray[np.bool_] = np.abs(picture - colour).max(axis=2) <= 3
    return close


def rows_of(epochs: int, validated: bool = True) -> list[Mapping[str, float | int | str | None]]:
    return [
        {
            "epoch": epoch,
            "phase": "train",
            "train_loss": 1 / epoch**2,
            "train_accuracy": 1 - 0.3 / epoch,
            "val_loss": 1 / epoch if validated else None,
            "val_accuracy": 1 - 0.2 / epoch if validated else None,
            "lr": 0.001 * epoch,
            "seconds": 1.0,
            "images_per_second": 55000.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def best_columns(png: bytes) -> list[int]:
    """Where, from left to right, dashed lines stand in the drawing: columns with much green."""
    return np.flatnonzero(where(pixels(png), GREEN).sum(axis=0) > 100).tolist()


@pytest.mark.parametrize("epochs", [0, 1, 30, 300])
@pytest.mark.parametrize("validated", [True, False])
def test_curves_show_any_number_of_epochs(epochs: int, validated: bool) -> None:
    picture = pixels(plots.curves(rows_of(epochs, validated), None, "mlp"))
    assert picture.shape == (560, 1200, 3)
    assert (picture[0] == 255).all() and (picture[:, 0] == 255).all()
    assert where(picture, BLUE).any()
    assert where(picture, ORANGE).any() == (validated and epochs > 0)
    assert not where(picture, GREEN).any()


def test_the_line_of_the_best_epoch_moves_with_it() -> None:
    rows = rows_of(10)
    first, second = (best_columns(plots.curves(rows, best, "mlp")) for best in (3, 8))
    assert len(first) >= 2 and len(second) >= 2
    assert first[0] < second[0] < first[-1] < second[-1]


def test_the_only_epoch_is_marked_as_the_best() -> None:
    columns = best_columns(plots.curves(rows_of(1), 1, "lecture"))
    assert columns[0] < 600 < columns[-1]


def test_curves_leave_out_what_is_no_finite_number() -> None:
    broken: plots.Row = {"epoch": 4, "train_loss": float("nan"), "val_loss": float("inf"), "lr": ""}
    assert where(pixels(plots.curves([*rows_of(3), broken], 4, "diverged")), ORANGE).any()


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
        (("x" * 40, "y" * 40, None), f"{'x' * 15}… → \n{'y' * 11}…"),
    ],
)
def test_a_mistake_is_headed_by_what_it_is(arguments: tuple[str, str, float | None], text: str) -> None:
    assert plots._verdict(*arguments) == text


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
        [plots.curves(rows_of(4), best, "mlp") for best in (2, 2, 3)],
        [plots.confusion(matrix_of(3, at), TEN[:3], "mnist") for at in ((0, 1), (0, 1), (1, 0))],
        [mistakes_of(3, probability=sure) for sure in (0.5, 0.5, 0.6)],
        [plots.weights(factor * weights, "mlp") for factor in (1, 1, -1)],
    ]
    for one, same, other in pairs:
        assert one == same
        assert one != other


def test_titles_and_names_are_no_formulas() -> None:
    first, second = (pixels(plots.curves(rows_of(2), None, title)) for title in ("$a$", "a"))
    assert (first[:40] != second[:40]).any()
    plots.curves(rows_of(2), None, r"50 % of $\nothing$ {a_b")


def test_pyplot_and_torch_stay_out() -> None:
    code = (
        "import sys; from mnist_trainer.reports import plots; early = 'matplotlib' in sys.modules; "
        "plots.curves([{'epoch': 1, 'train_loss': 1.0, 'lr': 0.1}], 1, 'a'); "
        "print(early, 'matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False False"
