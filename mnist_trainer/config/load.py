"""Load a config (a file, a shipped one or a mapping, with overrides) as a checked `Config`; write a config as YAML.

Overrides, `key.sub=value`, are written into the document before it is checked. Their values are YAML, except that the
value of a key that takes text is used literally, with every `#`, `\\` and digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, cast

import yaml
from pydantic import ValidationError

from mnist_trainer.config.checks import find_problems
from mnist_trainer.config.fields import Section
from mnist_trainer.config.messages import (
    discriminator_key,
    field_at,
    keys_of,
    near_hint,
    problems_of,
    short_form_at,
    types_at,
)
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped, shipped_path
from mnist_trainer.config.yaml_edit import edit_values
from mnist_trainer.config.yaml_reader import (
    MAX_DEPTH,
    YAML11_BOOLEANS,
    Document,
    KeyPath,
    Problem,
    SourceLocation,
    parse_scalar,
    read_file,
    read_mapping,
    read_text,
)
from mnist_trainer.errors import UsageError, one_line
from mnist_trainer.files import user_path

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, a path, the name of a shipped config, or a mapping with the keys of the YAML."""


def load_config(source: ConfigSource, overrides: Iterable[Override] = ()) -> Config:
    """Return the checked config of `source` with `overrides` applied: `key.sub=value`, or mappings.

    Raises `ConfigError` with all problems, those of the file first, and `UsageError` for other types.
    """
    texts, given = override_texts(overrides), cast(object, source)
    match given:
        case Config() | Mapping():
            document = Document(data=_plain_data(given))
        case str() | PathLike():
            document = read_config(given)
        case _:
            shown = one_line(repr(given))
            raise UsageError(f"A config is a file, the name of a shipped one, a mapping or a Config, not {shown}.")
    for number, override in enumerate(texts, 1):
        apply_override(document, number, override)
    return source if isinstance(source, Config) and not texts else config_of(document)


def load_text(text: str, overrides: Iterable[Override] = ()) -> Config:
    """Return the checked config of a YAML text with `overrides` applied.

    Raises `ConfigError` with all problems; the locations in the text are `:line:column`.
    """
    document = read_mapping(text)
    for number, override in enumerate(override_texts(overrides), 1):
        apply_override(document, number, override)
    return config_of(document)


def edit_text(text: str, override: str) -> str | None:
    """Return a YAML text with an override written into it; its comments stay, but for those of what is replaced.

    Returns None if the text or the value of the override can't be read. The config itself is not checked.
    """
    before, document = read_mapping(text), read_mapping(text)
    if document.data is None:
        return None
    apply_override(document, 1, override)
    if len(document.problems) > len(before.problems):
        return None
    edited = edit_values(text, before.data, document.data)
    return edited if read_mapping(edited).data == document.data else dump_config(document.data)


TAGS = ("name", "architecture", "type")
"""The keys that choose what kind of section they are in."""


def _plain_data(value: Any, has_defaults: bool = True) -> Any:
    """Return a copy that consists of dicts with text as keys, lists, and plain values, as read from YAML.

    Sections are in the schema's order, their name first, without the keys that are not set; without `has_defaults`
    also without the keys that have their default, but for names; a section that has nothing else is kept whole.
    """
    match value:
        case Section():
            fields = type(value).model_fields
            items = [(key, getattr(value, key)) for key in keys_of(type(value))]
            if not has_defaults:
                items = [pair for pair in items if pair[0] in TAGS or pair[1] != fields[pair[0]].default] or items
            return {key: _plain_data(item, has_defaults) for key, item in items if item is not None}
        case Mapping():
            keys = (str(key).lower() if isinstance(key, bool) else str(key) for key in value)
            return dict(zip(keys, (_plain_data(item, has_defaults) for item in value.values()), strict=True))
        case PathLike():
            return fspath(value)
        case list() | tuple():
            return [_plain_data(item, has_defaults) for item in value]
        case _:
            return value


def read_config(source: str | PathLike[str]) -> Document:
    """Return the document of a config file or a shipped config, with its problems. A run is named after its file."""
    path = user_path(source)
    if not os.path.isfile(path) and str(source) in shipped():  # noqa: PTH113 - Path.is_file raises without permission
        path = shipped_path(str(source))
    try:
        document = read_file(path)
    except FileNotFoundError:
        hint = near_hint(path.stem, shipped(), "the shipped config ")
        return Document(problems=[Problem(SourceLocation(file=str(path)), (), f"no such file{hint}")])
    if document.data is not None:
        document.data.setdefault("name", run_name(path.stem))
    return document


def run_name(stem: str) -> str:
    """Return a file's name with only the characters that the schema allows for runs."""
    allowed = "".join(char if char.isalpha() or char.isdecimal() or char in "_.+-" else " " for char in stem)
    return "-".join(allowed.split()).lstrip("-.+")[:100] or "run"


def config_of(document: Document) -> Config:
    """Return the checked config of a document. Raises `ConfigError` with all problems, the document's included."""
    config = None
    try:
        if document.data is not None:
            config = Config.model_validate(document.data)
    except ValidationError as error:
        document.problems += problems_of(error, document)
    for path, text in find_problems(config) if config else ():
        document.add_problem(document.location_of(path, at_key=len(path) == 1), path, text)
    if config is None or document.problems:
        raise document.error()
    return config


def dump_config(data: Section | Mapping[str, Any]) -> str:
    """Return the YAML of plain data, or of a config with all defaults; loading it returns an equal config."""
    return yaml.dump(_plain_data(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def changed_keys(config: Config) -> dict[str, Any]:
    """Return the keys of a config that differ from their defaults, and all names; loading it gives an equal config."""
    changed: dict[str, Any] = _plain_data(config, has_defaults=False)
    return changed


class _Dumper(yaml.SafeDumper):
    """Writes each section as a block and each of its values on one line, without anchors."""

    depth = 0

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: repeated values are written out."""
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Return a node that is written on one line if it is inside a section and all its values fit on one line."""
        self.depth += 1
        node = super().represent_mapping(tag, mapping, flow_style=False)
        self.depth -= 1
        node.flow_style = self.depth > 1 and all(map(_is_inline, (value for _, value in node.value)))
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Return a node that is written on one line unless it contains mappings."""
        node = super().represent_sequence(tag, sequence, flow_style=False)
        node.flow_style = not any(isinstance(item, yaml.MappingNode) for item in node.value)
        return node


def _is_inline(node: Any) -> bool:
    """Return whether `node` is written on one line."""
    return isinstance(node, yaml.ScalarNode) or bool(node.flow_style)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Return the node of a text, in quotes if it would be read as another value."""
    is_plain = isinstance(parse_scalar(text), str) and text.lower() not in YAML11_BOOLEANS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else "'")


_Dumper.add_representer(str, _represent_text)


Override = str | Mapping[str, Any]
"""`optimizer.lr=0.01`, or in Python `{"optimizer": {"lr": 0.01}}`."""


def override_texts(overrides: Iterable[Override]) -> list[str]:
    """Return overrides as text; a mapping becomes one for each of its values. Raises `UsageError` for other types."""
    texts: list[str] = []
    for override in [overrides] if isinstance(overrides, str | Mapping) else overrides:
        match cast(object, override):
            case str(text):
                texts.append(text)
            case Mapping() as changes:
                texts += map(format_override, _leaves(changes))
            case other:
                forms = "'training.epochs=3' or {'training': {'epochs': 3}}"
                raise UsageError(f"A change of a config is {forms}, not {one_line(repr(other))}.")
    return texts


def format_override(change: tuple[str, Any]) -> str:
    """Return `key=value` for a key and its value, which may be text, a number, a list and so on."""
    key, value = change
    if isinstance(value, str | PathLike):
        return f"{key}='" + str(fspath(value)).replace("'", "''") + "'"
    try:
        return f"{key}={json.dumps(value, ensure_ascii=False, default=fspath)}"
    except (TypeError, ValueError):
        raise UsageError(f"{key} can't be {one_line(repr(value))}: a config has text, numbers, lists …") from None


def _leaves(changes: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[tuple[str, Any]]:
    """Yield keys and values. A section with a name, as `{"name": "sgd"}`, is one value, which replaces the section."""
    for written, value in changes.items():
        path = (*prefix, *str(written).split("."))
        sections = [kind for kind in types_at(path) if kind is not NoneType]
        is_part = bool(sections) and all(isinstance(kind, type) and issubclass(kind, Section) for kind in sections)
        if isinstance(value, Mapping) and value and is_part and discriminator_key(sections[0]) not in value:
            yield from _leaves(value, path)
        else:
            yield ".".join(map(str, path)), value


def apply_override(document: Document, number: int, text: str) -> None:
    """Write override `number` (from 1) into `document`, and add its problems."""
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
        read = _parse_value(written.strip(), types_at(tuple(parts)), location)
        path = tuple(parts) if document.data is None else _set_value(document, parts, read.data, location)
        for problem in read.problems:
            document.add_problem(location, (*path, *problem.path), problem.message)
        document.reported |= {(*path, *reported) for reported in read.reported}


def _parse_value(text: str, types: tuple[Any, ...], location: SourceLocation) -> Document:
    """Return the value of an override for a key that takes `types`."""
    quote = text[0] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else ""
    if str in types and quote:
        return Document(data=text[1:-1].replace("''", "'") if quote == "'" else text[1:-1])
    if str in types:
        value = parse_scalar(text) if len(text) < 20 else text
        is_other = (int in types and type(value) is int) or (NoneType in types and text.lower() == "null")
        return Document(data=value if is_other else text)
    read = read_text(text, location)
    if "#" in text and not quote and not isinstance(read.data, dict | list):
        read.data = text  # in YAML, ' #' would start a comment
    return read


def _set_value(document: Document, parts: list[str], value: Any, location: SourceLocation) -> KeyPath:
    """Set `value` at its key and create missing sections. Return the path of the value or of the problem."""
    node = document.data
    path: KeyPath = ()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(node, list) and part not in map(str, range(len(node))):
            items = f"its items are 0 to {len(node) - 1}" if node else "the list is empty"
            document.add_problem(location, (*path, part), f"no such item; {items}")
            return (*path, part)
        key: Any = int(part) if isinstance(node, list) else part
        path = (*path, key)
        old = node.get(key) if isinstance(node, dict) else node[key]
        inner = None if following is None else _as_container(old, path, following)
        if following is None or inner is None:
            _set_locations(document, path, location)
            inner = value if following is None else _new_section(path, following)
        node[key] = node = inner
    return path


def _as_container(old: Any, path: KeyPath, key: str) -> Any:
    """Return `old` as a list or mapping that can contain `key`, with short forms expanded; None if it can't."""
    if isinstance(old, list) or (isinstance(old, dict) and key in old):
        return old
    short_form = short_form_at(path)
    full = short_form.full_form(old) if short_form else old
    return full if isinstance(full, dict) else None


def _new_section(path: KeyPath, key: str) -> dict[str, Any]:
    """Return a new section for `key`, with the name of the default section: `optimizer.lr` alone is that of adam."""
    field, short_form = field_at(path), short_form_at(path)
    if field is None or not isinstance(field.default, Section) or (short_form and key in short_form.value_keys):
        return {}
    name = discriminator_key(type(field.default))
    return {name: getattr(field.default, name)} if name else {}


def _set_locations(document: Document, path: KeyPath, location: SourceLocation) -> None:
    """Give `location` to everything at `path` and below."""
    length = len(path)
    document.locations = {old: pair for old, pair in document.locations.items() if old[:length] != path}
    document.locations[path] = (location, location)
    document.reported = {old for old in document.reported if old[:length] != path}


class Change(NamedTuple):
    """A key whose value differs from that of another config, and the value there; its default if it is not there."""

    key: str
    value: Any
    before: Any


def changes(base: Section, config: Section, prefix: str = "") -> Iterator[Change]:
    """Yield the keys and values that turn `base` into `config` if they are applied in this order, as plain data."""
    for key in keys_of(type(config)):
        old, new, path = getattr(base, key), getattr(config, key), f"{prefix}{key}"
        if old == new:
            continue
        if not isinstance(new, Section):
            yield Change(path, _plain_data(new), _plain_data(old))
        elif type(old) is type(new):
            yield from changes(old, new, f"{path}.")
        else:
            fields, keys = type(new).model_fields, _plain_data(new, has_defaults=False)
            yield Change(path, keys.pop(discriminator_key(type(new)), {}), _plain_data(old, has_defaults=False))
            for inner, value in keys.items():
                default = value if fields[inner].is_required() else _plain_data(fields[inner].default)
                yield Change(f"{path}.{inner}", value, default)


class Difference(NamedTuple):
    """A key, such as `optimizer.lr`, and its two values; None if it is not set."""

    key: str
    first: Any
    second: Any

    def __str__(self) -> str:
        first, second = ("not set" if value is None else value for value in (self.first, self.second))
        return f"{self.key} is {first} there and {second} here"


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Yield the keys whose values differ, of configs as plain mappings (`model_dump(mode="json")`)."""
    for name in dict.fromkeys([*first, *second]):
        one, other, key = first.get(name), second.get(name), f"{prefix}{name}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{key}.")
        elif one != other:
            yield Difference(key, one, other)
