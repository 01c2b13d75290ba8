"""The best epoch and when to stop: `mnist_trainer/training/optim.py`."""

from __future__ import annotations

import pytest

from mnist_trainer.config.schema import EarlyStopping, Training
from mnist_trainer.training.optim import BestEpoch


def run(rule: EarlyStopping | None, metrics: list[float | None]) -> tuple[list[int], int | None]:
    """The epochs that were best when they ended, and the epoch after which patience was out."""
    best, improved, training = BestEpoch(), list[int](), Training(early_stopping=rule)
    for epoch, metric in enumerate(metrics, start=1):
        loss, accuracy = (metric, 0.0) if rule is None or rule.monitor == "val_loss" else (0.0, metric)
        if best.update(training, epoch, loss if metric is not None else None, accuracy):
            improved.append(epoch)
        assert best.epoch == improved[-1]
        if best.is_exhausted(rule):
            return improved, epoch
    return improved, None


@pytest.mark.parametrize(
    ("patience", "losses", "improved", "stopped"),
    [
        (2, [3.0, 2.0, 2.5, 2.5], [1, 2], 4),
        (2, [3.0, 3.0, 3.0], [1], 3),  # a tie goes to the earlier epoch and is no improvement
        (1, [1.0, 0.5, 0.6], [1, 2], 3),
        (3, [3.0, 4.0, 4.0, 2.0, 4.0, 4.0, 4.0], [1, 4], 7),
        (3, [3.0, 2.0, 1.0], [1, 2, 3], None),
    ],
)
def test_the_lowest_loss_is_the_best(
    patience: int, losses: list[float | None], improved: list[int], stopped: int | None
) -> None:
    assert run(EarlyStopping(patience=patience), losses) == (improved, stopped)


def test_the_highest_accuracy_is_the_best_if_it_is_monitored() -> None:
    rule = EarlyStopping(monitor="val_accuracy", patience=2)
    assert run(rule, [0.5, 0.9, 0.9, 0.8]) == ([1, 2], 4)


def test_small_improvements_are_kept_but_do_not_renew_patience() -> None:
    rule = EarlyStopping(patience=2, min_delta=0.1)
    assert run(rule, [1.0, 0.95, 0.92]) == ([1, 2, 3], 3)


def test_small_improvements_add_up() -> None:
    """Each is measured against the last figure that renewed patience."""
    rule = EarlyStopping(patience=2, min_delta=0.1)
    assert run(rule, [1.0, 0.95, 0.85, 0.84, 0.83]) == ([1, 2, 3, 4, 5], 5)


def test_exactly_min_delta_is_not_enough() -> None:
    assert run(EarlyStopping(patience=1, min_delta=0.5), [1.0, 0.5]) == ([1, 2], 2)


def test_without_a_rule_the_lowest_loss_is_best_and_nothing_stops() -> None:
    assert run(None, [3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]) == ([1, 2], None)


def test_without_figures_the_last_epoch_is_kept_and_none_is_called_the_best() -> None:
    best = BestEpoch()
    for epoch in (1, 2, 3):
        assert not best.update(Training(), epoch, None, None)
        assert best.epoch == epoch


def test_the_last_epoch_is_kept_on_request_and_patience_counts_as_before() -> None:
    best, training = BestEpoch(), Training(keep="last", early_stopping=EarlyStopping(patience=2))
    for epoch, (loss, is_best) in enumerate([(3.0, True), (2.0, True), (2.5, False)], start=1):
        assert best.update(training, epoch, loss, 0.0) is is_best
        assert best.epoch == epoch
        assert not best.is_exhausted(training.early_stopping)
    assert not best.update(training, 4, 2.5, 0.0)
    assert best.epoch == 4 and best.is_exhausted(training.early_stopping)
