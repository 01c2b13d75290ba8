"""Describes a training: `RunInfo` for callbacks, and the facts in `run.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_trainer.config.layers import output_count
from mnist_trainer.config.model import FullyConvolutional
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import MEMORY_FRACTION
from mnist_trainer.data.loaders import class_names
from mnist_trainer.model.device import matmul_backend
from mnist_trainer.reports.callbacks import RunInfo
from mnist_trainer.training.state import TrainingState


def run_facts(state: TrainingState, custom: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what `run.json` holds about data and model; `custom` names the user's own parts."""
    setup, custom = state.setup, dict(custom or {})
    data, teacher = setup.config.data, setup.teacher
    return {
        "model": custom.get("model") or describe_model(setup.config),
        "custom": custom,
        "data": {
            "name": data.name,
            "train_count": len(setup.train),
            "validation_count": 0 if setup.validation is None else len(setup.validation),
            "split_seed": data.split_seed,
            **({"fold": data.fold} if data.fold else {}),
            **({"split": data.split} if data.split != "stratified" else {}),
            "fingerprint": setup.fingerprint,
            "batch_size": data.batch,
            "normalization": asdict(setup.spec.normalization),
        },
        **({"teacher": {"file": teacher.file, "sha256": teacher.sha256}} if teacher else {}),
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
    }


def build_header(state: TrainingState, folder: Path, custom: dict[str, str], resumed: str = "") -> RunInfo:
    """Return the `RunInfo` of a training; `resumed` says where a run continues."""
    setup, facts = state.setup, run_facts(state, custom)
    data = f"{setup.config.data.name}: {len(setup.train):,} images to train, "
    data += f"{facts['data']['validation_count']:,} to validate"
    if setup.config.data.fold:
        data += f" (fold {setup.config.data.fold})"
    if any(setup.simulated):
        data += " (simulated: {:,} and {:,})".format(*setup.simulated)
    if (extra := setup.config.data.extra) is not None:
        data += f" (own pictures: {setup.extra // extra.repeat:,}, {extra.repeat} times each)"
    if not isinstance(setup.train.images, Tensor):  # memory-mapped
        data += f"; more than {100 * MEMORY_FRACTION:g} % of the free memory, so read a batch at a time"
    if setup.config.data.name == "folder":
        data += f"; {len(setup.classes)} classes: {', '.join(setup.classes)}"
    device = f"{setup.device}, {setup.spec.precision}"
    if setup.device.type == "cpu":
        is_by_library = setup.spec.precision == "float32" and matmul_backend() == "oneDNN"
        count = torch.get_num_threads()
        device += f"{' by oneDNN' if is_by_library else ''}, {count} thread{'' if count == 1 else 's'}"
    return RunInfo(
        name=setup.config.name,
        data=data,
        model=f"{facts['model']}, {facts['parameters']:,} parameters{_initial_weights(state)}",
        device=device,
        seed=setup.config.seed,
        epochs=setup.config.training.epochs,
        folder=folder,
        resumed=resumed,
    )


def _initial_weights(state: TrainingState) -> str:
    """Return how many tensors `model.init_from` gave, and how many layers are frozen."""
    setup = state.setup
    if setup.num_loaded_tensors is None:
        return ""
    total, count = len(state.model.state_dict()), len(setup.frozen)
    frozen = f", {count} layer{'' if count == 1 else 's'} frozen" if count else ""
    return f"; {setup.num_loaded_tensors} of {total} tensors from {setup.config.model.init_from}{frozen}"


def describe_model(config: Config) -> str:
    """Return the model in short: `mlp 784-512-256-10, relu`."""
    model = config.model
    match model.architecture:
        case "mlp" | "ciresan_mlp" as name:
            widths = "-".join(map(str, (784, *model.hidden)))
            return f"{name} {widths}-{output_count(config, len(class_names(config.data)))}, {model.activation.name}"
        case "cnn":
            return f"cnn {'-'.join(map(str, model.channels))}, then {'-'.join(map(str, model.hidden)) or 'the output'}"
        case "lenet5":
            return f"lenet5, {model.activation.name}, {model.pooling} pooling"
        case "vgg":
            return f"vgg {_describe_blocks(model, model.convolutions)}"
        case "residual":
            return f"residual {_describe_blocks(model, model.blocks)}"
        case "neuron":
            return f"one neuron, {model.output.name}"
        case "layers":
            return f"{len(model.layers)} layers"


def _describe_blocks(model: FullyConvolutional, each: int) -> str:
    """Return `2×32-2×64-2×128, squeeze_excite 16, max pooling`."""
    blocks = "-".join(f"{each}×{channels}" for channels in model.channels)
    excited = f", squeeze_excite {model.squeeze_excite}" if model.squeeze_excite else ""
    return f"{blocks}{excited}, {'max and average' if model.pooling == 'both' else model.pooling} pooling"
