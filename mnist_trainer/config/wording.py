"""The sentences about a value that does not fit: what was expected, what was got, how to mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args

from pydantic_core import ErrorDetails

from mnist_trainer.config.document import KeyPath, one_line
from mnist_trainer.config.outline import FieldRef, describe_owners, discriminator_key, keys_of, names_of, short_form_at
from mnist_trainer.config.synonyms import MAX_WORD_LENGTH
from mnist_trainer.config.yaml_reader import parse_scalar

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
_ALSO_CALLED = {"learning_rate": "lr", "he_normal": "kaiming", "glorot_normal": "xavier"}
"""What is meant, or nearest to it: `kaiming` and `xavier` are uniform here."""


def message(details: Sequence[ErrorDetails], field_ref: FieldRef, path: KeyPath) -> str:  # noqa: PLR0911 - one return a kind
    """One sentence for pydantic's `details` about the value at `path`, one a branch of the union at `field_ref`."""
    detail, description = details[0], field_ref.field.description if field_ref.field else ""
    value, context = detail["input"], detail.get("ctx", {})
    names = [name for section in field_ref.sections for name in names_of(section)]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), field_ref)
        case "missing":
            choice = f"; choose its {discriminator_key(field_ref.sections[0])}: {', '.join(names)}" if names else ""
            return f"missing ({description}){choice}"
        case "union_tag_invalid":
            return _unknown_name(value[path[-1]], names)
        case "union_tag_not_found":
            return _unnamed(value, str(path[-1]), discriminator_key(field_ref.sections[0]), names)
        case "literal_error" if len(details) == 1:
            return _unknown_name(value, _choices(detail))
        case "string_pattern_mismatch" | "string_too_long":
            return f"'{one_line(value)}' is not possible here ({description})"
        case "too_short":
            return f"needs {context['min_length']} or more items, got {context['actual_length']}"
        case "too_long":
            return f"takes {context['max_length']} or fewer items, got {context['actual_length']}"
        case "value_error":
            return str(context["error"])
        case kind if kind in _BOUNDS and len(set(map(_wanted, details))) == 1:
            return f"must be {_bound(detail)}, got {_got(value)}"
        case _:
            return _mismatch(details, field_ref, names)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that `word` was most likely meant to be; `cutoff` from 0 to 1 is how alike it must be."""
    if len(word) > MAX_WORD_LENGTH:
        return None
    spellings = {_plain(name): name for name in known}
    close = get_close_matches(_meant(word), spellings, n=1, cutoff=cutoff)
    return spellings[close[0]] if close else None


def _meant(word: str) -> str:
    return _ALSO_CALLED.get(_plain(word), _plain(word))


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def _unknown_key(key: str, field_ref: FieldRef) -> str:
    section = field_ref.sections[0]
    siblings = [name for other in field_ref.siblings if key in other.model_fields for name in names_of(other)]
    last = _meant(key.rpartition(".")[2])  # of `optimizer.lr:`, written as if it were an override
    owners = describe_owners(last)
    is_known_elsewhere = 0 < len(owners) <= 3
    if siblings:
        return f"unknown key here; it belongs to {', '.join(siblings)}"
    if near := nearest(last, section.model_fields, cutoff=0.8 if is_known_elsewhere else 0.6):
        return f"unknown key; did you mean '{near}'?"
    if is_known_elsewhere:
        return f"unknown key; {'it' if last == key else repr(last)} belongs {' or '.join(owners)}"
    return f"unknown key; known here: {', '.join(keys_of(section))}"


def _unknown_name(value: Any, names: Sequence[str]) -> str:
    if value in ("softmax", "log_softmax") and "flatten" in names:
        return f"a model ends in it, but it is no layer: write output: {value} beside layers; cross_entropy needs none"
    near = nearest(value, names) if isinstance(value, str) else None
    hint = f"did you mean '{near}'? Known" if near else "known"
    return f"unknown name {_got(value).removeprefix('text ')}; {hint}: {', '.join(names)}"


def _unnamed(value: Any, written: str, key: str, names: Sequence[str]) -> str:
    """About a mapping without its name; often a short form with a wrong name, or with more than its one entry."""
    if written != key:
        return f"unknown key; did you mean '{key}'?"
    first = next(iter(value), "")
    if first in names:
        return f"missing; '{first}: …' stands alone, with other keys write '{key}: {first}'"
    if len(value) == 1 and nearest(first, names):
        return _unknown_name(first, names)
    return f"missing; choose one: {', '.join(names)}"


def _mismatch(details: Sequence[ErrorDetails], field_ref: FieldRef, names: Sequence[str]) -> str:
    value = details[0]["input"]
    parts = list(dict.fromkeys(map(_wanted, details)))
    if "a number" in parts and "a whole number" in parts:
        parts.remove("a whole number")
    if short_form_at(field_ref.path):
        parts.insert(0, "a name")
    wanted = " or ".join(parts)
    choices = [choice for detail in details if detail["type"] == "literal_error" for choice in _choices(detail)]
    return f"expected {wanted}, got {_got(value)}{_hint(value, wanted, field_ref, [*names, *choices])}"


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


def _got(value: Any) -> str:
    match value:
        case None | True | False:
            return json.dumps(value)
        case str():
            return f"text '{one_line(value)}'"
        case int() | float():
            return one_line(repr(value))
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"a Python {type(value).__name__}"


def _hint(value: Any, wanted: str, field_ref: FieldRef, names: Sequence[str]) -> str:  # noqa: PLR0911 - one return a hint
    match value:
        case None if field_ref.field and not field_ref.field.is_required():
            return "; leave the key out for its default"
        case False | "none" | "None" if field_ref.field and NoneType in get_args(field_ref.field.annotation):
            return "; null switches it off"
        case True if "a mapping" in wanted and field_ref.sections:
            return f"; its keys are {', '.join(keys_of(field_ref.sections[0])[:3])} …"
        case float() if "whole" in wanted and value.is_integer():
            return f"; write {value:.0f}"
        case int() | float() if wanted == "text":
            return "; put it in quotes"
        case str() if field_ref.sections and value in names:
            return f"; write {{{discriminator_key(field_ref.sections[0])}: {value}}}"
        case str() if near := nearest(value, names):
            return f"; did you mean '{near}'?"
        case str() if "number" in wanted and re.fullmatch(r"0,\d+|\d+,\d{1,2}", value):
            return f"; write {value.replace(',', '.')}"
        case str() if _stands_for(value, wanted):
            return f"; write {_bare(value)} without quotes"
        case _:
            return ""


def _stands_for(text: str, wanted: str) -> bool:
    value = parse_scalar(_bare(text)) if len(text) < 20 else text
    return isinstance(value, bool) if wanted == "true or false" else "number" in wanted and type(value) in (int, float)


def _bare(text: str) -> str:
    """Without the marks that people put between thousands."""
    return re.sub(r"(?<=\d)[_',](?=\d\d\d)", "", text)
