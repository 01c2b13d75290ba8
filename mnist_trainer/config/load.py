"""A config file and overrides → `Config`, or every problem at once with its place; and back to YAML."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import itemgetter
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mnist_trainer.config.checks import find_problems
from mnist_trainer.config.document import Document, Problem, SourceLocation, format_path, one_line
from mnist_trainer.config.fields import Section
from mnist_trainer.config.outline import keys_of
from mnist_trainer.config.overrides import Override, apply_override, override_texts
from mnist_trainer.config.problems import problems_of
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path
from mnist_trainer.config.wording import nearest
from mnist_trainer.config.yaml_reader import YAML11_BOOLEANS, parse_scalar, read_file
from mnist_trainer.errors import ConfigError, ConfigProblem, UsageError
from mnist_trainer.files import user_path

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, a path, the name of a shipped config, or a mapping as the YAML would be read."""


def load_config(source: ConfigSource, overrides: Iterable[Override] = ()) -> Config:
    """The checked config of `source`, with overrides: `key.sub=value`, or mappings.

    Raises `ConfigError` with all problems, in the order in which they stand in the file, then in the overrides, and
    `UsageError` for other types.
    """
    _require_source(source)
    texts = override_texts(overrides)
    match source:
        case Config():
            document = Document(data=source.model_dump(mode="json"))
        case Mapping():
            document = Document(data=_plain_copy(source))
        case _:
            document = read_config(source)
    for number, override in enumerate(texts, 1):
        apply_override(document, number, override)
    return source if isinstance(source, Config) and not texts else config_of(document)


def _require_source(source: object) -> None:
    if not isinstance(source, Config | Mapping | str | PathLike):
        shown = one_line(repr(source))
        raise UsageError(f"A config is a file, the name of a shipped one, a mapping or a Config, not {shown}.")


def config_of(document: Document) -> Config:
    """The checked config that a document holds. Raises `ConfigError` with all problems, its complaints among them."""
    config = _validate(document)
    if config is None or document.problems:
        ordered = sorted(document.problems, key=itemgetter(0))
        raise ConfigError(
            [ConfigProblem(str(location), format_path(path), message) for location, path, message in ordered]
        )
    return config


def dump_config(config: Config) -> str:
    """The YAML of a config with every default written out; loading it gives an equal config."""
    return dump_plain(config)


def dump_plain(data: Section | Mapping[str, Any]) -> str:
    """The YAML of a section, or of plain data."""
    return yaml.dump(_tidy(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_config(source: str | PathLike[str]) -> Document:
    """The document of a config file or of a shipped config, whatever may be wrong with it; named after its file."""
    path = user_path(source)
    if not os.path.isfile(path) and str(source) in shipped():  # noqa: PTH113 - Path.is_file raises where it may not look
        path = shipped_path(str(source))
    try:
        document = read_file(path)
    except FileNotFoundError:
        near = nearest(path.stem, shipped())
        hint = f"; did you mean the shipped config '{near}'?" if near else ""
        return Document(problems=[Problem(SourceLocation(file=str(path)), (), f"no such file{hint}")])
    if document.data is not None:
        document.data.setdefault("name", run_name(path.stem))
    return document


def run_name(stem: str) -> str:
    """A file's name as the schema allows it for runs."""
    kept = "".join(char if char.isalpha() or char.isdecimal() or char in "_.+-" else " " for char in stem)
    return "-".join(kept.split()).lstrip("-.+")[:100] or "run"


def _validate(document: Document) -> Config | None:
    """The config, unless its schema is broken; complaints about both join the document's."""
    if document.data is None:
        return None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        document.problems += problems_of(error, document)
        return None
    for path, text in find_problems(config):
        document.add_problem(document.location_of(path, at_key=len(path) == 1), path, text)
    return config


def _plain_copy(value: Any) -> Any:
    """A copy as YAML would have given it: text as keys, lists, dicts."""
    match value:
        case Mapping():
            keys = (str(key).lower() if isinstance(key, bool) else str(key) for key in value)
            return dict(zip(keys, map(_plain_copy, value.values()), strict=True))
        case PathLike():
            return fspath(value)
        case list() | tuple():
            return [_plain_copy(item) for item in value]
        case _:
            return value


class _InlineMapping(dict[str, Any]):
    """Written as `{name: relu}`."""


class _InlineList(list[Any]):
    """Written as `[64, 64]`."""


def _tidy(value: Any, depth: int = 0) -> Any:
    """Plain data in the schema's order, a section's name first; what fits on a line is marked for it."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        data = {key: _tidy(getattr(value, key), depth + 1) for key in keys_of(type(value))}
        data = {key: item for key, item in data.items() if item is not None or fields[key].default is not None}
        return _inline_if_short(data) if depth > 1 else data
    if isinstance(value, Mapping):
        data = {key: _tidy(item, depth + 1) for key, item in value.items()}
        return _inline_if_short(data) if depth > 1 else data
    if isinstance(value, tuple | list):
        items = [_tidy(item, depth + 1) for item in value]
        return items if any(isinstance(item, dict) for item in items) else _InlineList(items)
    return value


def _inline_if_short(data: dict[str, Any]) -> dict[str, Any]:
    return _InlineMapping(data) if all(map(_is_inline, data.values())) else data


def _is_inline(value: Any) -> bool:
    return isinstance(value, _InlineMapping | _InlineList) or not isinstance(value, dict | list)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `yaml_reader` would take for something else."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = isinstance(parse_scalar(text), str) and text.lower() not in YAML11_BOOLEANS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else "'")


def _write_mapping(dumper: yaml.SafeDumper, data: _InlineMapping) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)


def _write_list(dumper: yaml.SafeDumper, data: _InlineList) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(_InlineMapping, _write_mapping)
_Dumper.add_representer(_InlineList, _write_list)
