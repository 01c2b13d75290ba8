"""A sweep's file and overrides of its base → `Sweep`, or every problem at once with its place; and back to YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from operator import itemgetter
from pathlib import KeyPath as Path
from typing import Any

from pydantic import ValidationError

from mnist_trainer.config.document import Document, KeyPath, Problem, SourceLocation, format_path
from mnist_trainer.config.load import config_of, read_config, run_name
from mnist_trainer.config.overrides import apply_override
from mnist_trainer.config.problems import problems_of
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path, sweep_path, sweeps
from mnist_trainer.config.sweep import (
    PARAMETER_TYPES,
    Choice,
    LogUniform,
    Parameter,
    Sweep,
    SweepFile,
    Uniform,
    as_overrides,
)
from mnist_trainer.config.wording import nearest
from mnist_trainer.config.yaml_reader import read_file
from mnist_trainer.errors import ConfigError, ConfigProblem
from mnist_trainer.files import user_path

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
