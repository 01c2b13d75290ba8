"""The schema as an outline: which section stands where, and what its keys are called. Error texts, overrides and the
reference table ask here, so that none of them repeats a key's name."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from mnist_trainer.config.document import KeyPath
from mnist_trainer.config.fields import Section, ShortForm, literal_values
from mnist_trainer.config.schema import Config

SectionType = type[Section]


class FieldRef(NamedTuple):
    """Where a path leads: the field it ends in (None at the top), and the sections that may stand there."""

    path: KeyPath
    field: FieldInfo | None
    sections: tuple[SectionType, ...]
    siblings: tuple[SectionType, ...]
    """What else could have been chosen, where the path chose one section of a set."""


def resolve(loc: Sequence[str | int], root: SectionType = Config) -> FieldRef:
    """The spot of a pydantic error's location, whose path is free of the tags that name a choice within a union."""
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


def sections_in(annotation: Any) -> tuple[SectionType, ...]:
    """Every section that a value of this type may be, or may hold as a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(section for inner in get_args(annotation) for section in sections_in(inner))


def discriminator_key(section: SectionType) -> str:
    """The key that tells the sections of a set apart: `name`, `type` or `architecture`; empty where there is none."""
    return next((key for key in ("architecture", "type", "name") if literal_values(section, key)), "")


def names_of(section: SectionType) -> tuple[str, ...]:
    """The names a section goes by: `("adam", "adamw")`."""
    return literal_values(section, discriminator_key(section))


def keys_of(section: SectionType) -> list[str]:
    """The section's keys in the schema's order, but its name first."""
    return sorted(section.model_fields, key=lambda key: key != discriminator_key(section))


def field_at(path: KeyPath) -> FieldInfo | None:
    """The field that a path of a config leads to: of a list its own, of several sections the first that has one."""
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
    """The short form that may stand at `path` of a config, if any."""
    field = field_at(path)
    return next(_short_forms((*field.metadata, field.annotation)), None) if field else None


def _short_forms(parts: Sequence[Any]) -> Iterator[ShortForm]:
    for part in parts:
        if isinstance(part, ShortForm):
            yield part
        else:
            yield from _short_forms(get_args(part))


def describe_owners(key: str) -> list[str]:
    """Where `key` belongs, in words: `["under 'optimizer'"]` for `lr`. What only layers in a list know is left out."""
    sections = [path.rpartition(".")[0] for path in paths_of(key)]
    return [f"under '{section}'" if section else "at the top" for section in sections]


def paths_of(key: str) -> list[str]:
    """Return the dotted paths that end in `key`, the top level first: `["optimizer.lr"]` for `lr`."""
    inner = {".".join((*path, key)) for path, section in _upper_sections() if key in section.model_fields}
    return [*([key] if key in Config.model_fields else []), *sorted(inner)]


def all_keys() -> set[str]:
    """Return the names of all keys of all sections."""
    return {key for _, section in _upper_sections() for key in section.model_fields} | set(Config.model_fields)


def _upper_sections() -> Iterator[tuple[tuple[str, ...], SectionType]]:
    for name, field in Config.model_fields.items():
        for section in sections_in(field.annotation):
            yield (name,), section
            for inner_name, inner_field in section.model_fields.items():
                if inner_name != "layers":
                    for inner in sections_in(inner_field.annotation):
                        yield (name, inner_name), inner
