"""`Sweep`: what a sweep's file says, checked: a base config, the space of keys that are varied, how the search goes.

A sweep's file and overrides of its base → `Sweep`, or every problem at once with its place; and back to YAML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mnist_trainer.config.fields import ListOf, Name, NotNegative, Positive, Section
from mnist_trainer.config.load import apply_override, config_of, format_override, load_config, read_config, run_name
from mnist_trainer.config.messages import nearest, problems_of
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path, sweep_path, sweeps
from mnist_trainer.config.yaml_reader import Document, KeyPath, Problem, SourceLocation, format_path, read_file
from mnist_trainer.errors import ConfigError, ConfigProblem
from mnist_trainer.files import user_path

Numbers = Annotated[ListOf[float], Field(min_length=2, max_length=2)]
WholeNumbers = Annotated[ListOf[int], Field(min_length=2, max_length=2)]

DEFAULT_TRIALS = 20


class _Parameter(Section):
    """One way to say what a key may be, named by its first key."""

    @property
    def kind(self) -> str:
        """`uniform`, `choice` and so on."""
        return next(iter(type(self).model_fields))


class _Range(_Parameter):
    """Numbers between two bounds, which belong to it."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = getattr(self, self.kind)
        return low, high

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to check a key with: the bounds, which are no whole numbers even if they were written as such."""
        return tuple(map(float, self.bounds))

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.bounds
        if low >= high:
            raise ValueError(f"the first bound must be the smaller one, got [{low:g}, {high:g}]")
        if low <= 0 and (isinstance(self, LogUniform) or getattr(self, "log", False)):
            raise ValueError(f"a logarithm needs bounds greater than 0, got [{low:g}, {high:g}]")
        return self


class Uniform(_Range):
    """Any number between two bounds."""

    uniform: Numbers = Field(description="the smallest and the largest value")


class LogUniform(_Range):
    """Any number between two bounds, each order of magnitude as likely as the others."""

    log_uniform: Numbers = Field(description="the smallest and the largest value, greater than 0")


class IntUniform(_Range):
    """A whole number between two bounds."""

    int: WholeNumbers = Field(description="the smallest and the largest value")
    step: Positive = Field(default=1, description="only every so many-th number from the smallest on")
    log: bool = Field(default=False, description="each order of magnitude as likely as the others")

    @property
    def samples(self) -> tuple[Any, ...]:
        """The bounds."""
        return self.bounds

    @model_validator(mode="after")
    def _step_or_log(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError("takes step or log, not both")
        return self


class Choice(_Parameter):
    """One of some values, which may be lists and mappings."""

    choice: Annotated[ListOf[Any], Field(min_length=1)] = Field(description="the values")

    @property
    def samples(self) -> tuple[Any, ...]:
        """All values."""
        return self.choice

    @property
    def labels(self) -> dict[str, Any]:
        """What the values are called in the study's records → the values."""
        return {label(value): value for value in self.choice}

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        names = [label(value) for value in self.choice]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is given twice")
        return self


Parameter = LogUniform | Uniform | IntUniform | Choice
PARAMETER_TYPES: Mapping[str, type[Parameter]] = {
    "log_uniform": LogUniform,
    "uniform": Uniform,
    "int": IntUniform,
    "choice": Choice,
}


class SweepFile(Section):
    """The keys of a sweep's file; what `base` and `space` hold is checked by their own rules."""

    name: Name = Field(default="sweep", description="of the study and its folder: letters, digits and _ . + -")
    base: str | dict[str, Any] = Field(description="a config: a file beside this one, a shipped config's name, or keys")
    space: Annotated[dict[str, Any], Field(min_length=1)] = Field(
        description="config keys and what they may be, as in optimizer.lr: {log_uniform: [1e-4, 1e-1]}"
    )
    objective: Literal["val_loss", "val_accuracy"] = Field(
        default="val_loss", description="the validation figure that decides"
    )
    sampler: Literal["tpe", "random", "grid"] = Field(default="tpe", description="how values are chosen")
    pruner: Literal["none", "median", "hyperband"] = Field(
        default="median", description="how trials that fall behind are ended early"
    )
    trials: Positive | None = Field(
        default=None, description=f"how many; default {DEFAULT_TRIALS}, for grid all combinations"
    )
    seed: NotNegative = Field(default=0, description="of the choice of values")


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. `base` is plain data with its short forms, as it was written."""

    settings: SweepFile
    base: dict[str, Any]
    space: dict[str, Parameter]

    @property
    def name(self) -> str:
        """Of the study and its folder."""
        return self.settings.name

    @property
    def objective(self) -> Literal["val_loss", "val_accuracy"]:
        """The validation figure that decides."""
        return self.settings.objective

    @property
    def combinations(self) -> int:
        """How many points a grid has."""
        return prod(len(parameter.samples) for parameter in self.space.values())

    @property
    def trials(self) -> int:
        """How many trials there shall be."""
        if self.settings.sampler == "grid":
            return min(self.combinations, self.settings.trials or self.combinations)
        return self.settings.trials or DEFAULT_TRIALS

    def point(self, index: int) -> dict[str, str]:
        """The labels of a grid's combination `index`, from 0; the last key changes first."""
        labels = [parameter.labels for parameter in self.space.values() if isinstance(parameter, Choice)]
        return dict(zip(self.space, next(islice(product(*labels), index, None)), strict=True))

    def config(self, values: Mapping[str, Any]) -> Config:
        """The checked config of one trial. Raises `ConfigError` if `values` and the base do not go together."""
        return load_config(self.base, as_overrides(values))


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """`key=value` for each of `values`: whole sections before the keys inside them."""
    ordered = sorted(values.items(), key=lambda item: item[0].count("."))
    return list(map(format_override, ordered))


def label(value: Any) -> str:
    """A value in one line: text as it is, everything else as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_OTHER_IMAGES = ("", "name", "path", "root", "validation", "split_seed", "binary", "limit")
_ACCURACY = "val_accuracy"
_ABOUT_KEYS = ("unknown key", "no such item", "an empty key")
_OTHER_LOSS = ("", "name", "reduction", "class_weights")


def load_sweep(source: str | Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> Sweep:
    """The checked sweep of a file or of a shipped sweep's name, with `key=value` overrides of its base config.

    `changes` take the place of the file's own keys. Raises `ConfigError` with all problems of sweep and base.
    """
    path = user_path(source)
    if str(source) in sweeps() and not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on long texts
        path = sweep_path(str(source))
    document = _read(path)
    settings = _settings(document, path, changes or {})
    base, problems = _base(document, path, overrides)
    space = {key: parameter for key in _space(document) if (parameter := _parameter(document, key))}
    _check_together(document, space, base)
    _check_keys(document, space, base, base_is_valid=not problems)
    ordered = sorted(document.problems, key=itemgetter(0))
    problems = [ConfigProblem(str(location), format_path(at), message) for location, at, message in ordered] + problems
    if problems or settings is None:
        raise ConfigError(problems)
    return Sweep(settings, base.data, space)


def _read(path: Path) -> Document:
    try:
        document = read_file(path)
    except FileNotFoundError:
        near = nearest(path.stem, sweeps())
        hint = f"; did you mean the shipped sweep '{near}'?" if near else ""
        if path.name in shipped():
            hint = f"; {path} is a config, not a sweep: write a sweep with 'base: {path}' in it"
        document = Document(problems=[Problem(SourceLocation(file=str(path)), (), f"no such file{hint}")])
    if document.data is None:
        raise ConfigError(
            [ConfigProblem(str(location), format_path(at), message) for location, at, message in document.problems]
        )
    return document


def _settings(document: Document, path: Path, changes: Mapping[str, Any]) -> SweepFile | None:
    known = SweepFile.model_fields
    for key in [key for key in document.data if key not in known]:
        near = nearest(key, known)
        hint = f"did you mean '{near}'?" if near else f"known here: {', '.join(known)}"
        if key in Config.model_fields:
            hint = "keys of the config stand under 'base'"
        document.add_problem(document.location_of((key,), at_key=True), (key,), f"unknown key; {hint}")
    data = {"name": run_name(path.stem), **{key: document.data[key] for key in document.data if key in known}}
    try:
        return SweepFile.model_validate({**data, **changes})
    except ValidationError as error:
        document.problems += problems_of(error, document, SweepFile)
        return None


def _base(document: Document, path: Path, overrides: Sequence[str]) -> tuple[Document, list[ConfigProblem]]:
    """The base config as a document of its own, with the overrides in it, and all that is wrong with it."""
    base = document.data.get("base")
    match base:
        case str():
            path_of_base = path.parent / user_path(base)
            if base in shipped() and not path_of_base.is_file():
                path_of_base = shipped_path(base)
            if not path_of_base.exists():
                near = nearest(Path(base).stem, shipped())
                hint = f"; did you mean the shipped config '{near}'?" if near else ""
                document.add_problem(document.location_of(("base",)), ("base",), f"{path_of_base}: no such file{hint}")
                return Document(), []
            found = read_config(path_of_base)
        case dict():
            found = document.below(("base",))
            found.data = {"name": run_name(path.stem), **found.data}
        case _:
            return Document(), []
    for number, override in enumerate(overrides, 1):
        apply_override(found, number, override)
    return found, _problems(found)


def _problems(document: Document) -> list[ConfigProblem]:
    try:
        config_of(document)
    except ConfigError as error:
        return list(error.problems)
    return []


def _space(document: Document) -> list[str]:
    space = document.data.get("space")
    return list(space) if isinstance(space, dict) else []


def _parameter(document: Document, key: str) -> Parameter | None:
    """What `key` of the space may be; None if that is not said rightly, which joins the complaints."""
    path: KeyPath = ("space", key)
    if document.is_reported(path):
        return None
    written = document.below(path)
    kinds = [kind for kind in PARAMETER_TYPES if isinstance(written.data, dict) and kind in written.data]
    if len(kinds) != 1:
        near = nearest(next(iter(written.data), ""), PARAMETER_TYPES) if isinstance(written.data, dict) else None
        hint = f"; did you mean '{near}'?" if near and not kinds else ""
        message = f"needs one of {', '.join(PARAMETER_TYPES)}, as in {{choice: [1, 2]}}{hint}"
        document.add_problem(document.location_of(path), path, message)
        return None
    try:
        return PARAMETER_TYPES[kinds[0]].model_validate(written.data)
    except ValidationError as error:
        found = problems_of(error, written, PARAMETER_TYPES[kinds[0]])
        document.problems += [Problem(location, (*path, *at), message) for location, at, message in found]
        return None


def _check_together(document: Document, space: Mapping[str, Parameter], base: Document) -> None:
    """What goes against itself: a grid over ranges, no validation images, figures that can't be compared."""
    for key, parameter in space.items():
        section, _, name = key.partition(".")
        message = ""
        if document.data.get("sampler") == "grid" and not isinstance(parameter, Choice):
            message = "a grid goes over choice alone; list the values, or take another sampler"
        elif section == "data" and name in _OTHER_IMAGES:
            message = "changes the validation images, so that trials could not be compared; set it in the base"
        elif section == "loss" and name.split(".")[0] in _OTHER_LOSS and document.data.get("objective") != _ACCURACY:
            message = f"losses of different kinds can't be compared; set it in the base, or objective: {_ACCURACY}"
        if message:
            location = document.location_of(("space", key, parameter.kind), at_key=True)
            document.add_problem(location, ("space", *key.split(".")), message)
    data = base.data.get("data") if base.data else None
    if isinstance(data, dict) and data.get("validation") == 0 and "validation" in data:
        message = "data.validation is 0, but a sweep needs validation images to judge by"
        document.add_problem(document.location_of(("base",)), ("base",), message)


def _check_keys(document: Document, space: Mapping[str, Parameter], base: Document, base_is_valid: bool) -> None:
    """Puts each key's bounds or choices into the base; what the config's own check says joins the complaints."""
    if base.data is None:
        return
    for key, parameter in space.items():
        for index, value in enumerate(parameter.samples):
            problems = _found(base, space, key, value, base_is_valid)
            is_key = any(problem.message.startswith(_ABOUT_KEYS) for problem in problems)
            is_whole = not is_key and any(problem.message.startswith("expected a whole number") for problem in problems)
            if is_whole and isinstance(parameter, Uniform | LogUniform):
                low, high = parameter.bounds
                location = document.location_of(("space", key, parameter.kind), at_key=True)
                message = f"takes whole numbers; write {{int: [{low:.0f}, {high:.0f}]}}"
                document.add_problem(location, ("space", *key.split(".")), message)
                break
            at = ("space", key) if is_key else ("space", key, parameter.kind, index)
            for problem in problems:
                location = document.location_of(at, at_key=is_key)
                document.add_problem(location, ("space", *problem.path.split(".")), problem.message)
            if is_key:
                break


def _found(
    base: Document, space: Mapping[str, Parameter], key: str, value: Any, base_is_valid: bool
) -> list[ConfigProblem]:
    """What is wrong with `value` in the base, unless it is right beside some value of another key of its section."""
    found = _trial_problems(base, {key: value}, base_is_valid)
    section, *_ = key.split(".")
    others = [other for other in space if found and other != key and other.split(".")[0] == section]
    path_of_base = ({other: sample, key: value} for other in others for sample in space[other].samples)
    return [] if any(not _trial_problems(base, values, base_is_valid) for values in path_of_base) else found


def _trial_problems(base: Document, values: Mapping[str, Any], base_is_valid: bool) -> list[ConfigProblem]:
    """What is wrong with the base once `values` are in it; of a base that is not sound only what they bring."""
    document = Document(data=deepcopy(base.data))
    for number, override in enumerate(as_overrides(values), 1):
        apply_override(document, number, override)
    return [problem for problem in _problems(document) if base_is_valid or problem.location]


def sweep_items(sweep: Sweep, trials: int) -> Iterator[tuple[str, Any]]:
    """The keys of a file that says all of `sweep`, with the base written into it."""
    for key in SweepFile.model_fields:
        match key:
            case "base":
                yield key, sweep.base
            case "space":
                yield key, {name: parameter.model_dump(mode="json") for name, parameter in sweep.space.items()}
            case "trials":
                yield key, trials
            case _:
                yield key, getattr(sweep.settings, key)
