from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mnist_trainer.reports import sweep_plots as module
from mnist_trainer.reports.callbacks import Status, TrialRow
from mnist_trainer.reports.sweep_plots import SweepPlots

PICTURES = ("history", "curves", "slice", "parallel")


def trial(number: int, value: float | None, status: Status = "finished", **values: Any) -> TrialRow:
    curve = {} if value is None else {1: 2 * value, 2: value}
    return TrialRow(number, status, values or {"optimizer.lr": 10.0**-number, "model.hidden": [8]}, curve, value)


ROWS = [trial(0, 0.5), trial(1, 0.3), trial(2, 0.4), trial(3, 0.6, "pruned"), trial(4, None, "failed")]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figures and titles of what is drawn."""
    from matplotlib.figure import Figure

    found: list[tuple[Figure, str]] = []

    def render(size: Any, title: str, draw: Any, file_format: str) -> bytes:
        found.append((Figure(), title))
        draw(found[-1][0])
        return b""

    monkeypatch.setattr(module, "render", render)
    return found


@pytest.mark.parametrize("objective", ["val_loss", "val_accuracy"])
@pytest.mark.parametrize("picture", PICTURES)
def test_each_picture_is_drawn(picture: str, objective: str) -> None:
    first, second = (getattr(SweepPlots("mlp", ROWS, objective), picture)() for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


@pytest.mark.parametrize("picture", PICTURES)
def test_odd_values_are_drawn(picture: str) -> None:
    odd = [None, True, "text", 3, [1, 2], {"name": "sgd"}, 0.0]
    rows = [trial(number, 0.0, a=value, b=1, c=number % 2 == 0) for number, value in enumerate(odd)]
    assert getattr(SweepPlots("mlp", rows, "val_loss"), picture)().startswith(b"\x89PNG")


def test_the_best_value_until_each_trial(drawn: Any) -> None:
    SweepPlots("mlp", ROWS, "val_loss").history()
    SweepPlots("mlp", ROWS, "val_accuracy").history()
    lines = [figure.axes[0].lines for figure, _ in drawn]
    assert list(lines[0][0].get_ydata()) == [0.5, 0.3, 0.3]
    assert list(lines[1][0].get_ydata()) == [50, 50, 50]
    assert list(lines[0][2].get_xdata()) == [3]  # pruned


def test_the_best_trial_stands_out(drawn: Any) -> None:
    SweepPlots("mlp", ROWS, "val_loss").curves()
    assert drawn[0][0].axes[0].get_legend_handles_labels()[1][0] == "best: trial 1"


@pytest.mark.parametrize(("count", "few"), [(3, True), (19, True), (20, False)])
def test_importances_say_how_few_trials_they_rest_on(drawn: Any, count: int, few: bool) -> None:
    rows = [trial(number, 0.1 + number) for number in range(count)]
    SweepPlots("mlp", rows, "val_loss").importance({"optimizer.lr": 0.7, "model.hidden": 0.3})
    _, title = drawn[0]
    assert f"from {count} finished trials" in title
    assert title.endswith("too few to rely on") == few


def test_no_tick_is_a_formula(drawn: Any) -> None:
    SweepPlots("mlp", ROWS, "val_loss").slice()
    figure, _ = drawn[0]
    figure.canvas.draw()
    assert not [text for axes in figure.axes for text in axes.get_xticklabels() if "$" in text.get_text()]


@pytest.mark.slow
def test_pyplot_and_optuna_stay_out() -> None:
    code = (
        "import sys; from mnist_trainer.reports.sweep_plots import SweepPlots; "
        "from mnist_trainer.reports.callbacks import TrialRow; "
        "rows = [TrialRow(n, 'finished', {'a': n}, {1: 0.5}, 0.5 + n) for n in range(2)]; "
        "SweepPlots('a', rows, 'val_loss').slice(); "
        "print(*(name for name in ('matplotlib.pyplot', 'optuna', 'plotly') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
