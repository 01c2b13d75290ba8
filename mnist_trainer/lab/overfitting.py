"""A large network learns 1,000 images by heart; early stopping, dropout and new images help.

784-512-512-10 has 669,706 weights for 1,000 images. The training loss falls to 0. The validation loss falls at first,
turns, and rises: from there on the network learns what is special about these images, and not what a digit is.
Early stopping keeps the weights of the turn. Dropout and batch norm make the turn better, deformed copies of the images
(other ones in each epoch) most of all: there is nothing left to learn by heart.

Source: notes 000.
Exercise: take fewer images, `images=20` of each digit. Where does the loss turn? And with `images=1000`?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE
from mnist_trainer.training.loop import EpochRecord, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 520)
REMEDIES = {
    "nothing": "training.early_stopping=null",
    "early stopping": "training.early_stopping={monitor: val_loss, patience: 10}",
    "dropout": "model.dropout=0.5",
    "batch norm": "model.batch_norm=true",
    "deformed images": "data.augment={rotate: 10, shift: 2, scale: 0.1}",
}
COLORS = dict(zip(REMEDIES, (BLUE, GREY, GREEN, "#CC79A7", ORANGE), strict=True))


def train(remedy: str, images: int, epochs: int, seed: int) -> list[EpochRecord]:
    """Train the large network on so many images of each digit, with one remedy; return its epochs."""
    large = ("model.hidden=[512, 512]", "data.batch_size=250", "training.early_stopping=null")
    length = (f"data.limit={images}", f"training.epochs={epochs}", f"seed={seed}")
    return list(fit(prepare("early-stopping", *large, *length, REMEDIES[remedy])))


def losses(records: list[EpochRecord]) -> list[float]:
    """Return the validation loss of each epoch."""
    return [record.val_loss or 0.0 for record in records]


def turn(records: list[EpochRecord]) -> EpochRecord:
    """Return the epoch with the lowest validation loss."""
    return min(records, key=lambda record: record.val_loss or 0.0)


def draw_turn(axes: Axes, records: list[EpochRecord], stopped: list[EpochRecord]) -> None:
    """Draw both losses of the training without a remedy, the turn, and where early stopping ended."""
    epochs, best = range(1, len(records) + 1), turn(records)
    axes.plot(epochs, [record.train_loss for record in records], color=GREY, label="training images")
    axes.plot(epochs, losses(records), color=BLUE, label="validation images")
    label = f"the turn: epoch {best.epoch}, kept by early stopping"
    axes.plot(best.epoch, best.val_loss or 0.0, "D", color=GREEN, label=label)
    axes.axvline(len(stopped), color=GREEN, linestyle="--", linewidth=1, label=f"it stops after epoch {len(stopped)}")
    axes.set(title="Without a remedy", xlabel="epoch", ylabel="loss", ylim=(0, 1), xscale="log")
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.legend(fontsize=9)


def draw_remedies(axes: Axes, runs: dict[str, list[EpochRecord]]) -> None:
    """Draw the validation loss with each remedy, and the accuracy of its best epoch."""
    for remedy, records in runs.items():
        label = f"{remedy}: {100 * (turn(records).val_accuracy or 0.0):.1f} %"
        axes.plot(range(1, len(records) + 1), losses(records), color=COLORS[remedy], label=label)
    axes.set(title="Validation loss, and accuracy at its lowest point", xlabel="epoch", ylabel="loss", ylim=(0, 1))
    axes.legend(fontsize=9)


def run(experiment: Experiment, figure: Figure, *, images: int = 200, epochs: int = 200, seed: int = 0) -> None:
    """`images` of each digit are trained on, for so many `epochs`, a quarter of them if it is quick."""
    check, epochs = experiment.check, epochs // 4 if experiment.quick else epochs
    runs = {remedy: train(remedy, images, epochs, seed) for remedy in REMEDIES}
    plain, stopped = runs["nothing"], runs["early stopping"]
    best, last = turn(plain), plain[-1]
    check("without a remedy the training loss falls to 0", last.train_loss, "< 0.01")
    check("and all training images are right", last.train_accuracy, "> 0.995")
    check("the validation loss turns in the first fifth of the 200 epochs", best.epoch, "< 40")
    check("it rises to a multiple of its minimum", losses(plain)[-1] / losses([best])[0], "> 1.2")
    check("early stopping keeps the epoch of the turn", turn(stopped).epoch, best.epoch)
    check("with the same validation loss, to the last bit", turn(stopped).val_loss, best.val_loss)
    check("and stops 10 epochs after it", len(stopped), best.epoch + 10)
    lowest = {remedy: losses([turn(records)])[0] / losses([best])[0] for remedy, records in runs.items()}
    check("lowest validation loss with dropout, in parts of that without", lowest["dropout"], "< 0.97")
    check("with batch norm", lowest["batch norm"], "< 0.9")
    check("with deformed images", lowest["deformed images"], "< 0.7")
    errors = {remedy: 1 - (turn(records).val_accuracy or 0.0) for remedy, records in runs.items()}
    check("deformed images: errors, in parts of those without", errors["deformed images"] / errors["nothing"], "< 0.7")
    left, right = figure.subplots(1, 2)
    draw_turn(left, plain, stopped)
    draw_remedies(right, runs)
