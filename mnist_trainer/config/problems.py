"""Pydantic's errors → complaints: one for each mistake, at its place.

Pydantic reports each branch of a union, and a list as too short when only one of its items is wrong; here the branches
become one sentence, and what follows from another mistake is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mnist_trainer.config.document import Complaint, Document, Path, Place
from mnist_trainer.config.outline import SectionType, Spot, follow, names_of, naming_key
from mnist_trainer.config.schema import Config
from mnist_trainer.config.wording import message, nearest

_Group = Sequence[tuple[ErrorDetails, Spot]]
"""What pydantic says about one value, once for each branch of a union."""


def complaints_of(error: ValidationError, document: Document, root: SectionType = Config) -> list[Complaint]:
    """One complaint for each mistake that pydantic found in `document`, a `root`; none that was told before."""
    groups: dict[Path, list[tuple[ErrorDetails, Spot]]] = {}
    for detail in error.errors(include_url=False):
        path, spot = _located(detail, root)
        groups.setdefault(path, []).append((detail, spot))
    explained = {path[:length] for path in groups for length in range(len(path))} | _misspelled(groups)
    found = [
        _complaint(path, group, document)
        for path, group in groups.items()
        if path not in explained and not document.is_broken(path)
    ]
    return [*found, *_behind_names(groups, document, root)]


def _behind_names(groups: Mapping[Path, _Group], document: Document, root: SectionType) -> list[Complaint]:
    """Return the mistakes in sections whose name is misspelled: pydantic does not check the keys of such a section."""
    mended = Document(deepcopy(document.data), dict(document.places), broken=document.broken)
    count = sum(_mend_name(path, group[0], mended) for path, group in groups.items())
    if not count:
        return []
    try:
        root.model_validate(mended.data)
    except ValidationError as error:
        return [complaint for complaint in complaints_of(error, mended, root) if complaint.path not in groups]
    return []


def _mend_name(path: Path, first: tuple[ErrorDetails, Spot], document: Document) -> bool:
    """Correct a misspelled name, or the misspelled key of a name. Returns whether that was possible."""
    (detail, spot), node = first, document.at(first[1].path)
    if detail["type"] not in ("union_tag_invalid", "union_tag_not_found") or not isinstance(node, dict):
        return False
    key, written = naming_key(spot.sections[0]), str(path[-1])
    name = node.get(written)
    if written == key and isinstance(name, str):
        name = nearest(name, [name for section in spot.sections for name in names_of(section)])
    if isinstance(name, str):
        del node[written]
        node[key] = name
        document.places[*spot.path, key] = document.places.get(path, (Place(), Place()))
    return isinstance(name, str)


def _complaint(path: Path, group: _Group, document: Document) -> Complaint:
    details = [detail for detail, _ in group]
    kind, spot = group[0][0]["type"], group[0][1]
    at_key = kind in ("extra_forbidden", "missing", "union_tag_not_found")
    place = document.place_of(path[:-1] if kind == "missing" else path, at_key)
    return Complaint(place, path, message(details, spot, path))


def _misspelled(groups: Mapping[Path, _Group]) -> set[Path]:
    """The keys that unknown keys were most likely meant to be: that they are missing is the same mistake."""
    return {
        (*path[:-1], meant)
        for path, ((detail, spot), *_) in groups.items()
        if detail["type"] == "extra_forbidden" and (meant := nearest(str(path[-1]), spot.sections[0].model_fields))
    }


def _located(detail: ErrorDetails, root: SectionType) -> tuple[Path, Spot]:
    """The path of the key that is wrong, and the spot it belongs to: for an unknown key the section around it."""
    location = detail["loc"]
    spot = follow(location, root)
    match detail["type"]:
        case "extra_forbidden":
            around = follow(location[:-1], root)
            return (*around.path, location[-1]), around
        case "union_tag_invalid":
            return (*spot.path, naming_key(spot.sections[0])), spot
        case "union_tag_not_found":
            key = naming_key(spot.sections[0])
            slip = next((written for written in detail["input"] if nearest(written, [key])), key)
            return (*spot.path, slip), spot
        case _:
            return spot.path, spot
