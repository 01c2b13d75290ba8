"""What all sections of a config share: strict types, short forms, and the field types used again and again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mnist_trainer.config.yaml_reader import read_plain


class Section(BaseModel):
    """One mapping of the YAML: frozen, unknown keys forbidden, nothing converted in silence (`"12"` is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T")

_NUMBERS = re.compile(r"[-+.\deE]+(?:(?:\s*,\s*|\s+)[-+.\deE]+)*")


def _as_list(value: object) -> object:
    """`64`, `64,32` and `64 32` as the lists that they stand for."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str) and _NUMBERS.fullmatch(value):
        return [read_plain(part) for part in re.split(r"[,\s]+", value)]
    return value


Row: TypeAlias = Annotated[tuple[T, ...], Strict(False), BeforeValidator(_as_list)]
"""A YAML list, kept as a tuple. Only the container is lenient; its items stay strict."""

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
NotNegativeNumber = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ClassName = NotNegative | str
"""Of a class of the data set, as `classes.py` knows it."""
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=100)]
r"""Of a run. The length stands beside the pattern: `[\w.+-]{0,99}` takes longer to compile than all the sections."""


@dataclass(frozen=True)
class ShortForm:
    """Lets a bare name stand for the mapping that names it: `relu` for `{name: relu}`.

    `key` is the key the name belongs to. With `value_keys`, one more short form is read: a mapping with a single
    entry, whose key is the name and whose value belongs to that name's main key: `{conv: 32}` for
    `{type: conv, channels: 32}`.
    """

    key: str = "name"
    value_keys: Mapping[str, str] | None = None

    def spread(self, value: object) -> object:
        """The one full form of `value`; what is no short form is returned as it came."""
        if isinstance(value, str):
            return self._named(value, {})
        if isinstance(value, dict) and len(value) == 1 and self.value_keys is not None and self.key not in value:
            name, inner = next(iter(value.items()))
            if name in self.value_keys:
                is_rest = isinstance(inner, dict) and "name" not in inner  # with a name it is itself the value
                return self._named(name, inner if is_rest else {self.value_keys[name]: inner})
        return value

    def _named(self, name: str, rest: Mapping[str, object]) -> dict[str, object]:
        return {self.key: name, **rest}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.spread, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(schema)
        names = sorted(full.get("discriminator", {}).get("mapping", {}))
        short: list[JsonSchemaValue] = [{"enum": names}]
        for name, key in (self.value_keys or {}).items():
            entry = {"type": "object", "properties": {name: {}}, "required": [name], "additionalProperties": False}
            short.append({**entry, "description": f"Short for {self.key}: {name}, {key}: …"})
        return {"anyOf": [*short, full]}
