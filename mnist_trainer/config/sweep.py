"""Sweeps: the schema of a sweep file, and its loading into a checked `Sweep`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mnist_trainer.config.fields import ListOf, Name, NotNegative, Positive, Section
from mnist_trainer.config.load import apply_override, config_of, format_override, load_config, read_config, run_name
from mnist_trainer.config.messages import near_hint, nearest, problems_of
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path, sweep_path, sweeps
from mnist_trainer.config.yaml_reader import Document, KeyPath, Problem, SourceLocation, read_file
from mnist_trainer.errors import ConfigError, ConfigProblem
from mnist_trainer.files import user_path

Numbers = Annotated[ListOf[float], Field(min_length=2, max_length=2)]
WholeNumbers = Annotated[ListOf[int], Field(min_length=2, max_length=2)]

DEFAULT_TRIALS = 20


class _Parameter(Section):
    """The values that a config key may take; the first key of each subclass names its kind."""

    @property
    def kind(self) -> str:
        """`uniform`, `choice` and so on."""
        return next(iter(type(self).model_fields))


class _Range(_Parameter):
    """Numbers between two bounds, both included."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = getattr(self, self.kind)
        return low, high

    @property
    def samples(self) -> tuple[Any, ...]:
        """The values with which a key is checked: both bounds."""
        return self.bounds

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """Raise `ValueError` if the bounds are not in ascending order, or not positive for a logarithm."""
        low, high = self.bounds
        if low >= high:
            raise ValueError(f"the first bound must be the smaller one, got [{low:g}, {high:g}]")
        if low <= 0 and (isinstance(self, LogUniform) or getattr(self, "log", False)):
            raise ValueError(f"a logarithm needs bounds greater than 0, got [{low:g}, {high:g}]")
        return self


class Uniform(_Range):
    """A number between two bounds; all are equally likely."""

    uniform: Numbers
    """the smallest and the largest value"""


class LogUniform(_Range):
    """A number between two bounds; each order of magnitude is equally likely."""

    log_uniform: Numbers
    """the smallest and the largest value, greater than 0"""


class IntUniform(_Range):
    """A whole number between two bounds."""

    int: WholeNumbers
    """the smallest and the largest value"""
    step: Positive = 1
    """step between possible values, from the smallest on"""
    log: bool = False
    """each order of magnitude is equally likely"""

    @model_validator(mode="after")
    def _step_or_log(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError("takes step or log, not both")
        return self


class Choice(_Parameter):
    """One of some values, which may be lists and mappings."""

    choice: Annotated[ListOf[Any], Field(min_length=1)]
    """the values"""

    @property
    def samples(self) -> tuple[Any, ...]:
        """All values."""
        return self.choice

    @property
    def labels(self) -> dict[str, Any]:
        """The values by their labels in the study."""
        return {label(value): value for value in self.choice}

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        names = [label(value) for value in self.choice]
        if duplicate := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{duplicate} is given twice")
        return self


Parameter = LogUniform | Uniform | IntUniform | Choice
PARAMETER_TYPES: Mapping[str, type[Parameter]] = {
    next(iter(kind.model_fields)): kind for kind in (LogUniform, Uniform, IntUniform, Choice)
}


class SweepFile(Section):
    """The keys of a sweep's file. The contents of `base` and `space` are checked by `load_sweep`."""

    name: Name = "sweep"
    """name of the study and its folder: letters, digits and _ . + -"""
    base: str | dict[str, Any]
    """a config: a file in the same folder, a shipped config's name, or keys"""
    space: Annotated[dict[str, Any], Field(min_length=1)]
    """config keys and their possible values, as in optimizer.lr: {log_uniform: [1e-4, 1e-1]}"""
    objective: Literal["val_loss", "val_accuracy"] = "val_loss"
    """the validation metric by which trials are compared"""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """how values are chosen"""
    pruner: Literal["none", "median", "hyperband"] = "median"
    """how unpromising trials are stopped early"""
    trials: Positive | None = None
    """number of trials; default 20, for grid all combinations"""
    seed: NotNegative = 0
    """random seed for the choice of values"""


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. `base` is the base config as plain data, with short forms not expanded."""

    settings: SweepFile
    base: dict[str, Any]
    space: dict[str, Parameter]

    @property
    def name(self) -> str:
        """The name of the study and its folder."""
        return self.settings.name

    @property
    def objective(self) -> Literal["val_loss", "val_accuracy"]:
        """The validation metric by which trials are compared."""
        return self.settings.objective

    @property
    def search(self) -> str:
        """The sampler and the pruner, in words."""
        sampler, pruner = self.settings.sampler, self.settings.pruner
        return sampler if pruner == "none" else f"{sampler} with {pruner} pruning"

    @property
    def trials(self) -> int:
        """The number of trials to run."""
        if self.settings.sampler == "grid":
            combinations = prod(len(parameter.samples) for parameter in self.space.values())
            return min(combinations, self.settings.trials or combinations)
        return self.settings.trials or DEFAULT_TRIALS

    def point(self, index: int) -> dict[str, str]:
        """Return the labels of combination `index` of a grid, from 0; the last key changes fastest."""
        labels = [parameter.labels for parameter in self.space.values() if isinstance(parameter, Choice)]
        return dict(zip(self.space, next(islice(product(*labels), index, None)), strict=True))

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the checked config of one trial. Raises `ConfigError` if `values` contradict the base."""
        return load_config(self.base, as_overrides(values))


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Return `values` as overrides, with whole sections before the keys inside them."""
    ordered = sorted(values.items(), key=lambda item: item[0].count("."))
    return list(map(format_override, ordered))


def label(value: Any) -> str:
    """Return a value in one line: text as it is, everything else as in YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_CHANGES_IMAGES = ("", "name", "path", "root", "validation", "fold", "split", "split_seed", "binary", "limit")
_CHANGES_LOSS = ("", "name", "reduction", "class_weights")
_KEY_ERRORS = ("unknown key", "no such item", "an empty key")


def load_sweep(source: str | Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> Sweep:
    """Return the checked sweep of a file or a shipped sweep, with `key=value` overrides of its base config.

    `changes` replace keys of the sweep. Raises `ConfigError` with all problems of the sweep and of its base config.
    """
    path = user_path(source)
    if str(source) in sweeps() and not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on long texts
        path = sweep_path(str(source))
    document = _read(path)
    settings = _settings(document, path, changes or {})
    base, base_problems = _base(document, path, overrides)
    written = document.data.get("space")
    keys = written if isinstance(written, dict) else ()
    space = {key: parameter for key in keys if (parameter := _parameter(document, key))}
    _check_comparable(document, space, base)
    for key in space if base.data is not None else ():
        _check_values(document, space, key, base, is_valid=not base_problems)
    problems = [*document.error().problems, *base_problems]
    if problems or settings is None:
        raise ConfigError(problems)
    return Sweep(settings, base.data, space)


def _read(path: Path) -> Document:
    """Return the document of a sweep file. Raises `ConfigError` if it can't be read."""
    try:
        document = read_file(path)
    except FileNotFoundError:
        hint = near_hint(path.stem, sweeps(), "the shipped sweep ")
        if path.name in shipped():
            hint = f"; {path} is a config, not a sweep: write a sweep with 'base: {path}' in it"
        document = Document(problems=[Problem(SourceLocation(file=str(path)), (), f"no such file{hint}")])
    if document.data is None:
        raise document.error()
    return document


def _settings(document: Document, path: Path, changes: Mapping[str, Any]) -> SweepFile | None:
    """Return the keys of the sweep with `changes`; None, with problems in the document, if they are not valid."""
    known = SweepFile.model_fields
    for key in [key for key in document.data if key not in known]:
        near = nearest(key, known)
        hint = f"did you mean '{near}'?" if near else f"known keys: {', '.join(known)}"
        if key in Config.model_fields:
            hint = "keys of the config belong under 'base'"
        document.add_problem(document.location_of((key,), at_key=True), (key,), f"unknown key; {hint}")
    data = {key: value for key, value in document.data.items() if key in known}
    try:
        return SweepFile.model_validate({"name": run_name(path.stem), **data, **changes})
    except ValidationError as error:
        document.problems += problems_of(error, document, SweepFile)
        return None


def _base(document: Document, path: Path, overrides: Sequence[str]) -> tuple[Document, Sequence[ConfigProblem]]:
    """Return the document of the base config with its overrides, and its problems."""
    written = document.data.get("base")
    match written:
        case str():
            file = path.parent / user_path(written)
            if written in shipped() and not file.is_file():
                file = shipped_path(written)
            if not file.exists():
                hint = near_hint(Path(written).stem, shipped(), "the shipped config ")
                document.add_problem(document.location_of(("base",)), ("base",), f"{file}: no such file{hint}")
                return Document(), ()
            base = read_config(file)
        case dict():
            base = document.subdocument(("base",))
            base.data = {"name": run_name(path.stem), **base.data}
        case _:
            return Document(), ()
    return base, _problems(base, overrides)


def _problems(document: Document, overrides: Sequence[str]) -> Sequence[ConfigProblem]:
    """Write `overrides` into a config, and return its problems."""
    for number, override in enumerate(overrides, 1):
        apply_override(document, number, override)
    try:
        config_of(document)
    except ConfigError as error:
        return error.problems
    return ()


def _parameter(document: Document, key: str) -> Parameter | None:
    """Return the parameter of `key` in the space; add its problems to the document and return None if it has any."""
    path: KeyPath = ("space", key)
    if document.is_reported(path):
        return None
    written = document.subdocument(path)
    data = written.data if isinstance(written.data, dict) else {}
    kinds = [kind for kind in PARAMETER_TYPES if kind in data]
    if len(kinds) != 1:
        hint = "" if kinds else near_hint(next(iter(data), ""), PARAMETER_TYPES)
        message = f"needs one of {', '.join(PARAMETER_TYPES)}, as in {{choice: [1, 2]}}{hint}"
        document.add_problem(document.location_of(path), path, message)
        return None
    try:
        return PARAMETER_TYPES[kinds[0]].model_validate(data)
    except ValidationError as error:
        for location, inner, message in problems_of(error, written, PARAMETER_TYPES[kinds[0]]):
            document.add_problem(location, (*path, *inner), message)
        return None


def _check_comparable(document: Document, space: Mapping[str, Parameter], base: Document) -> None:
    """Add a problem for each parameter whose trials can't be compared, and for a base without validation images."""
    by_accuracy = document.data.get("objective") == "val_accuracy"
    for key, parameter in space.items():
        section, _, name = key.partition(".")
        message = ""
        if document.data.get("sampler") == "grid" and not isinstance(parameter, Choice):
            message = "a grid needs choice; list the values, or use another sampler"
        elif section == "data" and name in _CHANGES_IMAGES:
            message = "changes the validation images, so that trials could not be compared; set it in the base"
        elif section == "loss" and name.split(".")[0] in _CHANGES_LOSS and not by_accuracy:
            message = "losses of different kinds can't be compared; set it in the base, or objective: val_accuracy"
        if message:
            _add_problem(document, key, parameter, message)
    data = base.data.get("data") if base.data else None
    if isinstance(data, dict) and "validation" in data and data["validation"] == 0:
        message = "data.validation is 0, but a sweep needs validation images to compare trials"
        document.add_problem(document.location_of(("base",)), ("base",), message)


def _add_problem(document: Document, key: str, parameter: Parameter, message: str) -> None:
    """Add a problem of the parameter of `key`."""
    location = document.location_of(("space", key, parameter.kind), at_key=True)
    document.add_problem(location, ("space", *key.split(".")), message)


def _check_values(document: Document, space: Mapping[str, Parameter], key: str, base: Document, is_valid: bool) -> None:
    """Validate the base config with each bound or choice of `key`, and add its problems to the document."""
    parameter = space[key]
    for index, value in enumerate(parameter.samples):
        problems = _value_problems(base, space, key, value, is_valid)
        is_key = any(problem.message.startswith(_KEY_ERRORS) for problem in problems)
        is_whole = any(problem.message.startswith("expected a whole number") for problem in problems)
        if is_whole and not is_key and isinstance(parameter, Uniform | LogUniform):
            low, high = parameter.bounds
            _add_problem(document, key, parameter, f"takes whole numbers; write {{int: [{low:.0f}, {high:.0f}]}}")
            return
        path = ("space", key) if is_key else ("space", key, parameter.kind, index)
        for problem in problems:
            location = document.location_of(path, at_key=is_key)
            document.add_problem(location, ("space", *problem.path.split(".")), problem.message)
        if is_key:
            return


def _value_problems(
    base: Document, space: Mapping[str, Parameter], key: str, value: Any, is_valid: bool
) -> list[ConfigProblem]:
    """Return the problems of the base with `value`; none if a value of another key in the same section removes them.

    If the base is not valid, only problems of the overrides count: those with a location.
    """

    def problems(values: Mapping[str, Any]) -> list[ConfigProblem]:
        found = _problems(Document(data=deepcopy(base.data)), as_overrides(values))
        return [problem for problem in found if is_valid or problem.location]

    found = problems({key: value})
    section = key.split(".", maxsplit=1)[0]
    others = [other for other in space if found and other != key and other.split(".")[0] == section]
    resolved = (not problems({other: sample, key: value}) for other in others for sample in space[other].samples)
    return [] if any(resolved) else found


def sweep_items(sweep: Sweep, trials: int) -> dict[str, Any]:
    """Return the keys of a file that holds all of `sweep`, base config included."""
    settings = {key: getattr(sweep.settings, key) for key in SweepFile.model_fields}
    space = {key: parameter.model_dump(mode="json") for key, parameter in sweep.space.items()}
    return {**settings, "base": sweep.base, "space": space, "trials": trials}
