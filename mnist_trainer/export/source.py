"""What is exported: a model with its origin, and the images on which an exported file is compared with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_trainer.config.schema import Config
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_real, missing_files, ordered_loader
from mnist_trainer.errors import CheckpointError, DataError
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.pipeline.evaluate import CheckpointRef, find_checkpoints, override_data
from mnist_trainer.storage.checkpoint import Checkpoint, Member, combine, load_checkpoint
from mnist_trainer.storage.onnx_file import FORMAT, VERSION, Run, recorded_test
from mnist_trainer.storage.run_folder import RunFolder

TOLERANCE = 1e-5
"""The largest difference between a probability of an exported file and that of the float32 model."""


@dataclass(frozen=True)
class ExportSource:
    """A model to export: its files, the float32 model on the CPU, and the images to compare with."""

    paths: tuple[Path, ...]
    checkpoint: Checkpoint
    predictor: Predictor
    images: ImageDataset
    images_name: str
    """Which images they are: `360 validation images of digits`."""
    test: dict[str, Any] | None = None
    """The metrics on the test set, as `recorded_test` returns them."""
    packed: tuple[dict[str, dict[str, Tensor]], ...] = ()
    """Of compressed models: the packed weights of each member, by name."""
    compression: dict[str, float] = field(default_factory=dict)
    """Of compressed models: the `bits` of a weight, and the `pruned` share."""

    @property
    def name(self) -> str:
        """The name of the run folder, or of the checkpoint file without its ending; of several, `ensemble`."""
        if len(self.paths) > 1:
            return "ensemble"
        path = self.paths[0].absolute()
        return path.parent.name if path.name == "best.pt" else path.stem

    @property
    def has_own_images(self) -> bool:
        """Whether the images have the classes of the model; the digits of the package may stand in for others."""
        names = tuple(map(str, range(10)))
        return self.images_name.endswith(f" of {self.checkpoint.config.data.name}") or self.checkpoint.classes == names

    @property
    def record(self) -> dict[str, Any]:
        """`run.json` of the run whose best epoch is exported; empty for other checkpoints."""
        path = self.paths[0]
        return RunFolder(path.parent).read_record() if len(self.paths) == 1 and path.name == "best.pt" else {}

    def metadata(self, largest: float) -> dict[str, Any]:
        """Return the metadata of an exported file (docs/export.md); `largest` is its difference from the model."""
        threshold = self.predictor.refusal_threshold
        optional = {"refusal_threshold": threshold, "test": self.test, "compression": self.compression or None}
        return {
            "format": FORMAT,
            "format_version": str(VERSION),
            "classes": self.checkpoint.classes,
            "output": "probabilities" if self.predictor.gives_probabilities else "values",
            **{key: value for key, value in optional.items() if value is not None},
            "checkpoint_sha256": self._sha256(),
            "verified_on": self.images_name,
            "largest_difference": largest,
            "members": [_describe_member(member) for member in self.checkpoint.members],
        }

    def _sha256(self) -> list[str]:
        """Return the SHA-256 of each checkpoint file."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths]


def _describe_member(member: Member) -> dict[str, Any]:
    """Return the config, without the data folder of this machine, and the numbers of images in its splits."""
    config = member.config.model_dump(mode="json")
    config["data"]["root"] = None
    return {"config": config, "split_counts": member.split_counts}


def load_source(checkpoint: CheckpointRef | Iterable[CheckpointRef], model: nn.Module | None = None) -> ExportSource:
    """Load one model, or the ensemble of several, to be exported; `model` is the user's own, as of `evaluate`.

    Raises `CheckpointError` if one is missing, or they are incompatible.
    """
    paths = find_checkpoints(checkpoint)
    if exported := [path for path in paths if path.suffix.lower() == ".onnx"]:
        raise CheckpointError(f"{exported[0]} is exported already. Name the checkpoint that it was made from.")
    loaded = {str(path): load_checkpoint(path) for path in paths}
    whole = combine(loaded) if len(loaded) > 1 else loaded[str(paths[0])]
    members = tuple(replace(member, spec=replace(member.spec, precision="float32")) for member in whole.members)
    whole = replace(whole, members=members)
    images, images_name = _choose_images(whole.config)
    predictor, test = whole.predictor(torch.device("cpu"), model), recorded_test(paths[0]) if len(paths) == 1 else None
    return ExportSource(paths, whole, predictor, images, images_name, test)


def _choose_images(config: Config) -> tuple[ImageDataset, str]:
    """Return the validation images of the training, else the training images, else the digits of the package.

    The images are the real ones: `data.simulate` adds none. Nothing is downloaded.
    """
    data = override_data(config, ()).data
    try:
        if not missing_files(data, "train"):
            splits = load_real(data)
            if splits.validation is not None:
                return splits.validation, f"{len(splits.validation):,} validation images of {data.name}"
            return splits.train, f"{len(splits.train):,} training images of {data.name}"
    except DataError:  # a folder of pictures that is not on this machine
        pass
    digits = load_digits("train")
    return digits, f"{len(digits):,} training images of digits"


def compare(source: ExportSource, run: Run) -> float:
    """Return the largest difference between the outputs of an exported file and those of the float32 model.

    Raises `CheckpointError` that names an image for which it is above `TOLERANCE` (relative to values above 1, of
    models without probabilities), or the prediction is another one.
    """
    largest, start = 0.0, 0
    for images, _ in ordered_loader(source.images, source.checkpoint.members[0].spec.batch_size):
        found = [torch.from_numpy(output).double() for output in run(images.numpy())]
        expected = source.predictor.read(images)[: len(found)]
        _check_answers(source, start, found, expected)
        largest = max(largest, *(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)))
        start += len(images)
    return largest


def _check_answers(source: ExportSource, start: int, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise `CheckpointError` for the first image, counted from `start`, with another answer."""
    probabilities = expected[0]
    allowed = TOLERANCE * probabilities.abs().amax(dim=1).clamp_min(1)
    differences = (found[0] - probabilities).abs().amax(dim=1)
    if len(found) > 1:
        differences = torch.maximum(differences, (found[1] - expected[1]).abs())
    best = probabilities.topk(2, dim=1).values
    is_clear = best[:, 0] - best[:, 1] > allowed
    other = is_clear & (found[0].argmax(dim=1) != probabilities.argmax(dim=1))
    wrong = ~(differences <= allowed) | other  # a NaN is wrong, too
    if wrong.any():
        index = int(wrong.nonzero()[0])
        classes = source.checkpoint.classes
        before, after = (classes[int(each[index].argmax())] for each in (probabilities, found[0]))
        raise CheckpointError(
            f"The exported model does not give the answers of {source.name}, so nothing is written. Image "
            f"{start + index} of the {source.images_name}: {before} before and {after} after, and the largest "
            f"difference between the probabilities is {float(differences[index]):.2g}; {TOLERANCE:g} is allowed."
        )
