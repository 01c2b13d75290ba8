"""`key.sub=value` behind a command: the value is YAML, and goes where the key says before anything is checked."""

from __future__ import annotations

from typing import Any

from mnist_trainer.config.outline import Path, short_form_at
from mnist_trainer.config.yaml_reader import Complaint, Document, Place, printable, read_text


def apply_override(document: Document, number: int, text: str) -> None:
    """Write override `number` (from 1) into `document`; what is wrong with it joins the document's complaints."""
    place = Place(override=number)
    name, equals, written = text.partition("=")
    parts = tuple(part.strip() for part in name.split("."))
    if not equals:
        message = f"no '=' in '{printable(text)}'; write key=value, as in optimizer.lr=0.01"
        document.complaints.append(Complaint(place, (), message))
    elif not all(parts):
        message = f"'{printable(text)}' has an empty key; write key=value or section.key=value"
        document.complaints.append(Complaint(place, (), message))
    elif not written.strip():
        document.complaints.append(Complaint(place, parts, "no value after '='; null switches a part off"))
    else:
        read = read_text(written, place)
        path = _write(document, parts, read.data, place) if isinstance(document.data, dict) else parts
        document.complaints += [complaint._replace(path=(*path, *complaint.path)) for complaint in read.complaints]
        document.broken |= {(*path, *broken) for broken in read.broken}


def _write(document: Document, parts: Path, value: Any, place: Place) -> Path:
    """Put `value` at its key, making the sections on the way; the path it went to."""
    node: Any = document.data
    path: Path = ()
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part not in map(str, range(len(node))):
            items = f"0 to {len(node) - 1}" if node else "none, the list is empty"
            document.complaints.append(Complaint(place, (*path, part), f"no such item; there are {items}"))
            return (*path, part)
        key = int(part) if isinstance(node, list) else part
        path = (*path, key)
        is_last = depth == len(parts) - 1
        old = node[key] if isinstance(node, list) else node.get(key)
        node[key] = value if is_last else _opened(old, path, parts[depth + 1])
        node = node[key]
        if is_last or not node:
            _claim(document, path, place)
    return path


def _opened(old: Any, path: Path, key: str | int) -> Any:
    """`old` as something that can hold `key`: a short form is written out, what holds no keys gives way."""
    if isinstance(old, list) or (isinstance(old, dict) and key in old):
        return old
    short_form = short_form_at(path)
    full = short_form.spread(old) if short_form else old
    return full if isinstance(full, dict) else {}


def _claim(document: Document, path: Path, place: Place) -> None:
    """From now on everything at `path` and below it came from `place`."""
    length = len(path)
    document.places = {at: both for at, both in document.places.items() if at[:length] != path}
    document.places[path] = (place, place)
    document.broken = {at for at in document.broken if at[:length] != path}
