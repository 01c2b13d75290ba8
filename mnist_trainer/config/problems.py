"""Pydantic's errors → complaints: one for each mistake, with its place, what was expected, what was got, how to mend it.

Pydantic reports each branch of a union, and a list as too short when only one of its items is wrong; here the branches
become one sentence, and what follows from another mistake is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mnist_trainer.config.outline import Path, Spot, follow, homes_of, names_of, naming_key
from mnist_trainer.config.yaml_reader import Complaint, Document, Place, printable, read_plain

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_ALSO_CALLED = {"learning_rate": "lr", "silu": "swish", "mae": "absolute", "l1": "absolute", "batchsize": "batch_size"}


def complaints_of(error: ValidationError, document: Document) -> list[Complaint]:
    """One complaint for each mistake that pydantic found in `document` and that was not complained about before."""
    groups: dict[Path, list[tuple[ErrorDetails, Spot]]] = {}
    for detail in error.errors(include_url=False):
        path, spot = _located(detail)
        groups.setdefault(path, []).append((detail, spot))
    complaints = []
    for path, group in groups.items():
        follows = any(other != path and other[: len(path)] == path for other in groups)
        told = any(path[: len(broken)] == broken for broken in document.broken)
        if not follows and not told:
            details, (spot, *_) = zip(*group, strict=True)
            at_key = details[0]["type"] in ("extra_forbidden", "missing", "union_tag_not_found")
            where = path[:-1] if details[0]["type"] == "missing" else path
            complaints.append(Complaint(place_of(where, document, at_key), path, _message(details, spot, path)))
    return complaints


def place_of(path: Path, document: Document, at_key: bool = False) -> Place:
    """The place of the value at `path` (or of its key), or of the nearest thing above it that was written."""
    node, written, found = document.data, (), True
    for key in path:
        if isinstance(node, str):  # a short form, the name alone
            continue
        if isinstance(node, dict) and key not in node and len(node) == 1:  # a short form: {conv: 32}
            ((name, node),) = node.items()
            written = (*written, name)
            if not isinstance(node, dict):
                continue
        found = key in node if isinstance(node, dict) else isinstance(node, list) and key in range(len(node))
        if not found:
            break
        node, written = node[key], (*written, key)
    while written and written not in document.places:
        written, found = written[:-1], False
    key_place, value_place = document.places.get(written, (Place(), Place()))
    return key_place if at_key or not found else value_place


def dotted(path: Path) -> str:
    """`model.hidden.0`; what can't be printed is escaped, and what is very long is cut."""
    return ".".join(printable(str(part)) for part in path)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was most likely meant to be."""
    spellings = {_plain(name): name for name in known}
    meant = _ALSO_CALLED.get(_plain(word), _plain(word))
    close = get_close_matches(meant, spellings, n=1)
    return spellings[close[0]] if close else None


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def _located(detail: ErrorDetails) -> tuple[Path, Spot]:
    location = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            spot = follow(location[:-1])
            return (*spot.path, location[-1]), spot
        case "missing":
            return (*follow(location[:-1]).path, location[-1]), follow(location)
        case "union_tag_invalid" | "union_tag_not_found":
            spot = follow(location)
            return (*spot.path, naming_key(spot.sections[0])), spot
        case _:
            spot = follow(location)
            return spot.path, spot


def _message(details: Sequence[ErrorDetails], spot: Spot, path: Path) -> str:
    detail = details[0]
    value, context = detail["input"], detail.get("ctx", {})
    names = [name for section in spot.sections for name in names_of(section)]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), spot)
        case "missing":
            choice = f"; choose its {naming_key(spot.sections[0])}: {', '.join(names)}" if names else ""
            return f"missing ({spot.field.description if spot.field else ''}){choice}"
        case "union_tag_invalid":
            return _unknown_name(value[path[-1]], names)
        case "union_tag_not_found":
            return _unnamed(value, str(path[-1]), names)
        case "literal_error" if len(details) == 1:
            return _unknown_name(value, _choices(detail))
        case "string_pattern_mismatch":
            return f"{_got(value)} is not possible here ({spot.field.description if spot.field else ''})"
        case "too_short":
            return f"needs {context['min_length']} or more items, got {context['actual_length']}"
        case "too_long":
            return f"takes {context['max_length']} or fewer items, got {context['actual_length']}"
        case "value_error":
            return str(context["error"])
        case kind if kind in _BOUNDS and len({_wanted(other) for other in details}) == 1:
            return f"must be {_bound(detail)}, got {_got(value)}"
        case _:
            return _mismatch(details, spot, names)


def _unknown_key(key: str, spot: Spot) -> str:
    section = spot.sections[0]
    owners = [name for other in spot.siblings if key in other.model_fields for name in names_of(other)]
    near = nearest(key, section.model_fields)
    last = _ALSO_CALLED.get(key.rpartition(".")[2], key.rpartition(".")[2])
    homes = homes_of(last)
    if owners:
        return f"unknown key here; it belongs to {', '.join(owners)}"
    if near:
        return f"unknown key; did you mean '{near}'?"
    if 0 < len(homes) <= 3:
        what = "it" if last == key else f"'{last}'"
        return f"unknown key; {what} belongs under {' or '.join(map(repr, homes))}"
    return f"unknown key; known here: {', '.join(section.model_fields)}"


def _unknown_name(value: Any, names: Sequence[str]) -> str:
    near = nearest(value, names) if isinstance(value, str) else None
    hint = f"did you mean '{near}'? Known" if near else "known"
    return f"unknown name {_got(value, text='')}; {hint}: {', '.join(names)}"


def _unnamed(value: Any, key: str, names: Sequence[str]) -> str:
    """A mapping without its name: often a short form with a wrong name, or with more than its one entry."""
    known = [name for name in value if name in names]
    if known:
        return f"missing; '{known[0]}: …' stands alone, with other keys write '{key}: {known[0]}'"
    if len(value) == 1 and nearest(str(next(iter(value))), names):
        return _unknown_name(next(iter(value)), names)
    return f"missing; choose one: {', '.join(names)}"


def _mismatch(details: Sequence[ErrorDetails], spot: Spot, names: Sequence[str]) -> str:
    value = details[0]["input"]
    wanted = list(dict.fromkeys(map(_wanted, details)))
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    return f"expected {' or '.join(wanted)}, got {_got(value)}{_hint(value, ' or '.join(wanted), spot, names)}"


def _wanted(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "literal_error":
        return " or ".join(map(repr, _choices(detail)))
    return f"a number {_bound(detail)}" if kind in _BOUNDS else _WANTED.get(kind, detail["msg"])


def _bound(detail: ErrorDetails) -> str:
    key, words = _BOUNDS[detail["type"]]
    return f"{words} {detail['ctx'][key]:g}"


def _choices(detail: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", detail["ctx"]["expected"])


def _got(value: Any, text: str = "text ") -> str:
    match value:
        case None | True | False:
            return json.dumps(value)
        case str():
            return f"{text}'{printable(value)}'"
        case int() | float():
            return printable(repr(value))
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"a Python {type(value).__name__}"


def _hint(value: Any, wanted: str, spot: Spot, names: Sequence[str]) -> str:
    match value:
        case None:
            return "; leave the key out for its default"
        case False if spot.field and NoneType in get_args(spot.field.annotation):
            return "; null switches it off"
        case float() if "whole" in wanted and value.is_integer():
            return f"; write {value:.0f}"
        case int() | float() if wanted == "text":
            return "; put it in quotes"
        case int() | float() | str() if wanted == "a list":
            return f"; write [{printable(str(value))}]"
        case str() if value in names:
            return f"; write {{{naming_key(spot.sections[0])}: {value}}}"
        case str() if _stands_for(value, wanted):
            return f"; write {_bare(value)} without quotes"
        case _:
            return ""


def _stands_for(text: str, wanted: str) -> bool:
    value = read_plain(_bare(text)) if len(text) < 20 else text
    return isinstance(value, bool) if wanted == "true or false" else "number" in wanted and type(value) in (int, float)


def _bare(text: str) -> str:
    """Without the marks that people put between thousands."""
    return re.sub(r"(?<=\d)[_',](?=\d\d\d)", "", text)
