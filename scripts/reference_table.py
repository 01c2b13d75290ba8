"""The schema of configs as JSON Schema for editors and as Markdown tables for people, for `scripts/reference`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from mnist_trainer.config import model, schema
from mnist_trainer.config.messages import SectionType, discriminator_key, keys_of, names_of, sections_in

_GROUPS: tuple[tuple[str, str, Any], ...] = (
    ("config", "at the top of the file", schema.Config),
    ("data", "", schema.Data),
    ("augment", "`data.augment`", schema.Augment),
    ("elastic", "`data.augment.elastic`", schema.Elastic),
    ("simulate", "`data.simulate`", schema.Simulate),
    ("extra", "`data.extra`", schema.Extra),
    ("model", "", model.AnyModel),
    ("hidden", "`model.hidden`, when it is neither a list nor a number", model.HiddenShape),
    (
        "layer",
        "each item of `model.layers`; `flatten` stands for `{type: flatten}`, `linear: 64` for "
        "`{type: linear, units: 64}`, and so with the first key of every type, beside its other keys; `relu` for "
        "`{activation: relu}`",
        model.WrittenLayer,
    ),
    ("activation", "`relu` stands for `{name: relu}`", model.AnyActivation),
    (
        "init",
        "`xavier` stands for `{name: xavier}`, `{constant: 0.5, bias: 0.5}` for "
        "`{name: constant, value: 0.5, bias: 0.5}`",
        model.Initialization,
    ),
    ("loss", "`mse` stands for `{name: mse}`", schema.AnyLoss),
    ("penalty", "each item of `loss.penalties`", schema.Penalty),
    ("optimizer", "`adam` stands for `{name: adam}`", schema.AnyOptimizer),
    ("schedule", "`cosine` stands for `{name: cosine}`", schema.AnySchedule),
    ("training", "", schema.Training),
    ("early_stopping", "`training.early_stopping`", schema.EarlyStopping),
    ("stop", "`training.stop`", schema.Stop),
    ("teacher", "`training.teacher`", schema.Teacher),
    ("report", "", schema.Report),
)
_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
_TYPES = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "null": "null"}


class _Generator(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with its short forms and descriptions."""
    keys = schema.Config.model_json_schema(schema_generator=_Generator)
    for _, _, group in _GROUPS:
        sections = sections_in(group)
        for section in sections if len(sections) > 1 else ():
            spec = keys["$defs"][section.__name__]
            spec["required"] = list(dict.fromkeys([discriminator_key(section), *spec.get("required", [])]))
    return {"$schema": GenerateJsonSchema.schema_dialect, **keys, "title": "A config of mnist_trainer"}


def reference_table() -> str:
    """Return a Markdown table for each section: every key, its possible values, its default and its description."""
    keys = json_schema()
    specs = {"Config": keys, **keys["$defs"]}
    lines: list[str] = []
    for title, note, group in _GROUPS:
        sections = sections_in(group)
        rows = {section: {key: _row(section, key, specs) for key in keys_of(section)} for section in sections}
        lines += [f"### Keys of `{title}`", "", *([f"{note[:1].upper()}{note[1:]}.", ""] if note else [])]
        lines += ["| key | values | default | description |", "|---|---|---|---|"]
        lines += [*(rows[sections[0]].values() if len(sections) == 1 else _union_rows(rows)), ""]
    return "\n".join(lines)


def _union_rows(rows: dict[SectionType, dict[str, str]]) -> Iterator[str]:
    """Yield the rows that most sections of a union share, then for each section those that are left."""
    counts = Counter(row for own in rows.values() for row in own.values())
    keys = [key for key in next(iter(rows.values())) if all(key in own for own in rows.values())]
    most_common = [max((own[key] for own in rows.values()), key=lambda row: counts[row]) for key in keys]
    shared = [row for row in most_common if 2 * counts[row] > len(rows)]
    if shared:
        yield from ("| **all of them**, but where one says otherwise | | | |", *shared)
    for section, own in rows.items():
        key, names = discriminator_key(section), ", ".join(f"`{name}`" for name in names_of(section))
        about = section.model_fields[key].description
        said = " ".join((section.__doc__ or "").split())  # Python 3.13 keeps less of its indentation
        text = f"{said.rstrip('.')}{f'; {about}' if about else ''}."
        yield f"| **{key}: {names}** | | | {_cell(text)} |"
        yield from (row for name, row in own.items() if name != key and row not in shared)


def _row(section: SectionType, key: str, specs: dict[str, Any]) -> str:
    spec = specs[section.__name__]
    value = spec["properties"][key]
    default = "required" if key in spec.get("required", ()) else _default(value.get("default"))
    return f"| `{key}` | {_cell(_kind(value))} | {default} | {_cell(value.get('description', ''))} |"


def _default(value: Any) -> str:
    match value:
        case {"name": str(name)} | str(name):
            return f"`{name}`"
        case dict():
            return ""
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{json.dumps(value)}`"


def _kind(spec: dict[str, Any]) -> str:
    """Return the possible values in words; a union of sections is a link to its own table."""
    match spec:
        case {"anyOf": parts} | {"oneOf": parts}:
            kinds = list(dict.fromkeys(_kind(part) for part in parts if "enum" not in part or len(parts) < 2))
            return " or ".join(kind for kind in kinds if kind)
        case {"$ref": name}:
            return _link(name.rpartition("/")[2])
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of: {_kind(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"mapping to: {_kind(values)}"
        case {"type": "object"}:
            return ""
        case _:
            bounds = ", ".join(f"{sign} {spec[key]:g}" for key, sign in _BOUNDS if key in spec)
            return f"{_TYPES[spec['type']]} {bounds}".strip()


def _link(name: str) -> str:
    title = next(title for title, _, group in _GROUPS if name in [section.__name__ for section in sections_in(group)])
    return f"[{title}](#keys-of-{title})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
