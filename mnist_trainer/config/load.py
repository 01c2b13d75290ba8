"""From a config file, a shipped config or a mapping, and overrides, to a checked `Config`; and back to YAML.

Overrides, `key.sub=value`, are written into the document before it is checked. Their values are YAML, but the value of
a key that takes text is taken literally, with every `#`, `\\` and digit.
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
    parse_scalar,
    read_file,
    read_text,
)
from mnist_trainer.errors import UsageError, one_line
from mnist_trainer.files import user_path

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, a path, the name of a shipped config, or a mapping with the keys of the YAML."""


def load_config(source: ConfigSource, overrides: Iterable[Override] = ()) -> Config:
    """Return the checked config of `source`, with overrides: `key.sub=value`, or mappings.

    Raises `ConfigError` with all problems, in the order of the file and then of the overrides, and `UsageError` for
    other types.
    """
    texts, given = override_texts(overrides), cast(object, source)
    match given:
        case Config():
            document = Document(data=given.model_dump(mode="json"))
        case Mapping():
            document = Document(data=_plain_copy(given))
        case str() | PathLike():
            document = read_config(given)
        case _:
            shown = one_line(repr(given))
            raise UsageError(f"A config is a file, the name of a shipped one, a mapping or a Config, not {shown}.")
    for number, override in enumerate(texts, 1):
        apply_override(document, number, override)
    return source if isinstance(source, Config) and not texts else config_of(document)


def _plain_copy(value: Any) -> Any:
    """Return a copy as YAML would have given it: text as keys, lists, dicts."""
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


def read_config(source: str | PathLike[str]) -> Document:
    """Return the document of a config file or a shipped config, with its problems. A run is named after its file."""
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
    """Return a file's name with only the characters that the schema allows for runs."""
    kept = "".join(char if char.isalpha() or char.isdecimal() or char in "_.+-" else " " for char in stem)
    return "-".join(kept.split()).lstrip("-.+")[:100] or "run"


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
    """Return the YAML of a config with every default written out, or of plain data; loading it gives an equal one."""
    return yaml.dump(_plain_data(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _plain_data(value: Any) -> Any:
    """Return plain data in the schema's order, a section's name first, without the keys that are not set."""
    match value:
        case Section():
            items = ((key, getattr(value, key)) for key in keys_of(type(value)))
            return {key: _plain_data(item) for key, item in items if item is not None}
        case Mapping():
            return {key: _plain_data(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain_data(item) for item in value]
        case _:
            return value


class _Dumper(yaml.SafeDumper):
    """Writes sections as blocks and what they hold on a line, without anchors."""

    depth = 0

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: repeated values are written out."""
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Return a node of one line, if it is within a section and its values are of one line each."""
        self.depth += 1
        node = super().represent_mapping(tag, mapping, flow_style=False)
        self.depth -= 1
        node.flow_style = self.depth > 1 and all(map(_is_inline, (value for _, value in node.value)))
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Return a node of one line, unless it holds mappings."""
        node = super().represent_sequence(tag, sequence, flow_style=False)
        node.flow_style = not any(isinstance(item, yaml.MappingNode) for item in node.value)
        return node


def _is_inline(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) or bool(node.flow_style)


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = isinstance(parse_scalar(text), str) and text.lower() not in YAML11_BOOLEANS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else "'")


_Dumper.add_representer(str, _write_text)


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
