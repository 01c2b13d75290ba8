r"""Overrides, `key.sub=value`: they are put into the document before it is checked.

A value is YAML. The value of a key that takes text is taken literally, with every `#`, `\` and digit.

In which keys two configs differ.

A config file and overrides → `Config`, or every problem at once with its place; and back to YAML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from mnist_trainer.config.checks import find_problems
from mnist_trainer.config.fields import Section
from mnist_trainer.config.messages import (
    discriminator_key,
    field_at,
    keys_of,
    nearest,
    problems_of,
    short_form_at,
    types_at,
)
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path
from mnist_trainer.config.yaml_reader import (
    MAX_DEPTH,
    YAML11_BOOLEANS,
    Document,
    KeyPath,
    Problem,
    SourceLocation,
    format_path,
    parse_scalar,
    read_file,
    read_text,
)
from mnist_trainer.errors import ConfigError, ConfigProblem, UsageError, one_line
from mnist_trainer.files import user_path

Override = str | Mapping[str, Any]
"""`optimizer.lr=0.01`, or in Python `{"optimizer": {"lr": 0.01}}`."""


def override_texts(overrides: Iterable[Override]) -> list[str]:
    """Return overrides as text; a mapping becomes one for each of its values. Raises `UsageError` for other types."""
    given = [overrides] if isinstance(overrides, str | Mapping) else list(overrides)
    if wrong := [each for each in given if not isinstance(each, str | Mapping)]:
        forms = "'training.epochs=3' or {'training': {'epochs': 3}}"
        raise UsageError(f"A change of a config is {forms}, not {one_line(repr(wrong[0]))}.")
    return [
        text for each in given for text in ([each] if isinstance(each, str) else map(format_override, _leaves(each)))
    ]


def format_override(change: tuple[str, Any]) -> str:
    """Return `key=value` for a key and its value, which may be text, a number, a list and so on."""
    key, value = change
    if isinstance(value, str | PathLike):
        return f"{key}='" + str(fspath(value)).replace("'", "''") + "'"
    try:
        return f"{key}={json.dumps(value, ensure_ascii=False, default=fspath)}"
    except (TypeError, ValueError):
        raise UsageError(f"{key} can't be {one_line(repr(value))}: a config has text, numbers, lists …") from None


def _leaves(changes: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[str, Any]]:
    """Yield keys and values. A section with its name, as `{"name": "sgd"}`, is one value: it replaces the section."""
    for written, value in changes.items():
        path = (*above, *str(written).split("."))
        sections = [kind for kind in types_at(path) if kind is not NoneType]
        is_part = bool(sections) and all(isinstance(kind, type) and issubclass(kind, Section) for kind in sections)
        if isinstance(value, Mapping) and value and is_part and discriminator_key(sections[0]) not in value:
            yield from _leaves(value, path)
        else:
            yield ".".join(map(str, path)), value


def apply_override(document: Document, number: int, text: str) -> None:
    """Write override `number` (from 1) into `document`; what is wrong with it joins the document's complaints."""
    location = SourceLocation(override=number)
    name, equals, written = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals:
        document.add_problem(location, (), f"no '=' in '{one_line(text)}'; write key=value, as in optimizer.lr=0.01")
    elif not all(parts):
        document.add_problem(location, (), f"an empty key in '{one_line(text)}'; write key=value or section.key=value")
    elif len(parts) > MAX_DEPTH:
        document.add_problem(location, (), f"nested too deeply for a config: '{one_line(text)}'")
    elif not written.strip():
        document.add_problem(location, tuple(parts), "no value after '='; null switches a part off")
    else:
        read = _read(written.strip(), tuple(parts), location)
        path = tuple(parts) if document.data is None else _write(document, parts, read.data, location)
        for problem in read.problems:
            document.add_problem(location, (*path, *problem.path), problem.message)
        document.reported |= {(*path, *reported) for reported in read.reported}


def _read(text: str, path: KeyPath, location: SourceLocation) -> Document:
    """Return the value `text` of an override of the key at `path`."""
    types = types_at(path)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if str in types:
        return Document(data=_unquoted(text) if is_quoted else _text_value(text, types))
    read = read_text(text, location)
    if "#" in text and not is_quoted and not isinstance(read.data, dict | list):
        read.data = text  # YAML takes what is behind ' #' for a comment
    return read


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]


def _text_value(text: str, types: tuple[Any, ...]) -> Any:
    if NoneType in types and text.lower() == "null":
        return None
    number = parse_scalar(text) if int in types and len(text) < 20 else None
    return number if type(number) is int else text


def _write(document: Document, parts: list[str], value: Any, location: SourceLocation) -> KeyPath:
    """Put `value` at its key, making the sections on the way; the path it went to."""
    node = document.data
    path: KeyPath = ()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(node, list) and part not in map(str, range(len(node))):
            items = f"its items are 0 to {len(node) - 1}" if node else "the list is empty"
            document.add_problem(location, (*path, part), f"no such item; {items}")
            return (*path, part)
        key = int(part) if isinstance(node, list) else part
        path = (*path, key)
        old = node.get(key) if isinstance(node, dict) else node[key]
        opened = value if following is None else _as_container(old, path, following)
        node[key] = _new_section(path, following) if opened is None and following is not None else opened
        node = node[key]
        if following is None or opened is None:
            _mark_overridden(document, path, location)
    return path


def _as_container(old: Any, path: KeyPath, key: str) -> Any:
    """`old` in a form that can hold `key`, short forms written out; None where there is nothing that can."""
    if isinstance(old, list) or (isinstance(old, dict) and key in old):
        return old
    short_form = short_form_at(path)
    full = short_form.full_form(old) if short_form else old
    return full if isinstance(full, dict) else None


def _new_section(path: KeyPath, key: str) -> dict[str, Any]:
    """A new section for `key`, with the name of the default one: `optimizer.lr` alone means adam's."""
    field, short_form = field_at(path), short_form_at(path)
    is_short = short_form is not None and key in (short_form.value_keys or ())
    if field is None or is_short or not isinstance(field.default, Section):
        return {}
    name = discriminator_key(type(field.default))
    return {name: getattr(field.default, name)} if name else {}


def _mark_overridden(document: Document, path: KeyPath, location: SourceLocation) -> None:
    """From now on everything at `path` and below it came from `location`."""
    length = len(path)
    document.locations = {at: both for at, both in document.locations.items() if at[:length] != path}
    document.locations[path] = (location, location)
    document.reported = {at for at in document.reported if at[:length] != path}


class Difference(NamedTuple):
    """A key, `optimizer.lr`, and its two values; None where there is none."""

    key: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.key} is {_shown(self.first)} there and {_shown(self.second)} here"


def differences(first: Mapping[str, Any], second: Mapping[str, Any], above: str = "") -> Iterator[Difference]:
    """The keys whose values differ; of configs as plain mappings, `model_dump(mode="json")`."""
    for name in dict.fromkeys([*first, *second]):
        one, other, key = first.get(name), second.get(name), f"{above}{name}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{key}.")
        elif one != other:
            yield Difference(key, one, other)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


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
