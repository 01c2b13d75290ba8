"""Optuna's own pictures of a study, each as the bytes of a PNG."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study

LEAST_TRIALS = 2
"""Below it there is nothing to compare."""
MOST_NAMES = 20
"""In a legend."""


def draw_study(study: Study, objective: str) -> tuple[list[tuple[str, bytes]], list[str]]:
    """(file name, PNG) for each picture, and a sentence for each one that can't be drawn.

    The history of the trials, the objective after each epoch, each key's values, all of them in parallel, and how much
    each key matters (PED-ANOVA).
    """
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as optuna_plots

    finished = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if finished < LEAST_TRIALS:
        return [], [
            f"No pictures: {finished} finished trial{'' if finished == 1 else 's'}, and {LEAST_TRIALS} are needed."
        ]
    name = objective.replace("_", " ")
    drawers: dict[str, Callable[[Study], object]] = {
        "history": partial(optuna_plots.plot_optimization_history, target_name=name),
        "curves": optuna_plots.plot_intermediate_values,
        "slice": partial(optuna_plots.plot_slice, target_name=name),
        "parallel": partial(optuna_plots.plot_parallel_coordinate, target_name=name),
        "importance": partial(optuna_plots.plot_param_importances, target_name=name),
    }
    drawn: list[tuple[str, bytes]] = []
    left_out = []
    for picture, drawer in drawers.items():
        try:
            drawn.append((f"{picture}.png", _png(drawer, study)))
        except Exception as error:  # a picture that can't be drawn must not cost the sweep its end
            left_out.append(f"No picture {picture}.png: {error}")
    return drawn, left_out


def _png(drawer: Callable[[Study], object], study: Study) -> bytes:
    """Optuna draws with pyplot: in a style and on a backend that are put back, on a figure that is closed."""
    from matplotlib import get_backend
    from matplotlib import pyplot as plt

    backend, others = get_backend(auto_select=False), set(plt.get_fignums())
    plt.switch_backend("agg")
    stream = BytesIO()
    try:
        with plt.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawer(study)
            figure = plt.gcf()
            legend = figure.axes[0].get_legend()
            if legend is not None and len(legend.get_texts()) > MOST_NAMES:
                legend.remove()
            width, height = figure.get_size_inches()
            figure.set_size_inches(max(width, 9), max(height, 5))
            figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    finally:
        for number in set(plt.get_fignums()) - others:
            plt.close(number)
        if backend is not None:
            plt.switch_backend(backend)
    return stream.getvalue()
