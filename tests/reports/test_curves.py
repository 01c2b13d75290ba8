from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_trainer.reports import curves as module
from mnist_trainer.reports.curves import MetricsRow, TrainingSummary, curves

from .conftest import pixels, where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = (0, 114, 178), (213, 94, 0), (0, 122, 90)
POINTS = [(0.25, 2.0, 0.3, 0.1), (0.75, 1.0, 0.7, 0.2), (1.25, 0.5, 0.8, 0.3), (1.75, 0.4, 0.9, 0.4)]


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
    picture = pixels(curves(rows_of(epochs, validated), TrainingSummary(), "mlp"))
    assert picture.shape == (620, 1200, 3)
    assert (picture[0] == 255).all() and (picture[:, 0] == 255).all()
    assert where(picture, BLUE).any()
    assert where(picture, ORANGE).any() == (validated and epochs > 0)
    assert not where(picture, GREEN).any()


def test_the_line_of_the_best_epoch_moves_with_it() -> None:
    rows = rows_of(10)
    first, second = (best_columns(curves(rows, TrainingSummary(best), "mlp")) for best in (3, 8))
    assert len(first) >= 2 and len(second) >= 2
    assert first[0] < second[0] < first[-1] < second[-1]


def test_the_only_epoch_is_marked_as_the_best() -> None:
    columns = best_columns(curves(rows_of(1), TrainingSummary(1), "lecture"))
    assert columns[0] < 600 < columns[-1]


def test_curves_leave_out_what_is_no_finite_number() -> None:
    broken: MetricsRow = {"epoch": 4, "train_loss": float("nan"), "val_loss": float("inf"), "lr": ""}
    assert where(pixels(curves([*rows_of(3), broken], TrainingSummary(4), "diverged")), ORANGE).any()


def test_equal_input_gives_equal_bytes_and_other_input_other_bytes() -> None:
    one, same, other = (curves(rows_of(4), TrainingSummary(best), "mlp") for best in (2, 2, 3))
    assert one == same != other


def test_titles_and_names_are_no_formulas() -> None:
    first, second = (pixels(curves(rows_of(2), TrainingSummary(), title)) for title in ("$a$", "a"))
    assert (first[:40] != second[:40]).any()
    curves(rows_of(2), TrainingSummary(), r"50 % of $\nothing$ {a_b")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Figure, str]]:
    """The figure and the title that `curves` makes."""

    def draw(rows: list[Mapping[str, Any]], summary: TrainingSummary) -> tuple[Figure, str]:
        from matplotlib.figure import Figure

        figure, titles = Figure(), []

        def render(size: Any, title: str, draw: Callable[[Figure], None], file_format: str) -> bytes:
            draw(figure)
            titles.append(title)
            return b""

        monkeypatch.setattr(module, "render", render)
        curves(rows, summary, "mlp")
        return figure, titles[0]

    return draw


def labels(figure: Figure, panel: int) -> list[str]:
    return figure.axes[panel].get_legend_handles_labels()[1]


def test_a_short_training_has_points_within_its_epochs(drawn: Any) -> None:
    figure, _ = drawn(rows_of(2), TrainingSummary(2, points=POINTS))
    loss, accuracy, rate = (axes.lines[0] for axes in figure.axes)
    assert list(loss.get_xdata()) == list(rate.get_xdata()) == [0.25, 0.75, 1.25, 1.75]
    assert list(loss.get_ydata()) == [2.0, 1.0, 0.5, 0.4]
    assert list(accuracy.get_ydata()) == pytest.approx([30, 70, 80, 90])
    assert list(rate.get_ydata()) == [0.1, 0.2, 0.3, 0.4]
    assert figure.axes[0].get_xlim()[0] == 0


@pytest.mark.parametrize(("epochs", "points"), [(11, POINTS * 5), (4, POINTS), (2, [])])
def test_a_long_training_or_one_with_a_point_an_epoch_has_none(drawn: Any, epochs: int, points: Any) -> None:
    figure, _ = drawn(rows_of(epochs), TrainingSummary(1, points=points))
    assert "train, within the epoch" not in labels(figure, 0)


def test_the_axes_are_named(drawn: Any) -> None:
    figure, _ = drawn(rows_of(2), TrainingSummary(2, loss="mse, mean per image"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"] * 3
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["mse, mean per image", "accuracy (%)"]


def test_best_by_loss_and_best_by_accuracy_are_told_apart(drawn: Any) -> None:
    rows = [{**row, "val_accuracy": accuracy} for row, accuracy in zip(rows_of(3), (0.8, 0.9, 0.85), strict=True)]
    figure, _ = drawn(rows, TrainingSummary(3))
    assert labels(figure, 0)[-1] == "best by val_loss: epoch 3, 0.3333"
    assert labels(figure, 1)[-2:] == ["best by val_loss: epoch 3, 85.00 %", "highest val_accuracy: epoch 2, 90.00 %"]
    figure, _ = drawn(rows, TrainingSummary(2, monitor="val_accuracy"))
    assert labels(figure, 0)[-2:] == ["best by val_accuracy: epoch 2, 0.5000", "lowest val_loss: epoch 3, 0.3333"]
    assert labels(figure, 1)[-1] == "best by val_accuracy: epoch 2, 90.00 %"


def test_where_both_agree_or_nothing_is_validated_there_is_one_mark(drawn: Any) -> None:
    assert labels(drawn(rows_of(3), TrainingSummary(3))[0], 1)[-1] == "best by val_loss: epoch 3, 93.33 %"
    assert (
        labels(drawn(rows_of(3, validated=False), TrainingSummary(3))[0], 1)[-1]
        == "kept, the last one: epoch 3, 90.00 %"
    )


def test_the_last_epoch_is_marked_as_kept_and_the_best_ones_beside_it(drawn: Any) -> None:
    rows = [{**row, "val_accuracy": accuracy} for row, accuracy in zip(rows_of(3), (0.8, 0.9, 0.85), strict=True)]
    figure, _ = drawn(rows, TrainingSummary(3, monitor=None))
    assert labels(figure, 0)[-1] == "kept, the last one: epoch 3, 0.3333"
    assert labels(figure, 1)[-2:] == ["kept, the last one: epoch 3, 85.00 %", "highest val_accuracy: epoch 2, 90.00 %"]


def test_the_epochs_without_improvement_are_shaded_and_the_reason_is_written(drawn: Any) -> None:
    figure, title = drawn(rows_of(5), TrainingSummary(3, num_bad_epochs=2, patience=2, reason="stopped early"))
    assert title == "mlp: stopped early"
    assert labels(figure, 0)[-1] == "2 epochs without improvement (patience 2)"
    (window,) = figure.axes[0].patches
    assert window.get_window_extent() is not None
    assert (window.get_x(), window.get_x() + window.get_width()) == (3, 5)


@pytest.mark.parametrize("factor", [20, 1e3, 1e9, 1e30])
def test_an_axis_of_any_size_has_named_ticks(drawn: Any, factor: float) -> None:
    rows = [{**row, "train_loss": loss} for row, loss in zip(rows_of(3), (factor, 3.0, 0.9), strict=True)]
    figure, _ = drawn(rows, TrainingSummary(1))
    loss = figure.axes[0]
    figure.canvas.draw()
    low, high = loss.get_ylim()
    assert loss.get_yscale() == "log"
    assert sum(low <= place <= high for place in loss.get_yticks()) >= 3
