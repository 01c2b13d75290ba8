"""Computes metrics of checkpoints on a split: evaluation, calibration, comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mnist_trainer.config.classes import DIGITS, class_positions, label_of
from mnist_trainer.config.load import Override, load_config, override_texts
from mnist_trainer.config.schema import SAME_DIGITS, Config, Data
from mnist_trainer.data.datasets import mnist_c_folders
from mnist_trainer.data.identity import find_known
from mnist_trainer.data.image_dataset import ImageDataset, Split
from mnist_trainer.data.loaders import (
    all_classes,
    load_real,
    load_refusal_images,
    load_split,
    load_unseen,
    load_writers,
    missing_files,
    ordered_loader,
    with_binary,
)
from mnist_trainer.data.paths import Progress, data_root
from mnist_trainer.errors import CheckpointError, ConfigError, ConfigProblem, TrainerError, UsageError, one_line
from mnist_trainer.files import user_path
from mnist_trainer.inference.influence import NetworkExplanation, explain_network
from mnist_trainer.inference.metrics import (
    CalibrationMetrics,
    Comparison,
    Evaluation,
    RefusalMetrics,
    WriterMetrics,
    calibration_error,
    cluster_interval,
    compare_predictions,
    fit_refusal_threshold,
    fit_temperature,
    measure_refusal,
)
from mnist_trainer.inference.predictions import (
    MeanLoss,
    Predictions,
    log_loss,
    log_probabilities,
    measure,
    measure_members,
    predict,
)
from mnist_trainer.inference.predictor import BATCH_SIZE, to_logits
from mnist_trainer.inference.robustness import (
    Case,
    RobustnessRow,
    attack_cases,
    measure_case,
    picture_cases,
    sweep_cases,
)
from mnist_trainer.model.device import choose_threads, convert_device_errors, has_device, resolve_device, settings
from mnist_trainer.pipeline.preparation import CustomParts
from mnist_trainer.storage.checkpoint import Checkpoint, Member, check_same_classes, combine
from mnist_trainer.storage.onnx_model import OnnxModel, load_model
from mnist_trainer.storage.run_folder import find_checkpoint
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import build_criterion

CHANGEABLE = ("data.name", "data.path", "data.root", "data.binary", "data.limit", "device", "threads")
"""Keys that may differ from training: the data to evaluate on, and the machine."""

FIXED = {f"data.{key}" for key in Data.model_fields} - {*CHANGEABLE}
"""Keys that belong to the model: how it sees images, and which of them it was trained on."""

SPLITS = tuple(name for part in get_args(Split) for name in get_args(part))

CheckpointRef = str | Path
"""A `.pt` file, an exported `.onnx` file, a run folder (its `best.pt`), `latest` or `bundled`."""


@dataclass(frozen=True)
class EvalTarget:
    """A model or an ensemble to evaluate; `config` names the data to evaluate on, the device and the threads."""

    paths: tuple[Path, ...]
    checkpoint: Checkpoint
    config: Config
    member_names: tuple[tuple[str, str], ...]
    """The checkpoint file and the name of the run, for each member."""

    @property
    def name(self) -> str:
        """The path, or the number of members, such as `ensemble of 3`."""
        return str(self.paths[0]) if len(self.paths) == 1 else f"ensemble of {len(self.checkpoint.members)}"

    @property
    def trained_on(self) -> tuple[Data, ...]:
        """The data that each member was trained on."""
        return tuple(member.config.data for member in self.checkpoint.members)


def load_target(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], overrides: Sequence[Override], *splits: Split
) -> EvalTarget:
    """Load one model, or the ensemble of several, to be evaluated on `splits`.

    Raises `CheckpointError` if one is missing or they are incompatible, `ConfigError` for a key that can't be changed,
    and `UsageError` if one is named twice, or for another `data.limit` with the validation split.
    """
    if unknown := [split for split in splits if split not in SPLITS]:
        raise UsageError(f"split must be one of {', '.join(SPLITS)}; got {one_line(repr(unknown[0]))}.")
    paths, texts = find_checkpoints(checkpoint), override_texts(overrides)
    loaded = {str(path): load_model(path) for path in paths}
    if len(loaded) > 1 and (exported := [path for path, each in loaded.items() if isinstance(each, OnnxModel)]):
        raise CheckpointError(f"{exported[0]} is an exported model, and an ensemble is made of checkpoints.")
    whole = combine(loaded) if len(loaded) > 1 else loaded[str(paths[0])]
    configs = [override_data(member.config, texts) for member in whole.members]
    names = tuple((path, member.config.name) for path, each in loaded.items() for member in each.members)
    target = EvalTarget(paths, whole, configs[0], names)
    files, datasets = [path for path, _ in names], [config.data for config in configs]
    for split in splits:
        check_same_split(files, datasets, split)
    if "validation" in splits:
        if [data.limit for data in target.trained_on] != [data.limit for data in datasets]:
            reason = "some would be images the model was trained with"
            raise UsageError(f"data.limit changes which images validate: {reason}.")
        check_split_counts(files, whole.members, target.config.data)
    return target


def find_checkpoints(checkpoint: object) -> tuple[Path, ...]:
    """Return the file of one checkpoint or each of several.

    Raises `CheckpointError` if one is missing, `UsageError` for other types, or if one is named twice.
    """
    paths = tuple(find_checkpoint(str(ref)) for ref in _flatten(checkpoint))
    if not paths:
        raise UsageError("There is no checkpoint to evaluate: name a .pt file, a run folder or latest.")
    for number, path in enumerate(paths):
        if any(path.samefile(other) for other in paths[:number]):
            raise UsageError(f"{path} is named twice: each checkpoint counts once.")
    return paths


def _flatten(checkpoint: object) -> list[CheckpointRef]:
    """Return the references in nested lists. Raises `UsageError` for anything that is no reference."""
    match checkpoint:
        case str() | Path():
            return [checkpoint]
        case Iterable() if not isinstance(checkpoint, bytes):
            return [ref for each in checkpoint for ref in _flatten(each)]
        case _:
            shown = one_line(repr(checkpoint))
            raise UsageError(f"A checkpoint is a .pt file, a run folder or latest, or a list of them, not {shown}.")


def check_same_split(names: Sequence[str], datasets: Sequence[Data], split: Split) -> None:
    """Raise `CheckpointError` that names two models whose `split` has other images, and says what differs."""
    first = datasets[0]
    keys = ["name", "path"]
    if split in ("train", "validation"):
        keys += ["split", "split_seed", "limit", "fold", "validation", "simulate.photographs"]
    for name, data in zip(names, datasets, strict=True):
        differs = next((key for key in keys if attrgetter(key)(data) != attrgetter(key)(first)), None)
        if differs is None or (differs == "validation" and load_real(data).counts == load_real(first).counts):
            continue  # if all else is equal, equal counts mean equal splits
        theirs, own = (attrgetter(differs)(each) for each in (first, data))
        advice = "A validation image of one may be a training image of the other; evaluate them on --split test."
        if differs in ("name", "path"):
            advice = f"Name the data to evaluate both on, as data.name={first.name}."
        raise CheckpointError(
            f"The models do not have the same {split} images: data.{differs} is {theirs} for {names[0]} and {own} for "
            f"{name}. {advice}"
        )


def check_split_counts(names: Sequence[str], members: Sequence[Member], data: Data) -> None:
    """Raise `CheckpointError` that names a model whose data set had another number of images when it was trained.

    The validation split then has other images, and the model may have been trained with some of them.
    """
    now = load_real(data).counts
    for name, member in zip(names, members, strict=True):
        then, trained_on = member.split_counts, member.config.data
        is_same = (trained_on.name, trained_on.path) == (data.name, data.path)
        if is_same and now[1] and then is not None and then != now:
            raise CheckpointError(
                f"The images of {data.name} have changed since {name} was trained: {then[0]:,} trained it and "
                f"{then[1]:,} validated it, and now these are {now[0]:,} and {now[1]:,}. It may have been trained "
                "with images of the validation set; evaluate it on --split test."
            )


def override_data(config: Config, overrides: Sequence[str]) -> Config:
    """Return `config` with other data or another device. Raises `ConfigError` for any other key.

    The device and the data folder of the training are used if they exist here.
    """
    pairs = [override.partition("=") for override in overrides]
    keys, values = [key.strip() for key, _, _ in pairs], {key.strip(): value.strip() for key, _, value in pairs}
    refused = [
        ConfigProblem(f"override {number}", key, f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}")
        for number, key in enumerate(keys, start=1)
        if ".".join(key.split(".")[:2]) in FIXED or not (key in CHANGEABLE or key.startswith("data."))
    ]
    if refused:
        raise ConfigError(refused)
    content = config.model_dump(mode="json")
    if {"data.name", "data.binary"} & set(keys):  # other data have no simulated images
        content["data"] |= {"simulate": {}, "extra": None}
    if values.get("data.name", "folder").casefold() != "folder":  # no other data set has a path
        content["data"]["path"] = None
    if not has_device(config.device):
        content["device"] = "auto"
    if config.data.root is not None and not user_path(config.data.root).is_dir():
        content["data"]["root"] = None
    split, content["data"]["split"] = content["data"]["split"], "stratified"
    changed = load_config(content, overrides)
    if changed.data.name in SAME_DIGITS:  # of other data the writers are not known
        changed = changed.model_copy(update={"data": changed.data.model_copy(update={"split": split})})
    return changed


DEVICE_ADVICE = "Take another device (on the command line: --device cpu), or fewer members of an ensemble."

MIN_KNOWN = 30
"""The number of known images in a sample from which on their fraction of all images is estimated."""


@dataclass(frozen=True)
class EvalResult:
    """An evaluation, and the target, predictions and images that it was computed from."""

    target: EvalTarget
    evaluation: Evaluation
    predictions: Predictions
    dataset: ImageDataset


def evaluate(
    checkpoint: CheckpointRef | Iterable[CheckpointRef],
    *overrides: Override,
    split: Split = "test",
    views: int = 1,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    **keys: Any,
) -> Evaluation:
    """Return the metrics of a `.pt` file, a run folder's `best.pt`, or the `latest` run, on a split of its data.

    Several checkpoints are an ensemble: their probabilities are averaged. `views` is the number of deformed
    copies of each image to average over. Overrides such as `data.name=qmnist`, or `data={"name": "qmnist"}`, choose
    other data. `model` and `loss` are the user's own, if a single checkpoint was trained with them. Raises
    `CheckpointError`, `ConfigError`, `UsageError`, `DataError` or `DeviceError`.
    """
    target = load_target(checkpoint, (*overrides, keys), split)
    return evaluate_target(target, split, views, CustomParts(model, loss)).evaluation


def run_evaluation(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *overrides: Override, split: Split = "test", views: int = 1
) -> EvalResult:
    """Return the metrics as `evaluate` does, and also the predictions for every image."""
    return evaluate_target(load_target(checkpoint, overrides, split), split, views)


def evaluate_target(
    target: EvalTarget,
    split: Split,
    views: int = 1,
    custom: CustomParts | None = None,
    trained_on: tuple[Data, ...] = (),
) -> EvalResult:
    """Return the evaluation of loaded checkpoints with the predictions for every image.

    `trained_on` are the data of models that `target` is compared with.
    """
    config, checkpoint, custom = target.config, target.checkpoint, custom or CustomParts()
    if custom.loss is not None and len(checkpoint.members) > 1:
        raise UsageError("loss= is for a single checkpoint: an ensemble's loss is -ln of its mean probability.")
    threads = choose_threads(config, custom.model)
    with settings(config, threads, model=custom.model), convert_device_errors("evaluation", DEVICE_ADVICE):
        dataset, pictures, writers = _load_images(target, split, trained_on)
        predictor = checkpoint.predictor(resolve_device(config.device), custom.model)
        predictions = predict(predictor, dataset, views, [each.config.data.augment for each in checkpoint.members])
        mean_loss = _mean_loss(checkpoint, custom.loss)
        evaluation = measure(predictor, predictions, mean_loss, checkpoint.classes, config.data.name, split)
        if writers is not None:
            metrics = WriterMetrics(int(writers.max()) + 1, cluster_interval(predictions.correct, writers))
            evaluation = replace(evaluation, writers=metrics)
        if predictions.members:
            members = measure_members(predictor, predictions, target.member_names)
            evaluation = replace(evaluation, members=members, disagreement=predictions.disagreement)
    names = zip(target.member_names, checkpoint.members, strict=True)
    notes = [_known_images_note(path, member, config.data, split, dataset) for (path, _), member in names]
    unique = tuple(dict.fromkeys(note for note in notes if note))
    evaluation = replace(evaluation, views=views, pictures=pictures, notes=unique)
    return EvalResult(target, evaluation, predictions, dataset)


def explain_result(result: EvalResult) -> NetworkExplanation:
    """Return the influence of each hidden unit of an evaluated model on its images.

    Raises `CheckpointError` for an ensemble, and for a model without hidden layers.
    """
    target = result.target
    if isinstance(target.checkpoint, OnnxModel):
        advice = "Explain the checkpoint it was made of."
        raise CheckpointError(f"{target.name}: the units of an exported file can't be switched off. {advice}")
    if (count := len(target.checkpoint.members)) > 1:
        raise CheckpointError(
            f"{target.name} is an ensemble of {count} models, and --explain takes one. Explain its members one by one."
        )
    with settings(target.config, choose_threads(target.config)), convert_device_errors("evaluation", DEVICE_ADVICE):
        return explain_network(target.checkpoint.predictor(resolve_device(target.config.device)), result.dataset)


def measure_robustness(result: EvalResult, count: int, progress: Progress | None = None) -> tuple[RobustnessRow, ...]:
    """Return the metrics of an evaluated model on changed images, for each change and setting.

    `count` is the number of attacked and of simulated images. Without attacks for an exported file, which has no
    gradients; without simulated pictures for other classes than the ten digits. The test set of MNIST is joined by
    QMNIST's two parts and by MNIST-C, where their files are.
    """
    target, dataset, rows = result.target, result.dataset, list[RobustnessRow]()
    config, classes, split = target.config, target.checkpoint.classes, result.evaluation.split
    with settings(config, choose_threads(config)), convert_device_errors("evaluation", DEVICE_ADVICE):
        predictor = target.checkpoint.predictor(resolve_device(config.device))
        parts = [sweep_cases(dataset, predictor.specs[0].batch_size)]
        if not isinstance(target.checkpoint, OnnxModel):
            parts.append(attack_cases(predictor, dataset, count))
        if classes == DIGITS:
            can_refuse = predictor.refusal_threshold is not None
            drawn = dataset
            if config.data.simulate.photographs and split in ("train", "validation"):  # no photographs of photographs
                drawn = dataset.subset(torch.arange(load_real(config.data).counts[split == "validation"]))
            parts.append(picture_cases(drawn, config.data, count, can_refuse, progress))
        if classes == DIGITS and config.data.name == "mnist" and split == "test":
            parts.append(_other_data(config.data))
        for case in chain.from_iterable(parts):
            if progress is not None:
                progress(f"{case.change} {case.setting}", 0, None)
            rows.append(measure_case(predictor, case, classes))
    return tuple(rows)


def _other_data(data: Data) -> Iterator[Case]:
    """Yield the two parts of QMNIST and each corruption of MNIST-C, if their files are there."""
    qmnist = data.model_copy(update={"name": "qmnist"})
    parts: dict[str, Split] = {"hsf_0 and hsf_4": "hsf04", "hsf_1": "hsf1"}
    for name, split in parts.items() if not missing_files(qmnist, "test") else ():
        yield Case("QMNIST", name, load_split(qmnist, split))
    for name in mnist_c_folders(data_root(data)):
        yield Case("MNIST-C", name, load_split(data.model_copy(update={"name": "mnist-c", "path": name}), "test"))


def _load_images(
    target: EvalTarget, split: Split, trained_on: tuple[Data, ...]
) -> tuple[ImageDataset, str, Tensor | None]:
    """Return the images, with the model's labels; a text on which pictures of a folder they are; their writers."""
    labels, pictures = torch.tensor(_model_labels(target, split)), ""
    data = target.config.data.model_copy(update={"binary": None})
    if data.name == "folder" and split == "test":
        dataset, pictures = load_unseen(data, target.trained_on + trained_on)
    else:
        dataset = load_split(data, split)
        if data.name == "folder":
            pictures = f"{len(dataset):,} pictures in {data.path}, its {split} set"
    writers = load_writers(dataset, data, "train" if split in ("train", "validation") else "test")
    return replace(dataset, labels=labels[dataset.labels]), pictures, writers


def _model_labels(target: EvalTarget, split: Split) -> list[int]:
    """Return the model's label for each class of the data. Raises `CheckpointError` for a class it does not know."""
    data, known, trained = target.config.data, target.checkpoint.classes, target.checkpoint.config.data
    names = all_classes(data, split)
    if data.binary is not None and trained.binary is not None:
        asked = label_of(data.binary, names, data)
        if asked is not None and class_positions([names[asked]], known) == [1]:
            return [int(label == asked) for label in range(len(names))]
    found = [position for position in class_positions(names, known) if position is not None]
    if data.binary is not None or len(found) < len(names):
        raise CheckpointError(
            f"{target.name} knows the classes {', '.join(known)}, and {data.name} has "
            f"{', '.join(with_binary(data, names))}. Evaluate it on data with the same classes."
        )
    return found


def _known_images_note(path: str, member: Member, data: Data, split: Split, dataset: ImageDataset) -> str:
    """Return a warning if some of the images trained `member`."""
    trained_on, samples = _dataset_name(member.config.data), member.lineage
    if trained_on == _dataset_name(data):
        if split == "train":
            return ""
        samples = samples[:-1]  # the split of its own data separates them
    known, checked = find_known(dataset, samples)
    if not known:
        return ""
    count = len(dataset)
    share = f"about {100 * known / checked:.0f} %" if known >= MIN_KNOWN else "some"
    known_ones = f"{f'{known:,}' if checked == count else share} of these {count:,} images"
    reason = f"{known_ones} trained it, or a model that it started from"
    return f"{path} was trained on {trained_on}, and {reason}: the metrics are too optimistic."


def _dataset_name(data: Data) -> str:
    """Return the path or name of the data set."""
    return data.name if data.path is None else str(user_path(data.path).absolute())


def _mean_loss(checkpoint: Checkpoint, loss: LossFunction | None) -> MeanLoss:
    """Return the function that computes the loss to report. It returns None if the user's own loss is not given."""
    member = checkpoint.members[0]
    if loss is None and "loss" in member.custom:
        return lambda outputs, labels: None
    return build_criterion(member.config, checkpoint.classes, loss=loss).mean_loss


@dataclass(frozen=True)
class CalibrationResult:
    """A calibrated checkpoint, and its evaluations before and after, on the validation and the requested split."""

    checkpoint: Checkpoint
    before: dict[Split, EvalResult]
    after: dict[Split, EvalResult]
    refusal: tuple[RefusalMetrics, RefusalMetrics] | None
    """Before and after; None for a model that can't refuse."""

    @property
    def temperature(self) -> float:
        """The temperature of the copy."""
        return _temperature(self.checkpoint)

    def calibration_metrics(self) -> dict[str, tuple[CalibrationMetrics, CalibrationMetrics]]:
        """Return the metrics before and after, by split."""
        return {
            split: (_calibration_metrics(old.predictions), _calibration_metrics(self.after[split].predictions))
            for split, old in self.before.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return what `mnist-eval --calibrate --json` adds, except for the files."""
        splits = {
            split: {"before": asdict(old), "after": asdict(new), "worse": new.worse_than(old)}
            for split, (old, new) in self.calibration_metrics().items()
        }
        pair = self.refusal and dict(zip(("before", "after"), map(asdict, self.refusal), strict=True))
        return {"temperature": self.temperature, **splits, **({"refusal": pair} if pair else {})}


def calibrate(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *overrides: Override, split: Split = "test"
) -> CalibrationResult:
    """Return a copy of a model or an ensemble, not yet saved, with a temperature and a refusal threshold.

    Both are fitted on the validation split. A temperature keeps the order of the probabilities, so no predicted class
    changes. A model that can refuse gets the threshold at which 1 % of its validation split are refused
    (`fit_refusal_threshold`). Raises `CheckpointError` if the outputs are not probabilities, `DataError` if there are
    no validation images (`training.refit` trains with all) or the best temperature is out of bounds, and the errors of
    `evaluate`.
    """
    target = load_target(checkpoint, overrides, "validation", split)
    if isinstance(target.checkpoint, OnnxModel):
        raise CheckpointError(f"{target.name} is an exported model. Calibrate its checkpoint, and export the copy.")
    if not target.checkpoint.members[0].spec.gives_probabilities:  # of an ensemble all members do, or none
        raise CheckpointError(
            f"The outputs of {target.name} are not probabilities (squared error without model.output), so "
            "they can't be calibrated."
        )
    parts: tuple[Split, ...] = ("validation",) if split == "validation" else ("validation", split)
    before = {part: evaluate_target(target, part) for part in parts}
    calibrated = _with_temperature(_best_temperature(before["validation"]), target)
    calibrated, refusal = _with_refusal_threshold(calibrated)
    after = {part: evaluate_target(calibrated, part) for part in parts}
    return CalibrationResult(calibrated.checkpoint, before, after, refusal)


def _best_temperature(result: EvalResult) -> float:
    """Return the best temperature for the logits at temperature 1."""
    if _temperature(result.target.checkpoint) != 1:
        result = evaluate_target(_with_temperature(1.0, result.target), "validation")
    predictions, members = result.predictions, result.target.checkpoint.members
    if len(members) > 1:
        return fit_temperature(to_logits(predictions.probabilities, "probabilities"), predictions.labels)
    return fit_temperature(to_logits(predictions.outputs, members[0].spec.kind), predictions.labels)


def _with_temperature(temperature: float, target: EvalTarget) -> EvalTarget:
    """Return `target` at `temperature`, without the state of its training."""
    copy = replace(target.checkpoint, training_state=None)
    if len(copy.members) > 1:
        copy = replace(copy, temperature=temperature)
    else:
        member = replace(copy.only, spec=replace(copy.spec, temperature=temperature))
        copy = replace(copy, members=(member,))
    return replace(target, checkpoint=copy)


def _with_refusal_threshold(
    target: EvalTarget,
) -> tuple[EvalTarget, tuple[RefusalMetrics, RefusalMetrics] | None]:
    """Return `target` with a fitted refusal threshold, and its metrics before and after; if it can refuse."""
    config, checkpoint = target.config, target.checkpoint
    with settings(config, choose_threads(config)), convert_device_errors("evaluation", DEVICE_ADVICE):
        predictor = checkpoint.predictor(resolve_device(config.device))
        if predictor.refusal_threshold is None:
            return target, None
        loaders = [ordered_loader(dataset, BATCH_SIZE) for dataset in load_refusal_images(config.data)]
        nones = [torch.cat([torch.empty(0), *(predictor.read(images)[1] for images, _ in each)]) for each in loaders]
    threshold = fit_refusal_threshold(nones[0])
    before, after = (measure_refusal(value, *nones) for value in (predictor.refusal_threshold, threshold))
    specs = [
        replace(member.spec, refusal_threshold=None if member.spec.refusal_threshold is None else threshold)
        for member in checkpoint.members
    ]
    members = tuple(replace(member, spec=spec) for member, spec in zip(checkpoint.members, specs, strict=True))
    return replace(target, checkpoint=replace(checkpoint, members=members)), (before, after)


def _temperature(checkpoint: Checkpoint) -> float:
    """Return the temperature of an ensemble, or of the only member."""
    return checkpoint.temperature if len(checkpoint.members) > 1 else checkpoint.spec.temperature


def _calibration_metrics(predictions: Predictions) -> CalibrationMetrics:
    """Return the log loss and the calibration error of `predictions`."""
    loss = log_loss(log_probabilities(predictions.probabilities), predictions.labels)
    return CalibrationMetrics(loss, calibration_error(predictions.confidence, predictions.correct))


@dataclass(frozen=True)
class ComparisonResult:
    """The evaluations of two models, their short names, and their comparison."""

    names: tuple[str, str]
    first: EvalResult
    second: EvalResult
    comparison: Comparison

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of both evaluations."""
        return (*self.first.evaluation.notes, *self.second.evaluation.notes)

    def to_json(self) -> dict[str, Any]:
        """Return what `mnist-eval --compare --json` prints."""
        both = zip(self.names, (self.first, self.second), strict=True)
        models = [{"path": result.target.name, "name": name, **result.evaluation.summary()} for name, result in both]
        evaluation = self.first.evaluation
        about = {"dataset": evaluation.dataset, "split": evaluation.split, "views": evaluation.views}
        optional = {"pictures": evaluation.pictures, "notes": self.notes}
        about |= {key: value for key, value in optional.items() if value}
        return {"first": models[0], "second": models[1], **asdict(self.comparison), **about}


def compare(
    first: CheckpointRef, second: CheckpointRef, *overrides: Override, split: Split = "test", views: int = 1
) -> ComparisonResult:
    """Return which of two checkpoints, each a model or a saved ensemble, is correct on more of the same images.

    Raises `CheckpointError` if one is missing, or if classes or images differ, and the errors of `evaluate`.
    """
    paths = find_checkpoints((first, second))
    one, other = targets = [load_target(path, overrides, split) for path in paths]
    check_same_classes({target.name: target.checkpoint for target in targets})
    check_same_split([target.name for target in targets], [target.config.data for target in targets], split)
    trained_on = one.trained_on + other.trained_on
    results = [evaluate_target(target, split, views, trained_on=trained_on) for target in targets]
    comparison = compare_predictions(*(result.predictions.correct for result in results))
    return ComparisonResult(_short_names(*paths), results[0], results[1], comparison)


def compare_with_first(checkpoints: Sequence[CheckpointRef]) -> list[Comparison | TrainerError]:
    """Compare each checkpoint but the first with the first one, on the same test images.

    A checkpoint that can't be loaded, evaluated or compared has its error in the list.
    """
    loaded = [_load_or_error(ref) for ref in checkpoints]
    trained_on = tuple(data for each in loaded if isinstance(each, EvalTarget) for data in each.trained_on)
    reference: Tensor | None = None
    found: list[Comparison | TrainerError] = []
    for other in loaded[1:]:
        try:
            one, two = targets = [_raise_error(each) for each in (loaded[0], other)]
            check_same_classes({target.name: target.checkpoint for target in targets})
            check_same_split([target.name for target in targets], [target.config.data for target in targets], "test")
            if reference is None:
                reference = evaluate_target(one, "test", trained_on=trained_on).predictions.correct
            correct = evaluate_target(two, "test", trained_on=trained_on).predictions.correct
            found.append(compare_predictions(reference, correct))
        except TrainerError as error:
            found.append(error)
    return found


def _load_or_error(checkpoint: CheckpointRef) -> EvalTarget | TrainerError:
    try:
        return load_target(checkpoint, (), "test")
    except TrainerError as error:
        return error


def _raise_error(loaded: EvalTarget | TrainerError) -> EvalTarget:
    if isinstance(loaded, TrainerError):
        raise loaded
    return loaded


def _short_names(first: Path, second: Path) -> tuple[str, str]:
    """Return a run's folder for its `best.pt`, the stem of another file; both whole paths if these are equal."""
    short = [path.parent.name if path.name == "best.pt" and path.parent.name else path.stem for path in (first, second)]
    return (short[0], short[1]) if short[0] != short[1] else (str(first), str(second))
