"""Trials and their attempts. A trial whose process died or was stopped is repeated: it keeps its number, 0 to N - 1.

Optuna numbers attempts. An attempt that failed for a reason of its own has that `reason` among its attributes; one
without was cut off, is lost, and another attempt at the same trial waits in the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Attempts = dict[int, list["FrozenTrial"]]
"""Number of a trial → its attempts, the first one first."""


def attempts_of(study: Study) -> Attempts:
    """All attempts, by trial. An attempt that repeats another says at which trial it is; the others are counted."""
    found: Attempts = {}
    count = 0
    for attempt in study.get_trials(deepcopy=False):
        index = attempt.user_attrs.get("trial")
        if index is None:
            index, count = count, count + 1
        found.setdefault(index, []).append(attempt)
    return found


def trial_index(study: Study, number: int) -> int:
    """The trial that attempt `number` is at."""
    return next(index for index, tries in attempts_of(study).items() if any(one.number == number for one in tries))


def was_cut_off(attempt: FrozenTrial) -> bool:
    """Whether it was cut off, so that it says nothing about its values."""
    return attempt.state.name == "FAIL" and "reason" not in attempt.user_attrs


def decisive_attempt(attempts: Sequence[FrozenTrial]) -> FrozenTrial:
    """The attempt that counts: the first one that came to its end, else the last."""
    return next((one for one in attempts if one.state.is_finished() and not was_cut_off(one)), attempts[-1])


def retry(study: Study, attempt: FrozenTrial, died: bool = True) -> None:
    """Makes the study try the same values again; `died` counts against them, see `deaths`."""
    attributes = {
        "trial": trial_index(study, attempt.number),
        "deaths": attempt.user_attrs.get("deaths", 0) + int(died),
    }
    study.enqueue_trial(attempt.params, user_attrs=attributes)


def retry_dead(study: Study, number: int) -> None:
    """The process of attempt `number` is dead: it is marked failed, and repeated."""
    from optuna.trial import TrialState

    attempt = study.get_trials(deepcopy=False)[number]
    if attempt.state == TrialState.RUNNING:
        study.tell(number, state=TrialState.FAIL)
        retry(study, attempt)


def requeue_abandoned(study: Study, trials: int, is_alone: bool) -> None:
    """Takes up what was left behind: the first `trials` trials of which every attempt is lost are tried again.

    If this process `is_alone` with the study, attempts that still seem to run are lost as well.
    """
    from optuna.trial import TrialState

    if is_alone:
        for attempt in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(attempt.number, state=TrialState.FAIL)
    for index, tries in attempts_of(study).items():
        if index < trials and all(map(was_cut_off, tries)):
            retry(study, tries[-1], died=False)


def startable(study: Study, trials: int) -> int:
    """How many trials can be begun: those that wait to be repeated, and those of `trials` that nobody began."""
    found = attempts_of(study)
    waiting = sum(tries[-1].state.name == "WAITING" for index, tries in found.items() if index < trials)
    return waiting + max(0, trials - len(found))


def running(study: Study, trials: int) -> int:
    """How many attempts at the first `trials` trials are under way, here or elsewhere."""
    found = [one for index, tries in attempts_of(study).items() if index < trials for one in tries]
    return sum(one.state.name == "RUNNING" for one in found)
