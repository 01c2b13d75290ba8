"""The format `hub`: a folder with weights in safetensors, the config, and a model card that loads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import UsageError
from mnist_trainer.export.module import without_random_layers
from mnist_trainer.export.program import convert_errors
from mnist_trainer.export.source import TOLERANCE, ExportSource, compare
from mnist_trainer.export.state_dict import check_layers, model_code, run_definitions
from mnist_trainer.storage.onnx_file import import_extra

HEAD = """\
---
library_name: pytorch
pipeline_tag: image-classification
tags:
- mnist-trainer
---
"""
"""The front matter of a card, by which a folder of this format is recognized."""

IMPORTS = "import torch\nfrom torch import Tensor, nn\n"


def export_hub(source: ExportSource, out: Path) -> tuple[dict[Path, bytes], float]:
    """Return the content of the files in the folder `out`, and the largest difference from the model.

    The code of the card is run, and its answers are compared. Raises `CheckpointError` for an ensemble, for a module of
    the user's own, and if the code gives other answers; `UsageError` if safetensors is missing, or the folder has other
    files.
    """
    _check_folder(out)
    check_layers(source, "The model card")
    safetensors = import_extra("safetensors.torch", "Exporting to a folder for a model hub")
    model = without_random_layers(source.predictor.members[0]).eval()
    code = f"{IMPORTS}\n{model_code(source, model)}"
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with convert_errors():
        classify = run_definitions(code, safetensors.load(safetensors.save(weights)))
    largest = compare(source, classify)
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in source.metadata(largest).items()
    }
    return {
        out / "model.safetensors": safetensors.save(weights, metadata),
        out / "config.yaml": dump_config(_portable_config(source)).encode(),
        out / "README.md": _model_card(source, code, largest).encode(),
    }, largest


def _check_folder(out: Path) -> None:
    """Raise `UsageError` if the folder has files that this format did not write."""
    card = out / "README.md"
    if out.is_dir() and any(out.iterdir()) and not (card.exists() and card.read_bytes().startswith(HEAD.encode())):
        raise UsageError(f"{out} has files that mnist-export did not write. Name an empty or a new folder.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and this format writes a folder. Name another --out.")


def _portable_config(source: ExportSource) -> Config:
    """Return the config without the data folder of this machine."""
    config = source.checkpoint.only.config
    return config.model_copy(update={"data": config.data.model_copy(update={"root": None})})


def _model_card(source: ExportSource, code: str, largest: float) -> str:
    """Return the text of the card."""
    sections = {
        "Data": _data_lines(source),
        "Accuracy": _accuracy_lines(source),
        "Limits": _limit_lines(source),
    }
    text = "".join(
        f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) + "\n" for title, lines in sections.items()
    )
    return (
        f"{HEAD}\n# {source.name}\n\n{_introduction(source)}\n\n{text}"
        f"## Load it\n\nThis needs `torch` and `safetensors`. `classify` takes images as MNIST's: 28×28 pixels, bright "
        f"ink on black, 0 to 255.\n\n```python\n{_with_load(code)}```\n\n"
        f"This code gave the answers of the trained model on {source.images_name}: outputs differ by {largest:.1e} at "
        f"most ({TOLERANCE:g} was allowed). `mnist-train --config config.yaml` repeats the training.\n"
    )


def _with_load(code: str) -> str:
    """Return the code with the weights loaded, and an example."""
    return (
        code.replace(IMPORTS, IMPORTS.replace("from torch", "from safetensors.torch import load_file\nfrom torch"))
        + '\n\nmodel.load_state_dict(load_file("model.safetensors"))\n'
        + "with torch.inference_mode():\n    answers = classify(torch.zeros(1, 28, 28, dtype=torch.uint8))\n"
    )


def _introduction(source: ExportSource) -> str:
    """Return what the model is."""
    model = source.predictor.members[0]
    count = sum(parameter.numel() for parameter in model.parameters())
    classes = ", ".join(f"`{name}`" for name in source.checkpoint.classes)
    kind = source.checkpoint.config.model.architecture
    epoch, epochs = source.record.get("best_epoch"), source.record.get("epochs")
    trained = f" These are the weights after epoch {epoch} of {epochs}." if epoch and epochs else ""
    return (
        f"Classifies images of 28×28 pixels as {classes}. Architecture `{kind}`, {count:,} parameters, trained with "
        f"mnist_trainer; `config.yaml` has every setting.{trained}"
    )


def _data_lines(source: ExportSource) -> Iterator[str]:
    """Yield the data set and its split."""
    member = source.checkpoint.only
    data = member.config.data
    yield f"Data set: {data.name}."
    if member.split_counts is not None:
        train, validation = member.split_counts
        yield f"Split: {train:,} images for training and {validation:,} for validation."
    if data.simulate.photographs or data.simulate.has_non_digits:
        yield "Simulated pictures made from the training images were added (`data.simulate`)."
    if data.binary is not None:
        yield f"The task is yes or no: is it `{data.binary}`?"


def _accuracy_lines(source: ExportSource) -> Iterator[str]:
    """Yield the accuracies that were measured, with their intervals."""
    for split, images in (
        ("test", "test images, on which nothing was chosen"),
        ("validation", "validation images"),
    ):
        if metrics := source.test if split == "test" else source.record.get(split):
            share, low, high = (f"{100 * value:.2f}" for value in (metrics["accuracy"], *metrics["interval"]))
            chosen = "" if split == "test" else "; they chose the epoch, so this is optimistic"
            yield (
                f"{share} % of {metrics['count']:,} {images} (95 % interval {low} to {high} %; "
                f"{metrics['errors']:,} errors{chosen})."
            )
    if source.test is None:
        yield "On test images it was not measured, or this file has no record of it."


def _limit_lines(source: ExportSource) -> Iterator[str]:
    """Yield what the model can't do."""
    yield "It reads one centred symbol of 28×28 pixels. It does not find digits on a page or a photograph."
    yield f"It knows only its {len(source.checkpoint.classes)} classes."
    threshold = source.predictor.refusal_threshold
    if threshold is None:
        yield "It can't refuse: an image of something else gets one of its classes, often with a high probability."
    else:
        yield f'It can refuse: if the score of "none" is at least {threshold:g}, the image shows none of its classes.'
    if not source.predictor.gives_probabilities:
        yield "Its outputs are not probabilities: only their order has a meaning."
    elif source.checkpoint.only.spec.temperature == 1:
        yield "Its probabilities were not calibrated."
    yield "Pictures of another kind than its data (other pens, cameras, countries) can have more errors."
