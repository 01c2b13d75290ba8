"""Finds the likely cause if a model is no better than guessing after its first steps, and suggests what to try."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from math import log, sqrt

import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import expand, walk
from mnist_trainer.config.model import ActivationLayer, AnyModel, PlainActivation, PlainInit
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

CHANCE_MARGIN = 2.0
"""Standard deviations by which an accuracy may exceed the share of the largest class by chance."""

MIN_STEPS = 20
"""The number of steps before the check. An epoch of full-batch gradient descent has only one step."""

LEARNED = 0.1
"""A model has learned its training images if its accuracy is this part of the way from guessing to 1."""

SAMPLE = 1000
"""The number of training images that are examined."""

DECREASING = 0.98
"""The loss decreases if it is below this fraction of the first epoch's mean."""

HIGH_LOSS = 2.0
"""The loss is too high if it exceeds this multiple of the loss of equal outputs."""

SAME_TOLERANCE = 1e-6
"""The largest difference between equal values, as a fraction of the largest value."""


def not_learning(state: TrainingState, records: Sequence[EpochRecord], custom: Collection[str] = ()) -> str | None:
    """Return what is wrong and what to try, after the first epoch with `MIN_STEPS` steps; None if all is well.

    `records` are those of all epochs so far; `custom` names the user's own parts.
    """
    setup, record = state.setup, records[-1]
    steps = setup.steps_per_epoch
    if record.phase != "train" or record.epoch != -(-MIN_STEPS // steps):
        return None
    evaluated = setup.train if setup.validation is None else setup.validation
    accuracy = record.train_accuracy if record.val_accuracy is None else record.val_accuracy
    if not _is_chance_level(accuracy, evaluated):
        return None
    split = "training" if setup.validation is None else "validation"
    when = "one epoch" if record.epoch == 1 else f"{record.epoch} epochs"
    return (
        f"after {when} ({record.epoch * steps} steps) the accuracy on the {split} images is {accuracy:.1%}, and "
        f"always predicting the largest class would give {_majority_share(evaluated):.1%}. "
        f"{likely_cause(state, records, custom)}"
    )


def likely_cause(state: TrainingState, records: Sequence[EpochRecord], custom: Collection[str] = ()) -> str:
    """Return a sentence on why the model is no better than guessing, and what to try; see `not_learning`."""
    setup, record = state.setup, records[-1]
    if "model" not in custom and (advice := _without_gradient(setup.config.model)):
        return f"The activation step has no gradient, so that the layers before it can't learn. Try {advice}"
    train, guessing = record.train_accuracy, _majority_share(setup.train)
    if not _is_chance_level(train, setup.train) and train > guessing + LEARNED * (1 - guessing):
        learned = f"The training accuracy is {train:.1%}"
        if state.ema is not None:
            return f"{learned}: the moving average of the weights lags behind. Try training.ema=null"
        return f"{learned}, but other images are not recognized: compare them with the training images"
    images, labels = setup.train.gather(torch.arange(min(SAMPLE, len(setup.train))))
    if _is_same(images):
        return "All training images are the same: look at the data"
    loss, uniform_loss, constant_layer = _inspect(state, images.to(setup.device), labels.to(setup.device))
    lower, higher = (f"optimizer.lr={factor * state.base_lrs[0]:g}" for factor in (0.1, 10))
    if "optimizer" in custom:
        lower, higher = "a smaller learning rate", "a larger one"
    if constant_layer is not None:
        tries = [lower, *_model_keys(setup.config.model, custom, "leaky_relu")]
        if "model" not in custom and has_own_init(setup.config.model):
            tries = [*tries[1:], lower]
        return f"{constant_layer} has the same outputs for every image, and so it can't learn. Try {_join_or(tries)}"
    first = next(each for each in records if each.phase == record.phase).train_loss
    more_epochs, is_decreasing = f"training.epochs={4 * setup.config.training.epochs}", loss < DECREASING * first
    if "loss" not in custom and loss > HIGH_LOSS * uniform_loss:
        tries = [lower, *([more_epochs] if is_decreasing else [])]
        high = f"The loss is {loss:.4g}, and equal outputs for all classes would give {uniform_loss:.4g}"
        return f"{high}: steps or initial weights are too large. Try {_join_or(tries)}"
    if is_decreasing:
        fall = f"The loss is falling ({first:.4g} in the first epoch, {loss:.4g} now): it needs more steps"
        return f"{fall}. Try {_join_or([more_epochs, higher])}"
    tries = [lower, higher, *_model_keys(setup.config.model, custom, "relu")]
    return f"The loss does not fall. Try {_join_or(tries)}"


def _is_chance_level(accuracy: float, dataset: ImageDataset) -> bool:
    """Return whether always predicting the largest class, or guessing, could reach `accuracy` by chance.

    With the share p of the largest class, an accuracy on n images has the standard deviation √(p·(1 − p)/n).
    """
    share = _majority_share(dataset)
    return accuracy <= share + CHANCE_MARGIN * sqrt(share * (1 - share) / len(dataset))


def _majority_share(dataset: ImageDataset) -> float:
    """Return the fraction of images of the largest class."""
    return float(dataset.labels.bincount().max()) / len(dataset)


def _without_gradient(model: AnyModel) -> str | None:
    """Return what to try if the model has the activation `step`, else None."""
    step = PlainActivation(name="step")
    if not any(isinstance(layer, ActivationLayer) and layer.function == step for layer in walk(expand(model))):
        return None
    if getattr(model, "activation", None) == step:
        return "model.activation=relu"
    return "model.output=sigmoid" if getattr(model, "output", None) == step else "another in model.layers"


def has_own_init(model: AnyModel) -> bool:
    """Return whether the initial weights are neither the default ones nor scaled to the number of inputs."""
    scaled = [type(model).model_fields["init"].default, PlainInit(name="kaiming"), PlainInit(name="xavier")]
    return model.init_from is None and model.init not in scaled


def _model_keys(model: AnyModel, custom: Collection[str], activation: str) -> Iterator[str]:
    """Yield changes of the model to try; if it starts from trained weights, only those that keep them useful."""
    if "model" in custom:
        return
    if model.init_from is not None:
        if model.freeze:
            yield "model.freeze=0"
        return
    if model.init != PlainInit(name="kaiming"):
        yield "model.init=kaiming"
    if getattr(getattr(model, "activation", None), "name", activation) != activation:
        yield f"model.activation={activation}"
    if getattr(model, "batch_norm", True) is False:
        yield "model.batch_norm=true"


def _join_or(tries: Sequence[str]) -> str:
    *first, last = tries
    return f"{', '.join(first)} or {last}" if first else last


def _is_same(values: Tensor) -> bool:
    """Return whether all rows of `values` are equal, up to rounding."""
    values = values.detach().float()
    return bool((values - values[:1]).abs().max() <= SAME_TOLERANCE * values.abs().max())


@torch.no_grad()
def _inspect(state: TrainingState, images: Tensor, labels: Tensor) -> tuple[float, float, str | None]:
    """Return the loss on these images, the loss of equal outputs, and the first layer with constant outputs, if the
    model's outputs are the same for all images."""
    constant: list[str] = []

    def watch(name: str, module: nn.Module, _: object, outputs: Tensor) -> None:
        if not constant and _is_same(outputs):
            constant.append(f"Layer {name} ({type(module).__name__})")

    leaves = ((name, module) for name, module in state.model.named_modules() if not any(module.children()))
    handles = [module.register_forward_hook(partial(watch, name)) for name, module in leaves]
    state.model.eval()
    try:
        with state.autocast():
            outputs = state.model(state.normalize(images)).float()
    finally:
        for handle in handles:
            handle.remove()
    equal = torch.zeros_like(outputs)
    if state.setup.spec.kind == "log_probabilities":
        equal -= log(outputs.shape[1])
    factor, divisor = state.criterion.batch_weight(labels)
    loss, uniform_loss = (
        float(state.criterion(each, labels) * factor) / (float(divisor) or 1.0) for each in (outputs, equal)
    )
    return loss, uniform_loss, constant[0] if constant and _is_same(outputs) else None
