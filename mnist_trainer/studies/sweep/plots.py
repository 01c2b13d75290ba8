"""Which pictures a sweep gets, drawn by `reports/sweep_plots.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mnist_trainer.config.sweep import Sweep
from mnist_trainer.reports.sweep import TrialRow
from mnist_trainer.reports.sweep_plots import SweepPlots

if TYPE_CHECKING:
    from optuna import Study

LEAST_TRIALS = 2
"""Below it there is nothing to compare."""


def plot_study(study: Study, sweep: Sweep, rows: Sequence[TrialRow]) -> tuple[list[tuple[str, bytes]], list[str]]:
    """(file name, bytes) for each picture, and a sentence for each one that can't be drawn.

    The history of the trials, the objective after each epoch, each key's values, all of them in parallel, and how much
    each key matters (Optuna's estimate).
    """
    file_format = sweep.config({}).report.format
    plots = SweepPlots(sweep.name, rows, sweep.objective, file_format)
    finished = len(plots.finished)
    if finished < LEAST_TRIALS:
        return [], [
            f"No pictures: {finished} finished trial{'' if finished == 1 else 's'}, and {LEAST_TRIALS} are needed."
        ]
    drawers: dict[str, Callable[[], bytes]] = {
        "history": plots.history,
        "curves": plots.curves,
        "slice": plots.slice,
        "parallel": plots.parallel,
        "importance": lambda: plots.importance(_importances(study)),
    }
    drawn: list[tuple[str, bytes]] = []
    left_out = []
    for name, drawer in drawers.items():
        picture = f"{name}.{file_format}"
        try:
            drawn.append((picture, drawer()))
        except Exception as error:  # a picture that can't be drawn must not cost the sweep its end
            left_out.append(f"No picture {picture}: {error}")
    return drawn, left_out


def _importances(study: Study) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of it experimental
        return get_param_importances(study)
