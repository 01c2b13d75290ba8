"""The schema as an outline: which section stands where, and what its keys are called. Error texts, overrides and the
reference table ask here, so that none of them repeats a key's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from mnist_trainer.config.fields import Section, ShortForm
from mnist_trainer.config.schema import Config

Path = tuple[str | int, ...]
"""The way from the top of a config to one of its values: `("model", "hidden", 0)`."""

SectionType = type[Section]


class Spot(NamedTuple):
    """Where a path leads: the field it ends in (None at the top), and the sections that may stand there."""

    path: Path
    field: FieldInfo | None
    sections: tuple[SectionType, ...]
    siblings: tuple[SectionType, ...]
    """What else could have been chosen, where the path chose one section of a set."""


def follow(location: Sequence[str | int]) -> Spot:
    """The spot of a pydantic error's location, whose path is free of the tags that name a choice within a union."""
    path: Path = ()
    field: FieldInfo | None = None
    sections: tuple[SectionType, ...] = (Config,)
    siblings: tuple[SectionType, ...] = ()
    for item in location:
        if isinstance(item, int):
            path = (*path, item)
        elif len(sections) > 1:
            siblings = sections
            sections = tuple(section for section in sections if item in names_of(section))
        elif sections and item in sections[0].model_fields:
            field = sections[0].model_fields[item]
            path, sections, siblings = (*path, item), sections_in(field.annotation), ()
    return Spot(path, field, sections, siblings)


def sections_in(annotation: Any) -> tuple[SectionType, ...]:
    """Every section that a value of this type may be, or may hold as a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(section for inner in get_args(annotation) for section in sections_in(inner))


def naming_key(section: SectionType) -> str:
    """The key that tells the sections of a set apart: `name`, `type` or `architecture`; empty where there is none."""
    keys = ("architecture", "type", "name")
    return next((key for key in keys if key in section.model_fields and names_of(section, key)), "")


def names_of(section: SectionType, key: str = "") -> tuple[str, ...]:
    """The names a section goes by: `("adam", "adamw")`."""
    field = section.model_fields.get(key or naming_key(section))
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def short_form_at(path: Path) -> ShortForm | None:
    """The short form that may stand at `path` of a config, if any."""
    spec: Any = Config
    metadata: list[Any] = []
    for key in path:
        if isinstance(key, str):
            owners = [section for section in sections_in(spec) if key in section.model_fields]
            if not owners:
                return None
            field = owners[0].model_fields[key]
            spec, metadata = field.annotation, field.metadata
    return next(_short_forms((*metadata, spec)), None)


def _short_forms(parts: Sequence[Any]) -> Iterator[ShortForm]:
    for part in parts:
        if isinstance(part, ShortForm):
            yield part
        else:
            yield from _short_forms(get_args(part))


def homes_of(key: str) -> list[str]:
    """The sections that know `key`, as dotted paths: `["optimizer"]` for `lr`. Lists of layers are left out."""
    homes = {".".join(path) for path, section in _upper_sections() if key in section.model_fields}
    return sorted(homes)


def _upper_sections() -> Iterator[tuple[tuple[str, ...], SectionType]]:
    for name, field in Config.model_fields.items():
        for section in sections_in(field.annotation):
            yield (name,), section
            for inner_name, inner_field in section.model_fields.items():
                if inner_name != "layers":
                    for inner in sections_in(inner_field.annotation):
                        yield (name, inner_name), inner
