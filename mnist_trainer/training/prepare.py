"""Builds the `TrainingState` of a new training from a config and its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mnist_trainer.config.classes import with_labels
from mnist_trainer.config.layers import output_count, output_kind
from mnist_trainer.config.schema import AUTO_BATCH, Config
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.identity import Identity
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits
from mnist_trainer.data.normalize import measure
from mnist_trainer.errors import CheckpointError, ConfigError, ConfigProblem, UsageError, one_line
from mnist_trainer.inference.predictor import REFUSAL_THRESHOLD, InferenceSpec
from mnist_trainer.model.build import build_model, freeze, load_matching_weights
from mnist_trainer.model.device import choose_threads, is_out_of_memory, resolve_device, resolve_precision, to_device
from mnist_trainer.training.distributed import current_ranks
from mnist_trainer.training.loop import train_step
from mnist_trainer.training.losses import BaseCriterion, Criterion, CustomCriterion, LossFunction, first_layer_images
from mnist_trainer.training.optim import build_optimizer
from mnist_trainer.training.state import InitialWeights, Phase, Setup, TrainingState

INK_SAMPLE = 1000
"""The number of images that are augmented as a test before training starts."""

MAX_ERASED = 0.01
"""The largest fraction of them that may lose their ink."""

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""A user's own optimizer class, or a function that makes one from parameters."""


def prepare_state(
    config: Config,
    splits: Splits,
    *,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    start: InitialWeights | None = None,
    identity: Identity | None = None,
    phase: Phase = "train",
) -> TrainingState:
    """Return the state of a new training, on its device, with its initial weights.

    `model`, `loss` and `optimizer` replace those of the config; `identity` is that of the images in `splits`.
    Raises `DeviceError`, `CheckpointError` or `ConfigError`.
    """
    device = current_ranks().device(resolve_device(config.device))
    outputs = output_count(config, len(splits.classes))
    network = build_model(config.model, outputs, config.seed) if model is None else model
    frozen = freeze(network, config.model.freeze)
    num_loaded_tensors = None if start is None else load_initial_weights(config, network, start.weights)
    check_images(config, network, splits)
    precision = resolve_precision(config.precision, device, network)
    network = to_device(network, device, precision)
    normalization = (start and start.normalization) or measure(splits.train, config.data.normalize)
    threshold = None
    if config.data.simulate.has_non_digits:
        threshold = (start and start.refusal_threshold) or REFUSAL_THRESHOLD
    setup = Setup(
        config=config,
        train=splits.train.to(device),
        validation=None if splits.validation is None else splits.validation.to(device),
        classes=splits.classes,
        spec=InferenceSpec(normalization, output_kind(config), precision, refusal_threshold=threshold),
        device=device,
        frozen=tuple(frozen),
        threads=choose_threads(config, model),
        initial=start,
        num_loaded_tensors=num_loaded_tensors,
        phase=phase,
        simulated=splits.simulated,
        extra=splits.extra,
        fingerprint=None if identity is None else identity.fingerprint,
        lineage=(*(start.lineage if start else ()), *([identity.sample] if identity else ())),
    )
    criterion = build_criterion(config, splits.classes, network, loss).to(device)
    built = (optimizer or partial(build_optimizer, config.optimizer))(trainable_parameters(network))
    if not isinstance(built, torch.optim.Optimizer):
        raise UsageError(f"optimizer= must make a torch.optim.Optimizer, not {one_line(repr(built))}.")
    return _resolve_batch_size(TrainingState(setup, network, criterion, built))


def _resolve_batch_size(state: TrainingState) -> TrainingState:
    """Replace `data.batch_size: auto` in the config of `state` by a number."""
    setup = state.setup
    if setup.config.data.batch_size == "auto":
        state.setup = replace(setup, config=setup.config.with_batch(choose_batch_size(state)))
        _check(state.setup.config, state.model, len(setup.train))
    return state


def choose_batch_size(state: TrainingState) -> int:
    """Return `AUTO_BATCH`, halved until a step fits into the memory of the accelerator. A CPU always takes it."""
    size = AUTO_BATCH
    while state.setup.device.type != "cpu" and size > 1 and not step_fits(state, size):
        size //= 2
        torch.accelerator.empty_cache()
    return size


def step_fits(state: TrainingState, size: int) -> bool:
    """Return whether a step of `size` images fits into memory. A copy of the state takes the step."""
    try:
        trial = state.trial()
        images, labels = state.setup.train.gather(torch.arange(min(size, len(state.setup.train))))
        norm = state.setup.config.training.adversarial
        batch = (images, labels) if norm is None else trial.with_adversarial(images, labels, norm)
        trial.train_mode()
        trial.seed_dropout()
        train_step(trial, [batch])
        bool(trial.nonfinite)  # synchronizes, so that errors are raised here
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def check_images(config: Config, network: nn.Module, splits: Splits) -> None:
    """Raise `ConfigError` for problems that depend on both the model and the images."""
    _check(config, network, len(splits.train))
    if config.training.refit:  # now, not after the first fit
        if splits.validation is None:
            reason = "there are too few images to validate with, so there is nothing to add"
            raise _config_error("training.refit", reason)
        together = sum(splits.counts)
        _check(config, network, together + config.data.simulate.added(together) + splits.extra)
    _check_ink(with_labels(config, splits.classes), splits.train)


def _check(config: Config, network: nn.Module, images: int) -> None:
    """Raise `ConfigError` if no parameter is trainable, or if batch normalization would get a batch of one image."""
    if not trainable_parameters(network):
        raise _config_error("model.freeze", f"with {config.model.freeze} frozen layers there is nothing left to train")
    batch_size, size = config.data.batch, config.micro_batch
    has_batch_norm = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    if size < batch_size and any(getattr(module, "momentum", 1) is None for module in network.modules()):
        raise _config_error("training.micro_batches", "batch norm of the model has no momentum, which is needed here")
    batches = {min(batch_size, images), images % batch_size or batch_size}
    if has_batch_norm and 1 in (batch % size or size for batch in batches):
        part = "batches" if size == batch_size else "micro-batches"
        reason = f"the last of the {part} of {images} images holds a single one, and batch_norm needs two"
        raise _config_error("data.batch_size", f"{reason}: choose another size than {batch_size}")


def _check_ink(config: Config, train: ImageDataset) -> None:
    """Raise `ConfigError` if `data.augment` leaves too many images (almost) empty."""
    if config.data.augment is None:
        return
    images, labels = train.gather(torch.arange(min(INK_SAMPLE, len(train))))
    # the same seed for all runs of a series
    deformed = augmented(images, labels, config.data.augment, seed=0, epoch=0, batch=0)
    ink, left = (pixels.sum(dim=(1, 2), dtype=torch.int64) for pixels in (images, deformed))
    empty = int((20 * left < ink).sum())
    if empty > MAX_ERASED * len(images):
        reason = f"less than a twentieth of the ink is left in {empty:,} of the first {len(images):,} images"
        raise _config_error("data.augment", f"{reason}; make shift, scale, thickness or elastic.alpha smaller")


def _config_error(path: str, message: str) -> ConfigError:
    return ConfigError([ConfigProblem("", path, message)])


def load_initial_weights(config: Config, network: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Load the matching tensors of `model.init_from` into the network; return how many. Raises `CheckpointError`."""
    path, loaded = config.model.init_from, load_matching_weights(network, weights)
    if not loaded:
        theirs, own = (_format_tensors(tensors) for tensors in (weights, network.state_dict()))
        raise CheckpointError(
            f"{path}: no weight has the name and shape of one in this model. It has {theirs}; the model has {own}."
        )
    if broken := [name for name in loaded if not weights[name].isfinite().all()]:
        raise CheckpointError(f"{path}: not all numbers in {', '.join(broken)} are finite.")
    random = [name for name, value in network.named_parameters() if not value.requires_grad and name not in loaded]
    if random:
        raise CheckpointError(
            f"{path} has no weights that fit {', '.join(random)}, and model.freeze would keep them random. Freeze "
            "fewer layers, or give them the shapes of that file."
        )
    return len(loaded)


def _format_tensors(weights: Mapping[str, Tensor]) -> str:
    """Return `1.weight [512, 784], 1.bias [512] and 4 more`."""
    shown = ", ".join(f"{one_line(name, 80)} {list(value.shape)}" for name, value in list(weights.items())[:2])
    return f"{shown} and {len(weights) - 2} more" if len(weights) > 2 else shown or "none"


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def build_criterion(
    config: Config, classes: tuple[str, ...], model: nn.Module | None = None, loss: LossFunction | None = None
) -> BaseCriterion:
    """Return the loss of `config`, or the user's own. Only `smooth_weights` in training needs `model`."""
    has_rejection = config.data.simulate.has_non_digits
    if loss is not None:
        if has_rejection:
            key = "non_digits" if config.data.simulate.non_digits else "rows"
            raise _config_error(f"data.simulate.{key}", "needs loss: cross_entropy, not a function of your own")
        if config.training.teacher is not None:
            raise _config_error("training.teacher", "needs loss: cross_entropy or nll, not a function of your own")
        return CustomCriterion(loss)
    weight_images = None
    if model is not None and config.loss.smooth_weights:
        if first_layer_images(model) is None:
            raise _config_error("loss.smooth_weights", "the first layer's weights are not laid out like a picture")
        weight_images = partial(first_layer_images, model)
    labelled = with_labels(config, classes).loss
    return Criterion(labelled, output_kind(config), len(classes), weight_images, has_rejection, config.training.teacher)
