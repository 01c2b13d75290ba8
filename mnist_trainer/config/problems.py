"""Pydantic's errors → complaints: one for each mistake, at its place.

Pydantic reports each branch of a union, and a list as too short when only one of its items is wrong; here the branches
become one sentence, and what follows from another mistake is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mnist_trainer.config.document import Document, KeyPath, Problem, SourceLocation
from mnist_trainer.config.outline import FieldRef, SectionType, discriminator_key, names_of, resolve
from mnist_trainer.config.schema import Config
from mnist_trainer.config.wording import message, nearest

_Group = Sequence[tuple[ErrorDetails, FieldRef]]
"""What pydantic says about one value, once for each branch of a union."""


def problems_of(error: ValidationError, document: Document, root: SectionType = Config) -> list[Problem]:
    """One complaint for each mistake that pydantic found in `document`, a `root`; none that was told before."""
    groups: dict[KeyPath, list[tuple[ErrorDetails, FieldRef]]] = {}
    for detail in error.errors(include_url=False):
        path, field_ref = _locate(detail, root)
        groups.setdefault(path, []).append((detail, field_ref))
    explained = {path[:length] for path in groups for length in range(len(path))} | _misspelled_keys(groups)
    found = [
        _problem(path, group, document)
        for path, group in groups.items()
        if path not in explained and not document.is_reported(path)
    ]
    return [*found, *_problems_behind_names(groups, document, root)]


def _problems_behind_names(groups: Mapping[KeyPath, _Group], document: Document, root: SectionType) -> list[Problem]:
    """Return the mistakes in sections whose name is misspelled: pydantic does not check the keys of such a section."""
    fixed = Document(deepcopy(document.data), dict(document.locations), reported=document.reported)
    count = sum(_fix_name(path, group[0], fixed) for path, group in groups.items())
    if not count:
        return []
    try:
        root.model_validate(fixed.data)
    except ValidationError as error:
        return [problem for problem in problems_of(error, fixed, root) if problem.path not in groups]
    return []


def _fix_name(path: KeyPath, first: tuple[ErrorDetails, FieldRef], document: Document) -> bool:
    """Correct a misspelled name, or the misspelled key of a name. Returns whether that was possible."""
    (detail, field_ref), node = first, document.at(first[1].path)
    if detail["type"] not in ("union_tag_invalid", "union_tag_not_found") or not isinstance(node, dict):
        return False
    key, written = discriminator_key(field_ref.sections[0]), str(path[-1])
    name = node.get(written)
    if written == key and isinstance(name, str):
        name = nearest(name, [name for section in field_ref.sections for name in names_of(section)])
    if isinstance(name, str):
        del node[written]
        node[key] = name
        document.locations[*field_ref.path, key] = document.locations.get(path, (SourceLocation(), SourceLocation()))
    return isinstance(name, str)


def _problem(path: KeyPath, group: _Group, document: Document) -> Problem:
    details = [detail for detail, _ in group]
    kind, field_ref = group[0][0]["type"], group[0][1]
    at_key = kind in ("extra_forbidden", "missing", "union_tag_not_found")
    location = document.location_of(path[:-1] if kind == "missing" else path, at_key)
    return Problem(location, path, message(details, field_ref, path))


def _misspelled_keys(groups: Mapping[KeyPath, _Group]) -> set[KeyPath]:
    """The keys that unknown keys were most likely meant to be: that they are missing is the same mistake."""
    return {
        (*path[:-1], meant)
        for path, ((detail, field_ref), *_) in groups.items()
        if detail["type"] == "extra_forbidden" and (meant := nearest(str(path[-1]), field_ref.sections[0].model_fields))
    }


def _locate(detail: ErrorDetails, root: SectionType) -> tuple[KeyPath, FieldRef]:
    """The path of the key that is wrong, and the spot it belongs to: for an unknown key the section around it."""
    loc = detail["loc"]
    field_ref = resolve(loc, root)
    match detail["type"]:
        case "extra_forbidden":
            around = resolve(loc[:-1], root)
            return (*around.path, loc[-1]), around
        case "union_tag_invalid":
            return (*field_ref.path, discriminator_key(field_ref.sections[0])), field_ref
        case "union_tag_not_found":
            key = discriminator_key(field_ref.sections[0])
            slip = next((written for written in detail["input"] if nearest(written, [key])), key)
            return (*field_ref.path, slip), field_ref
        case _:
            return field_ref.path, field_ref
