"""A training in words: for the header that a callback is told, and for `run.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_trainer.config.layers import output_count
from mnist_trainer.config.model import FullyConvolutional
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import MEMORY_FRACTION, ImageDataset
from mnist_trainer.data.loaders import class_names
from mnist_trainer.model.device import matmul_backend
from mnist_trainer.reports.callbacks import RunInfo
from mnist_trainer.training.state import TrainingState


def run_facts(state: TrainingState, custom: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `run.json` says of data and model; `custom` names what of it is the user's own code."""
    setup, custom = state.setup, dict(custom or {})
    data = setup.config.data
    return {
        "model": custom.get("model") or describe_model(setup.config),
        "custom": custom,
        "data": {
            "name": data.name,
            "train_count": len(setup.train),
            "validation_count": 0 if setup.validation is None else len(setup.validation),
            "split_seed": data.split_seed,
            "fingerprint": setup.fingerprint,
            "batch_size": data.batch,
            "normalization": {
                "mean": setup.spec.normalization.mean,
                "std": setup.spec.normalization.std,
            },
        },
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
    }


def build_header(state: TrainingState, folder: Path, custom: dict[str, str], resumed: str = "") -> RunInfo:
    """What a callback is told before the first step; `resumed` says where a run goes on."""
    setup, facts = state.setup, run_facts(state, custom)
    counts = f"{len(setup.train):,} images to train, {facts['data']['validation_count']:,} to validate"
    if any(setup.simulated):
        counts += " (simulated: {:,} and {:,})".format(*setup.simulated)
    count = torch.get_num_threads()
    threads = f", {count} thread{'' if count == 1 else 's'}" if setup.device.type == "cpu" else ""
    return RunInfo(
        name=setup.config.name,
        data=f"{setup.config.data.name}: {counts}{_mapped(setup.train)}{_classes(state)}",
        model=f"{facts['model']}, {facts['parameters']:,} parameters{_taken_over(state)}",
        device=f"{setup.device}, {_precision(state)}{threads}",
        seed=setup.config.seed,
        epochs=setup.config.training.epochs,
        folder=folder,
        resumed=resumed,
    )


def _precision(state: TrainingState) -> str:
    """`float32 by oneDNN`: what `precision: auto` came to."""
    precision, library = state.setup.spec.precision, matmul_backend()
    is_worth_a_word = precision == "float32" and state.setup.device.type == "cpu" and library == "oneDNN"
    return f"{precision} by {library}" if is_worth_a_word else precision


def _mapped(dataset: ImageDataset) -> str:
    """That the data set is too large for the memory, if it is."""
    if isinstance(dataset.images, Tensor):
        return ""
    return f"; more than {100 * MEMORY_FRACTION:g} % of the free memory, so read a batch at a time"


def _classes(state: TrainingState) -> str:
    """The classes of a folder, which only its sub-folders tell."""
    names = state.setup.classes
    return f"; {len(names)} classes: {', '.join(names)}" if state.setup.config.data.name == "folder" else ""


def _taken_over(state: TrainingState) -> str:
    """What `model.init_from` and `freeze` came to."""
    setup = state.setup
    if setup.num_loaded_tensors is None:
        return ""
    taken = (
        f"; {setup.num_loaded_tensors} of {len(state.model.state_dict())} tensors from {setup.config.model.init_from}"
    )
    count = len(setup.frozen)
    return f"{taken}, {count} layer{'' if count == 1 else 's'} frozen" if count else taken


def describe_model(config: Config) -> str:
    """The model in short: `mlp 784-512-256-10, relu`."""
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
            return f"vgg {_stacked(model, model.convolutions)}"
        case "residual":
            return f"residual {_stacked(model, model.blocks)}"
        case "neuron":
            return f"one neuron, {model.output.name}"
        case "layers":
            return f"{len(model.layers)} layers"


def _stacked(model: FullyConvolutional, each: int) -> str:
    """`2×32-2×64-2×128, squeeze_excite 16, max pooling`."""
    blocks = "-".join(f"{each}×{channels}" for channels in model.channels)
    excited = f", squeeze_excite {model.squeeze_excite}" if model.squeeze_excite else ""
    return f"{blocks}{excited}, {'max and average' if model.pooling == 'both' else model.pooling} pooling"
