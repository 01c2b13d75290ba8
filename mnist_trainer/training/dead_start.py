"""A training that learns nothing: after its first epoch it is no better than guessing."""

from __future__ import annotations

from math import sqrt

from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.setup import Setup

MARGIN = 2.0
"""Standard deviations above the share of the largest class up to which an accuracy may be luck."""

FEWEST_STEPS = 20
"""No training is judged before so many steps: an epoch of gradient descent is a single one."""


def dead_start(setup: Setup, record: EpochRecord) -> str | None:
    """What is wrong and what to try, after the first epoch that can tell; None in every other, or if all is well.

    Who always names the largest class is right on its share p of the images; who guesses is right on fewer. Their
    numbers spread by √(p·(1 − p)/n) on n images, so that a little more than p says nothing yet.
    """
    steps = setup.course.steps_per_epoch
    if record.phase != "train" or record.epoch != -(-FEWEST_STEPS // steps):
        return None
    judged = setup.train if setup.validation is None else setup.validation
    accuracy = record.train_accuracy if record.val_accuracy is None else record.val_accuracy
    count = len(judged)
    share = float(judged.labels.bincount().max()) / count
    if accuracy > share + MARGIN * sqrt(share * (1 - share) / count):
        return None
    split = "training" if setup.validation is None else "validation"
    when = "one epoch" if record.epoch == 1 else f"{record.epoch} epochs"
    return (
        f"after {when} ({record.epoch * steps} steps) the model is right on {accuracy:.1%} of the {split} images, and "
        f"one that always names the largest class on {share:.1%}: it has not begun to learn. If it does not soon, try "
        "another optimizer.lr (a tenth, or ten times), model.init: he, activation relu, or batch_norm"
    )
