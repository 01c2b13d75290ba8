"""Overrides, `key.sub=value`: they are put into the document before it is checked.

A value is YAML. The value of a key that takes text is taken literally, with every `#`, `\\` and digit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from types import NoneType
from typing import Any

from mnist_trainer.config.document import Document, KeyPath, SourceLocation, one_line
from mnist_trainer.config.fields import Section
from mnist_trainer.config.outline import discriminator_key, field_at, short_form_at, types_at
from mnist_trainer.config.yaml_composer import MAX_DEPTH
from mnist_trainer.config.yaml_reader import parse_scalar, read_text
from mnist_trainer.errors import UsageError

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
