"""Overrides, `key.sub=value`: they are put into the document before it is checked.

A value is YAML. The value of a key that takes text is taken literally, with every `#`, `\\` and digit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from types import NoneType
from typing import Any

from mnist_trainer.config.document import Document, Path, Place, printable
from mnist_trainer.config.fields import Section
from mnist_trainer.config.outline import field_at, kinds_at, naming_key, short_form_at
from mnist_trainer.config.yaml_composer import MAX_DEPTH
from mnist_trainer.config.yaml_reader import read_plain, read_text
from mnist_trainer.errors import UsageError

Override = str | Mapping[str, Any]
"""`optimizer.lr=0.01`, or in Python `{"optimizer": {"lr": 0.01}}`."""


def as_texts(overrides: Iterable[Override]) -> list[str]:
    """Return overrides as text; a mapping becomes one for each of its values. Raises `UsageError` for other types."""
    given = [overrides] if isinstance(overrides, str | Mapping) else list(overrides)
    if wrong := [each for each in given if not isinstance(each, str | Mapping)]:
        forms = "'training.epochs=3' or {'training': {'epochs': 3}}"
        raise UsageError(f"A change of a config is {forms}, not {printable(repr(wrong[0]))}.")
    return [text for each in given for text in ([each] if isinstance(each, str) else map(as_text, _leaves(each)))]


def as_text(change: tuple[str, Any]) -> str:
    """Return `key=value` for a key and its value, which may be text, a number, a list and so on."""
    key, value = change
    if isinstance(value, str | PathLike):
        return f"{key}='" + str(fspath(value)).replace("'", "''") + "'"
    try:
        return f"{key}={json.dumps(value, ensure_ascii=False, default=fspath)}"
    except (TypeError, ValueError):
        raise UsageError(f"{key} can't be {printable(repr(value))}: a config has text, numbers, lists …") from None


def _leaves(changes: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[str, Any]]:
    """Yield keys and values. A section with its name, as `{"name": "sgd"}`, is one value: it replaces the section."""
    for written, value in changes.items():
        path = (*above, *str(written).split("."))
        sections = [kind for kind in kinds_at(path) if kind is not NoneType]
        is_part = bool(sections) and all(isinstance(kind, type) and issubclass(kind, Section) for kind in sections)
        if isinstance(value, Mapping) and value and is_part and naming_key(sections[0]) not in value:
            yield from _leaves(value, path)
        else:
            yield ".".join(map(str, path)), value


def apply_override(document: Document, number: int, text: str) -> None:
    """Write override `number` (from 1) into `document`; what is wrong with it joins the document's complaints."""
    place = Place(override=number)
    name, equals, written = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals:
        document.complain(place, (), f"no '=' in '{printable(text)}'; write key=value, as in optimizer.lr=0.01")
    elif not all(parts):
        document.complain(place, (), f"an empty key in '{printable(text)}'; write key=value or section.key=value")
    elif len(parts) > MAX_DEPTH:
        document.complain(place, (), f"nested too deeply for a config: '{printable(text)}'")
    elif not written.strip():
        document.complain(place, tuple(parts), "no value after '='; null switches a part off")
    else:
        read = _read(written.strip(), tuple(parts), place)
        path = tuple(parts) if document.data is None else _write(document, parts, read.data, place)
        for complaint in read.complaints:
            document.complain(place, (*path, *complaint.path), complaint.message)
        document.broken |= {(*path, *broken) for broken in read.broken}


def _read(text: str, path: Path, place: Place) -> Document:
    """Return the value `text` of an override of the key at `path`."""
    kinds = kinds_at(path)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if str in kinds:
        return Document(data=_unquoted(text) if is_quoted else _as_text(text, kinds))
    read = read_text(text, place)
    if "#" in text and not is_quoted and not isinstance(read.data, dict | list):
        read.data = text  # YAML takes what is behind ' #' for a comment
    return read


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]


def _as_text(text: str, kinds: tuple[Any, ...]) -> Any:
    if NoneType in kinds and text.lower() == "null":
        return None
    number = read_plain(text) if int in kinds and len(text) < 20 else None
    return number if type(number) is int else text


def _write(document: Document, parts: list[str], value: Any, place: Place) -> Path:
    """Put `value` at its key, making the sections on the way; the path it went to."""
    node = document.data
    path: Path = ()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(node, list) and part not in map(str, range(len(node))):
            items = f"its items are 0 to {len(node) - 1}" if node else "the list is empty"
            document.complain(place, (*path, part), f"no such item; {items}")
            return (*path, part)
        key = int(part) if isinstance(node, list) else part
        path = (*path, key)
        old = node.get(key) if isinstance(node, dict) else node[key]
        opened = value if following is None else _opened(old, path, following)
        node[key] = _made(path, following) if opened is None and following is not None else opened
        node = node[key]
        if following is None or opened is None:
            _claim(document, path, place)
    return path


def _opened(old: Any, path: Path, key: str) -> Any:
    """`old` in a form that can hold `key`, short forms written out; None where there is nothing that can."""
    if isinstance(old, list) or (isinstance(old, dict) and key in old):
        return old
    short_form = short_form_at(path)
    full = short_form.spread(old) if short_form else old
    return full if isinstance(full, dict) else None


def _made(path: Path, key: str) -> dict[str, Any]:
    """A new section for `key`, with the name of the default one: `optimizer.lr` alone means adam's."""
    field, short_form = field_at(path), short_form_at(path)
    is_short = short_form is not None and key in (short_form.value_keys or ())
    if field is None or is_short or not isinstance(field.default, Section):
        return {}
    name = naming_key(type(field.default))
    return {name: getattr(field.default, name)} if name else {}


def _claim(document: Document, path: Path, place: Place) -> None:
    """From now on everything at `path` and below it came from `place`."""
    length = len(path)
    document.places = {at: both for at, both in document.places.items() if at[:length] != path}
    document.places[path] = (place, place)
    document.broken = {at for at in document.broken if at[:length] != path}
