"""Messages for pydantic's errors: what was expected, what was found, how to correct it, and at which location.

Pydantic reports each member of a union, and reports a list with one wrong item also as too short. Here the reports
of one value become one sentence, and consequences of another problem are left out. The functions at the top look up
fields, sections and keys in the schema.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mnist_trainer.config.fields import MAX_WORD_LENGTH, Section, ShortForm, literal_values
from mnist_trainer.config.schema import Config
from mnist_trainer.config.yaml_reader import Document, KeyPath, Problem, SourceLocation, parse_scalar
from mnist_trainer.errors import one_line

SectionType = type[Section]


class FieldRef(NamedTuple):
    """The field at the end of a path (None at the top), and the sections that its value may be."""

    path: KeyPath
    field: FieldInfo | None
    sections: tuple[SectionType, ...]
    siblings: tuple[SectionType, ...]
    """All sections of the union, if the path has selected one of them."""

    @property
    def names(self) -> list[str]:
        """The names of all sections."""
        return [name for section in self.sections for name in names_of(section)]

    @property
    def key(self) -> str:
        """The discriminator of the sections."""
        return discriminator_key(self.sections[0])


def resolve(loc: Sequence[str | int], root: SectionType = Config) -> FieldRef:
    """Return the field at the location of a pydantic error; its path is without the tags of union members."""
    path: KeyPath = ()
    field: FieldInfo | None = None
    sections: tuple[SectionType, ...] = (root,)
    siblings: tuple[SectionType, ...] = ()
    for item in loc:
        if isinstance(item, int):
            path = (*path, item)
        elif len(sections) > 1:
            siblings = sections
            sections = tuple(section for section in sections if item in names_of(section))
        elif sections and item in sections[0].model_fields:
            field = sections[0].model_fields[item]
            path, sections, siblings = (*path, item), sections_in(field.annotation), ()
    return FieldRef(path, field, sections, siblings)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything inside it, metadata included."""
    yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def sections_in(annotation: Any) -> tuple[SectionType, ...]:
    """Return every section that a value of this type, or an item of a list, may be."""
    return tuple(part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, Section))


def discriminator_key(section: SectionType) -> str:
    """Return the key that tells the members of a union apart: `name`, `type` or `architecture`; empty without one."""
    return next((key for key in ("architecture", "type", "name") if literal_values(section, key)), "")


def names_of(section: SectionType) -> tuple[str, ...]:
    """Return the names of a section: `("adam", "adamw")`."""
    return literal_values(section, discriminator_key(section))


def keys_of(section: SectionType) -> list[str]:
    """Return the section's keys in the schema's order, but its name first."""
    return sorted(section.model_fields, key=lambda key: key != discriminator_key(section))


def field_at(path: KeyPath) -> FieldInfo | None:
    """Return the field at a path of a config; for an item, the field of its list; for a union, the first match."""
    field: FieldInfo | None = None
    sections: tuple[SectionType, ...] = (Config,)
    for key in path:
        if isinstance(key, str):
            field = next((section.model_fields[key] for section in sections if key in section.model_fields), None)
            sections = sections_in(field.annotation) if field else ()
    return field


def types_at(path: KeyPath) -> tuple[Any, ...]:
    """Return the types that the value at `path` may have. Positions in lists may be text, as in an override."""
    numbered = tuple(int(key) if isinstance(key, str) and key.isdecimal() else key for key in path)
    field = field_at(numbered)
    types = _alternatives(field.annotation) if field else ()
    if numbered and isinstance(numbered[-1], int):
        items = [get_args(kind)[0] for kind in types if get_origin(kind) is tuple]
        types = tuple(kind for item in items for kind in _alternatives(item))
    return types


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, without their annotations."""
    match get_origin(annotation):
        case typing.Annotated:
            return _alternatives(get_args(annotation)[0])
        case typing.Union | types.UnionType:
            return tuple(kind for part in get_args(annotation) for kind in _alternatives(part))
        case _:
            return (annotation,)


def short_form_at(path: KeyPath) -> ShortForm | None:
    """Return the short form that the value at `path` of a config may have, if any."""
    field = field_at(path)
    parts = (part for each in (*field.metadata, field.annotation) for part in _parts(each)) if field else ()
    return next((part for part in parts if isinstance(part, ShortForm)), None)


def paths_of(key: str) -> list[str]:
    """Return the dotted paths that end in `key`, the top level first: `["optimizer.lr"]` for `lr`."""
    inner = {".".join((*path, key)) for path, section in _upper_sections() if key in section.model_fields}
    return [*([key] if key in Config.model_fields else []), *sorted(inner)]


def all_keys() -> set[str]:
    """Return the names of all keys of all sections."""
    return {key for _, section in _upper_sections() for key in section.model_fields} | set(Config.model_fields)


def _upper_sections() -> Iterator[tuple[tuple[str, ...], SectionType]]:
    """Yield the sections of the first two levels of a config, each with its path."""
    for name, field in Config.model_fields.items():
        for section in sections_in(field.annotation):
            yield (name,), section
            for inner_name, inner_field in section.model_fields.items():
                if inner_name != "layers":
                    for inner in sections_in(inner_field.annotation):
                        yield (name, inner_name), inner


_EXPECTED = {
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
_OTHER_NAMES = {"learning_rate": "lr", "he_normal": "kaiming", "glorot_normal": "xavier"}
"""Words of other libraries and the names that correspond to them (`kaiming` and `xavier` are uniform here)."""


def _message(details: Sequence[ErrorDetails], ref: FieldRef, path: KeyPath) -> str:  # noqa: PLR0911 - one return a kind
    """Return one sentence for all `details`: pydantic's errors about the value at `path`, one for each union member."""
    detail, description = details[0], " ".join((ref.field.description or "").split()) if ref.field else ""
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), ref)
        case "missing":
            choice = f"; choose its {ref.key}: {', '.join(ref.names)}" if ref.names else ""
            return f"missing ({description}){choice}"
        case "union_tag_invalid":
            return _unknown_name(value[path[-1]], ref.names)
        case "union_tag_not_found":
            return _missing_name(value, str(path[-1]), ref)
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
        case kind if kind in _BOUNDS and len(set(map(_expected, details))) == 1:
            return f"must be {_bound(detail)}, got {_format_value(value)}"
        case _:
            return _mismatch(details, ref)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of `known` that is most similar to `word`; `cutoff` (0 to 1) is the minimum similarity."""
    if len(word) > MAX_WORD_LENGTH:
        return None
    spellings = {_plain(name): name for name in known}
    close = get_close_matches(_search_word(word), spellings, n=1, cutoff=cutoff)
    return spellings[close[0]] if close else None


def near_hint(word: str, known: Iterable[str], kind: str = "") -> str:
    """Return `; did you mean 'mlp'?` for a message, with `kind` before the name; empty if nothing is similar."""
    near = nearest(word, known)
    return f"; did you mean {kind}'{near}'?" if near else ""


def _search_word(word: str) -> str:
    """Return the name that corresponds to `word`, which may be that of another library."""
    return _OTHER_NAMES.get(_plain(word), _plain(word))


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def _unknown_key(key: str, ref: FieldRef) -> str:
    """Return the message for an unknown key in the section `ref`: the nearest key, or where it belongs."""
    section = ref.sections[0]
    siblings = [name for other in ref.siblings if key in other.model_fields for name in names_of(other)]
    last = _search_word(key.rpartition(".")[2])  # a key `optimizer.lr:`, written like an override
    owners = [path.rpartition(".")[0] for path in paths_of(last)]
    is_known_elsewhere = 0 < len(owners) <= 3
    if siblings:
        return f"unknown key here; it belongs to {', '.join(siblings)}"
    if near := nearest(last, section.model_fields, cutoff=0.8 if is_known_elsewhere else 0.6):
        return f"unknown key; did you mean '{near}'?"
    if is_known_elsewhere:
        sections = " or ".join(f"under '{section}'" if section else "at the top" for section in owners)
        return f"unknown key; {'it' if last == key else repr(last)} belongs {sections}"
    return f"unknown key; known keys: {', '.join(keys_of(section))}"


def _unknown_name(value: Any, names: Sequence[str]) -> str:
    """Return the message for a value that is not one of `names`."""
    if value in ("softmax", "log_softmax") and "flatten" in names:
        return f"not a layer, but the output of a model: write output: {value} next to layers; cross_entropy needs none"
    near = nearest(value, names) if isinstance(value, str) else None
    hint = f"did you mean '{near}'? Known" if near else "known"
    return f"unknown name {_format_value(value).removeprefix('text ')}; {hint}: {', '.join(names)}"


def _missing_name(value: Any, written: str, ref: FieldRef) -> str:
    """Return the message for a mapping without a name, often a short form with a wrong name or with other keys."""
    if written != ref.key:
        return f"unknown key; did you mean '{ref.key}'?"
    first = next(iter(value), "")
    given = [key for key in value if key in ref.names]
    if len(given) > 1:
        return f"missing; {' and '.join(map(repr, given))} are names; choose one"
    if given:
        return f"missing; write '{ref.key}: {given[0]}' with its other keys"
    if len(value) == 1 and nearest(first, ref.names):
        return _unknown_name(first, ref.names)
    return f"missing; choose one: {', '.join(ref.names)}"


def _mismatch(details: Sequence[ErrorDetails], ref: FieldRef) -> str:
    """Return the message for a value of a wrong type."""
    value = details[0]["input"]
    parts = list(dict.fromkeys(map(_expected, details)))
    if "a number" in parts and "a whole number" in parts:
        parts.remove("a whole number")
    if short_form_at(ref.path):
        parts.insert(0, "a name")
    expected = " or ".join(parts)
    choices = [choice for detail in details if detail["type"] == "literal_error" for choice in _choices(detail)]
    return f"expected {expected}, got {_format_value(value)}{_hint(value, expected, ref, [*ref.names, *choices])}"


def _expected(detail: ErrorDetails) -> str:
    """Return what pydantic expected, in words."""
    kind = detail["type"]
    if kind == "literal_error":
        return " or ".join(map(repr, _choices(detail)))
    return f"a number {_bound(detail)}" if kind in _BOUNDS else _EXPECTED.get(kind, detail["msg"])


def _bound(detail: ErrorDetails) -> str:
    """Return the violated bound in words: `greater than 0`."""
    key, words = _BOUNDS[detail["type"]]
    return f"{words} {detail['ctx'][key]:g}"


def _choices(detail: ErrorDetails) -> list[str]:
    """Return the values that pydantic would have accepted."""
    return re.findall(r"'([^']*)'", detail["ctx"]["expected"])


def _format_value(value: Any) -> str:
    """Return a value from a config for a message: `text 'abc'`, `a list`."""
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


def _hint(value: Any, expected: str, ref: FieldRef, names: Sequence[str]) -> str:  # noqa: PLR0911 - one return a hint
    """Return advice on how to correct `value`, after a semicolon; empty if there is none."""
    match value:
        case None if ref.field and not ref.field.is_required():
            return "; leave the key out for its default"
        case False | "none" | "None" if ref.field and NoneType in get_args(ref.field.annotation):
            return "; null switches it off"
        case True if "a mapping" in expected and ref.sections:
            return f"; its keys are {', '.join(keys_of(ref.sections[0])[:3])} …"
        case float() if "whole" in expected and value.is_integer():
            return f"; write {value:.0f}"
        case int() | float() if expected == "text":
            return "; put it in quotes"
        case str() if ref.sections and value in names:
            return f"; write {{{ref.key}: {value}}}"
        case str() if near := nearest(value, names):
            return f"; did you mean '{near}'?"
        case str() if "number" in expected and re.fullmatch(r"0,\d+|\d+,\d{1,2}", value):
            return f"; write {value.replace(',', '.')}"
        case str() if _parses_as(value, expected):
            return f"; write {_without_separators(value)} without quotes"
        case _:
            return ""


def _parses_as(text: str, expected: str) -> bool:
    """Return whether `text` without quotes and separators would be a value of the expected type."""
    value = parse_scalar(_without_separators(text)) if len(text) < 20 else text
    return (
        isinstance(value, bool) if expected == "true or false" else "number" in expected and type(value) in (int, float)
    )


def _without_separators(text: str) -> str:
    """Return a number without its thousands separators."""
    return re.sub(r"(?<=\d)[_',](?=\d\d\d)", "", text)


_Group = Sequence[tuple[ErrorDetails, FieldRef]]
"""Pydantic's errors about one value, one for each member of a union."""


def problems_of(error: ValidationError, document: Document, root: SectionType = Config) -> list[Problem]:
    """Return one problem for each error in `document`, validated as `root`, that the reader has not reported."""
    groups: dict[KeyPath, list[tuple[ErrorDetails, FieldRef]]] = {}
    for detail in error.errors(include_url=False):
        path, ref = _locate(detail, root)
        groups.setdefault(path, []).append((detail, ref))
    explained = {path[:length] for path in groups for length in range(len(path))} | _misspelled_keys(groups)
    found = []
    for path, group in groups.items():
        if path not in explained and not document.is_reported(path):
            kind = group[0][0]["type"]
            at_key = kind in ("extra_forbidden", "missing", "union_tag_not_found")
            location = document.location_of(_written_path(path[:-1] if kind == "missing" else path, document), at_key)
            found.append(Problem(location, path, _message([detail for detail, _ in group], group[0][1], path)))
    return [*found, *_problems_in_misnamed_sections(groups, document, root)]


def _written_path(path: KeyPath, document: Document) -> KeyPath:
    """Return `path` with the name of a short form for the key of its value: `conv` of `{conv: 32, kernel: 5}`."""
    written: KeyPath = ()
    for length, key in enumerate(path):
        node, short_form = document.value_at(written), short_form_at(path[:length])
        is_short = isinstance(node, dict) and len(node) > 1 and key not in node and short_form is not None
        name = short_form.written_name(node) if is_short and short_form else None
        written = (*written, key if name is None else name)
    return written


def _problems_in_misnamed_sections(
    groups: Mapping[KeyPath, _Group], document: Document, root: SectionType
) -> list[Problem]:
    """Return the problems inside sections whose name is misspelled, which pydantic does not check."""
    fixed = Document(deepcopy(document.data), dict(document.locations), reported=document.reported)
    if not [True for path, group in groups.items() if _fix_name(path, *group[0], fixed)]:
        return []
    try:
        root.model_validate(fixed.data)
    except ValidationError as error:
        return [problem for problem in problems_of(error, fixed, root) if problem.path not in groups]
    return []


def _fix_name(path: KeyPath, detail: ErrorDetails, ref: FieldRef, document: Document) -> bool:
    """Correct a misspelled name, or the misspelled key of a name. Return whether that was possible."""
    node = document.value_at(ref.path)
    if detail["type"] not in ("union_tag_invalid", "union_tag_not_found") or not isinstance(node, dict):
        return False
    written = str(path[-1])
    name = node.get(written)
    if written == ref.key and isinstance(name, str):
        name = nearest(name, ref.names)
    if not isinstance(name, str):
        return False
    del node[written]
    node[ref.key] = name
    document.locations[*ref.path, ref.key] = document.locations.get(path, (SourceLocation(), SourceLocation()))
    return True


def _misspelled_keys(groups: Mapping[KeyPath, _Group]) -> set[KeyPath]:
    """Return the keys that the unknown keys probably stand for: they are not reported as missing too."""
    return {
        (*path[:-1], suggestion)
        for path, ((detail, ref), *_) in groups.items()
        if detail["type"] == "extra_forbidden" and (suggestion := nearest(str(path[-1]), ref.sections[0].model_fields))
    }


def _locate(detail: ErrorDetails, root: SectionType) -> tuple[KeyPath, FieldRef]:
    """Return the path of the wrong key, and its field; for an unknown key, the section that contains it."""
    loc = detail["loc"]
    ref = resolve(loc, root)
    match detail["type"]:
        case "extra_forbidden":
            ref = resolve(loc[:-1], root)
            return (*ref.path, loc[-1]), ref
        case "union_tag_invalid":
            return (*ref.path, ref.key), ref
        case "union_tag_not_found":
            return (*ref.path, next((key for key in detail["input"] if nearest(key, [ref.key])), ref.key)), ref
        case _:
            return ref.path, ref
