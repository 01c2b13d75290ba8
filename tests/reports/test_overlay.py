from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.reports import curves as module
from mnist_trainer.reports.curves import COLOURS, STYLES, RunCurve, overlaid_curves

from .conftest import pixels

KIND = "cross_entropy, mean"


def rows_of(epochs: int, level: float = 1.0, validated: bool = True) -> list[dict[str, float | None]]:
    figures = {"loss": level, "accuracy": 1 - 0.1 * level}
    return [
        {"epoch": float(epoch)}
        | {f"train_{name}": value / epoch for name, value in figures.items()}
        | {f"val_{name}": value / epoch if validated else None for name, value in figures.items()}
        for epoch in range(1, epochs + 1)
    ]


def curve(label: str, kind: str = KIND, **options: Any) -> RunCurve:
    return RunCurve(label, kind, rows_of(**{"epochs": 5, **options}))


class Drawn(list[tuple[str, dict[str, Any], list[float]]]):
    """Of each line the panel's title, its look and its figures, in order."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    from matplotlib.axes import Axes

    found = Drawn()
    plot = Axes.plot

    def watch(axes: Axes, epochs: Any, figures: Any, **look: Any) -> Any:
        found.append((axes.get_title(), look, list(figures)))
        return plot(axes, epochs, figures, **look)

    monkeypatch.setattr(Axes, "plot", watch)
    return found


def colours_in(picture: NDArray[np.int64], colours: Sequence[str] = COLOURS[:-1]) -> set[str]:
    """Which of these, without the black of the texts."""
    found = {f"#{red:02X}{green:02X}{blue:02X}" for red, green, blue in np.unique(picture.reshape(-1, 3), axis=0)}
    return found & set(colours)


def test_runs_of_one_kind_share_a_panel(drawn: Drawn) -> None:
    picture = pixels(overlaid_curves([curve("a"), curve("b", level=0.5)], "runs"))
    assert [title for title, _, _ in drawn] == ["validation loss"] * 2 + ["validation accuracy (%)"] * 2
    assert drawn[0][2] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert drawn[2][2] == pytest.approx([100 - 90 / epoch for epoch in range(1, 6)])
    assert picture.shape == (522, 1200, 3)
    assert colours_in(picture) == set(COLOURS[:2])


def test_losses_of_other_kinds_have_panels_of_their_own(drawn: Drawn) -> None:
    runs = [curve("a"), curve("b", "mse, mean"), curve("c"), curve("d", "mse, sum")]
    picture = pixels(overlaid_curves(runs, "runs"))
    panels = [f"validation loss: {kind}" for kind in (KIND, KIND, "mse, mean", "mse, sum")]
    assert [title for title, _, _ in drawn] == panels + ["validation accuracy (%)"] * 4
    by_label = {look["label"]: look["color"] for _, look, _ in drawn}
    assert all(look["color"] == by_label[look["label"]] for _, look, _ in drawn)
    assert picture.shape[0] == 440 * 2 + 22 * 2 + 60


def test_a_run_without_validation_shows_its_training_dashed(drawn: Drawn) -> None:
    overlaid_curves([curve("a"), curve("b", validated=False)], "runs")
    looks = {look["label"]: look["linestyle"] for _, look, _ in drawn}
    assert looks == {"a": "-", "b (training: it has no validation)": "--"}
    assert drawn[1][2] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]


def test_a_single_epoch_is_seen(drawn: Drawn) -> None:
    overlaid_curves([curve("a", epochs=1)], "runs")
    assert {look["marker"] for _, look, _ in drawn} == {"D"}


def test_twenty_eight_runs_differ_and_those_before_them_are_grey(drawn: Drawn) -> None:
    assert len({(look["color"], look["marker"]) for look in STYLES}) == len(STYLES) == 28
    picture = pixels(overlaid_curves([curve(f"run{number}", level=1 - number / 50) for number in range(31)], "runs"))
    colours = [look["color"] for title, look, _ in drawn if title == "validation loss"]
    assert colours == [module.GREY] * 3 + [look["color"] for look in STYLES]
    assert picture.shape[0] == 440 + 22 * 10 + 60


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """The axes that `overlaid_curves` draws, and the texts of the legend as the last item."""

    def draw(runs: list[RunCurve]) -> list[Any]:
        from matplotlib.figure import Figure

        figure = Figure()
        monkeypatch.setattr(module, "render", lambda size, title, draw: draw(figure))
        overlaid_curves(runs, "runs")
        (legend,) = figure.legends
        return [*figure.axes, [text.get_text() for text in legend.get_texts()]]

    return draw


def test_a_run_that_diverged_does_not_flatten_the_others(panels: Any) -> None:
    diverged = [{"epoch": 1.0, "val_loss": 2.3, "val_accuracy": 0.1}, {"epoch": 2.0, "val_loss": 1e6}]
    loss, _, names = panels([curve("a"), curve("b", level=0.8), RunCurve("diverged", KIND, diverged)])
    assert loss.get_ylim()[1] < 2.5
    assert loss.get_title() == "validation loss (1 goes beyond)"
    assert names == ["a", "b", "diverged"]
    loss, _, _ = panels([curve("a"), curve("b", level=0.8)])
    assert loss.get_title() == "validation loss"


def test_other_data_sets_have_panels_of_their_own(panels: Any) -> None:
    runs = [RunCurve(name, KIND, rows_of(3), task) for name, task in (("a", "mnist"), ("b", "mnist, 7 or not"))]
    titles = [panel.get_title() for panel in panels(runs)[:-1]]
    assert titles == [
        "validation loss: cross_entropy, mean, mnist",
        "validation loss: cross_entropy, mean, mnist, 7 or not",
        "validation accuracy (%): mnist",
        "validation accuracy (%): mnist, 7 or not",
    ]


def test_the_runs_of_a_series_have_one_look_and_one_name(drawn: Drawn, panels: Any) -> None:
    *_, names = panels([curve("many: 2 seeds"), curve("many: 2 seeds", level=0.5), curve("one")])
    assert names == ["many: 2 seeds", "one"]
    assert [look["color"] for _, look, _ in drawn[:3]] == [COLOURS[0], COLOURS[0], COLOURS[1]]


def test_the_legend_of_many_runs_is_short(panels: Any) -> None:
    *_, names = panels([curve(f"{number}-{'a long name ' * 20}{number}") for number in range(200)])
    assert len(names) == 29
    assert names[0] == "172 before these"
    assert max(map(len, names)) <= 55
    assert names[-1].startswith("199-a long") and names[-1].endswith("199")


@pytest.mark.parametrize("error", [0.0, 0.001, 0.5])
def test_any_accuracy_has_its_place(error: float) -> None:
    rows = [
        {"epoch": 1.0, "val_loss": 1.0, "val_accuracy": 0.1},
        {"epoch": 2.0, "val_loss": 1.0, "val_accuracy": 1 - error},
    ]
    assert colours_in(pixels(overlaid_curves([RunCurve("a", KIND, rows)], "runs"))) == {COLOURS[0]}


@pytest.mark.parametrize("value", [None, 0.0, -1.0, 1e-300, 1e99])
def test_odd_figures_are_drawn(value: float | None) -> None:
    odd = [{"epoch": epoch, "val_loss": value, "val_accuracy": value, "train_loss": value} for epoch in (1.0, 2.0, 1e8)]
    assert pixels(overlaid_curves([RunCurve("odd", KIND, odd), curve("a")], "runs")).shape[1] == 1200


def test_pyplot_and_torch_stay_out() -> None:
    code = (
        "import sys; from mnist_trainer.reports.curves import RunCurve, overlaid_curves; "
        "early = 'matplotlib' in sys.modules; "
        "overlaid_curves([RunCurve('a', 'b', [{'epoch': 1.0, 'val_loss': 1.0, 'val_accuracy': 0.5}])], 'c'); "
        "print(early, 'matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False False"
