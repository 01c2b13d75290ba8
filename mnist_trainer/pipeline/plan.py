"""`--check`, `--show-batch` and `--find-lr`: what a config gives, found out without a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes, output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.data.identity import identify
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_extra, load_real, missing_files, training_loader
from mnist_trainer.model.build import build_model, freeze
from mnist_trainer.model.device import Footprint, choose_threads, convert_device_errors, footprint, settings
from mnist_trainer.pipeline.preparation import (
    CustomParts,
    check_classes,
    check_fits_memory,
    check_fresh,
    check_unseen_validation,
    load_initial,
    load_teacher,
    prepare_training,
    with_absolute_paths,
)
from mnist_trainer.pipeline.train import check_reports, load_test_images
from mnist_trainer.reports.canvas import check_matplotlib
from mnist_trainer.reports.curves import draw_lr_range
from mnist_trainer.reports.plots import batch_grid
from mnist_trainer.training.losses import Labels, without_teacher
from mnist_trainer.training.lr_finder import LrRange, range_test
from mnist_trainer.training.prepare import check_images, load_initial_weights


@dataclass(frozen=True)
class Plan:
    """A model that can be trained here: its layers, and the memory it needs."""

    config: Config
    device: torch.device
    layers: tuple[LayerInfo, ...]
    footprint: Footprint
    notes: tuple[str, ...]
    """Sentences about what was not checked."""


def plan(config: Config) -> Plan:
    """Return the plan for `config`. Without `model.init_from` the model is built on the meta device, without memory.

    Local images are loaded, and nothing is downloaded. Raises the errors that a training would raise before its first
    step.
    """
    config = with_absolute_paths(config)
    check_reports(config.report)
    classes = check_classes(config)
    outputs = output_count(config, len(classes))
    layers = infer_shapes(expand(config.model), outputs)
    needed = footprint(config, layers)
    device = check_fits_memory(config, layers)
    with torch.device("meta" if config.model.init_from is None else "cpu"):
        model = build_model(config.model, outputs)
    built = sum(parameter.numel() for parameter in model.parameters())
    assert built == needed.parameters, f"counted {needed.parameters} parameters, built {built}"
    return Plan(config, device, layers, needed, tuple(_check_inputs(config, classes, model)))


def _check_inputs(config: Config, classes: tuple[str, ...], model: nn.Module) -> Iterator[str]:
    """Check `model.init_from`, `training.teacher` and the images; yield what could not be checked."""
    loaded, data = load_initial(config, classes), config.data
    teacher = load_teacher(config, classes)
    freeze(model, config.model.freeze)
    extra: ImageDataset | None = None
    if loaded is not None:
        load_initial_weights(config, model, loaded.weights)
    for part in ("train", "test") if config.report.test else ("train",):
        if missing := missing_files(data, part):
            yield f"The {part} images were not checked: {' and '.join(missing)} will be downloaded first."
        elif part == "test":
            check_fresh(load_test_images(config, None), part, extra)
        else:
            splits = load_real(data)
            extra = load_extra(data, splits.train.classes)
            check_fresh(splits.validation, "validation", extra)
            check_images(config, model, splits)
            check_unseen_validation(loaded, teacher, splits, identify(splits, data.name))


def first_batch(config: Config) -> bytes:
    """Return a PNG of the first training batch: each image before and after `data.augment` and `training.mixup`.

    Raises the errors of `prepare`, and `UsageError` without matplotlib.
    """
    check_matplotlib("--show-batch")
    with settings(config, config.threads):
        state = prepare_training(config, CustomParts())
        classes = state.setup.classes
        originals, _ = next(iter(training_loader(state.setup.train, config.micro_batch, config.seed, epoch=0)))
        seen, taught = next(state.batches())  # `training.adversarial` adds as many images, which are not shown
    labels = without_teacher(taught)
    captions = [caption(classes, labels, position) for position in range(len(originals))]
    mixed = "" if isinstance(labels, torch.Tensor) else f", {labels.lam:.2f} of the first + {1 - labels.lam:.2f}"
    title = f"{config.name}: the first training batch, as in the data set (above) and as the model sees it (below)"
    return batch_grid(
        originals.cpu().numpy(), seen[: len(originals)].round().to(torch.uint8).cpu().numpy(), captions, title + mixed
    )


LR_SEEDS = 3


def find_lr(config: Config) -> tuple[LrRange, bytes]:
    """Run the learning rate range test with `LR_SEEDS` seeds, from that of `config` on; return it and its PNG.

    The images are split as for `config`. Nothing else is kept. Raises the errors of `prepare`, and
    `UsageError` without matplotlib.
    """
    check_matplotlib("--find-lr")
    configs = (config.model_copy(update={"seed": config.seed + number}) for number in range(LR_SEEDS))
    with settings(config, choose_threads(config)), convert_device_errors():
        found = range_test(prepare_training(each, CustomParts()) for each in configs)
    return found, draw_lr_range(found, f"{config.name}: loss while the learning rate grows from step to step")


def caption(classes: tuple[str, ...], labels: Labels, position: int) -> str:
    """Return `7`, or `7 + 3` for a mixed image; `none` for an image of none of the classes."""
    names = (*classes, "none")
    labels = without_teacher(labels)
    parts = (labels,) if isinstance(labels, torch.Tensor) else (labels.labels_a, labels.labels_b)
    return " + ".join(names[int(part[position])] for part in parts)
