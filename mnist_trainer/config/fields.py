"""The base class of the sections of a config, types of fields, synonyms of names, and short forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mnist_trainer.config.yaml_reader import parse_scalar

MAX_WORD_LENGTH = 100
"""Longer texts are not compared with names, because that would take too long."""

_SYNONYMS = {
    "absolute": "mae l1 mean_absolute_error",
    "batch_norm": "batch_norm1d batch_norm2d batch_normalization",
    "bce": "binary_cross_entropy bce_with_logits",
    "bfloat16": "bf16",
    "conv": "conv2d",
    "cross_entropy": "categorical_cross_entropy sparse_categorical_cross_entropy",
    "emnist-digits": "emnist",
    "fashion-mnist": "fashion",
    "float16": "fp16 half",
    "float32": "fp32",
    "identity": "linear none",
    "kaiming": "he he_uniform kaiming_uniform",
    "lenet5": "lenet",
    "linear": "dense",
    "mse": "l2 mean_squared_error",
    "none": "linear",
    "pool": "max_pool max_pool2d max_pooling2d",
    "residual": "resnet",
    "swish": "silu",
    "val_accuracy": "val_acc",
    "xavier": "glorot glorot_uniform xavier_uniform",
}
"""Synonyms of names, from PyTorch, Keras and common use. `linear` is a layer, an activation and an output; the key
decides which one it is."""


def canonical(word: object, names: Iterable[str]) -> object:
    """Return the one of `names` that `word` stands for, else `word` itself."""
    if not isinstance(word, str) or word in names or len(word) > MAX_WORD_LENGTH:
        return word
    spellings = {_plain(word), _plain(word).removesuffix("loss")}
    return next(
        (name for name in names if spellings & set(map(_plain, (name, *_SYNONYMS.get(name, "").split())))), word
    )


def _plain(word: str) -> str:
    return word.lower().translate({ord(mark): None for mark in "-_ "})


class Section(BaseModel):
    """A mapping in the YAML: frozen, without unknown keys, and without implicit conversions (`"12"` is no number)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


T = TypeVar("T")

_NUMBERS = re.compile(r"[-+.\deE]+(?:(?:\s*,\s*|\s+)[-+.\deE]+)*")


def _as_list(value: object) -> object:
    """Return the list that `64`, `64,32` or `64 32` stands for."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str) and _NUMBERS.fullmatch(value):
        return [parse_scalar(part) for part in re.split(r"[,\s]+", value)]
    return value


ListOf: TypeAlias = Annotated[tuple[T, ...], Strict(False), BeforeValidator(_as_list)]
"""A YAML list as a tuple. Only the container is lenient; its items stay strict."""

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
NotNegativeNumber = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
ZeroToOne = Annotated[float, Field(ge=0, le=1)]
ClassName = NotNegative | str
"""The name of a class; see `classes.py`."""
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=100)]
r"""The name of a run. The length is not part of the pattern: `[\w.+-]{0,99}` compiles slower than all the sections."""


def literal_values(source: Any, key: str) -> tuple[str, ...]:
    """Return the values that `key` may have in a section, or in the sections of a union."""
    fields = (section.model_fields.get(key) for section in get_args(source) or (source,))
    kinds = [each.annotation for each in fields if each is not None]
    return tuple(name for kind in kinds if get_origin(kind) is Literal for name in get_args(kind))


def bool_as_section(value: object) -> object:
    """Return the defaults of an optional section for `true`, and None for `false`."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def false_as_none(value: object) -> object:
    """Return None for `false`. `true` stays an error, because the defaults of the section have no effect."""
    return None if value is False else value


class AnySpelling:
    """Accepts the values of a `Literal` in any case, and their synonyms."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        names = get_args(source)
        return core_schema.no_info_before_validator_function(lambda value: canonical(value, names), handler(source))


@dataclass(eq=False)
class ShortForm:
    """Lets a name, or a synonym, stand for the mapping that names it: `relu` for `{name: relu}`.

    `key` is the key of the name. With `by_value`, a key of the mapping may give the name and the section's first other
    key: `{conv: 32, kernel: 5}` for `{type: conv, channels: 32, kernel: 5}`, where no key of a section is a name. With
    `values`, a value is enough: `relu` for `{activation: relu}`.
    """

    key: str = "name"
    by_value: bool = False
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Sequence[str] = ()
    """Names of the sections; set when the schema is built."""
    value_keys: dict[str, list[str]] = field(default_factory=dict)
    """The keys after the name, for each name; the first is that of the value. Set when the schema is built."""

    def full_form(self, value: object) -> object:
        """Return the full form of `value`, or `value` itself if it is no short form."""
        match value:
            case str():
                name = canonical(value, self.names)
                for owner, values in self.values.items() if name not in self.names else ():
                    if canonical(value, values) in values:
                        return {self.key: owner, self.value_keys[owner][0]: value}
                return {self.key: name}
            case dict() if isinstance(value.get(self.key), str):
                return {**value, self.key: canonical(value[self.key], self.names)}
            case dict() if written := self.written_name(value):
                name, inner = str(canonical(written, self.value_keys)), value[written]
                rest = {key: other for key, other in value.items() if key != written}
                if not rest and isinstance(inner, dict) and "name" not in inner:  # with a name it is the value itself
                    return {self.key: name, **inner}
                value_key = self.value_keys[name][0]
                return value if value_key in rest else {self.key: name, value_key: inner, **rest}
        return value

    def written_name(self, value: Mapping[str, object]) -> str | None:
        """Return the key of a short form that is a name or a synonym: `dense` of `{dense: 64, bias: false}`."""
        found = [key for key in value if canonical(key, self.value_keys) in self.value_keys]
        return found[0] if len(found) == 1 and self.key not in value else None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        self.names = literal_values(source, self.key)
        for section in get_args(source) if self.by_value else ():
            others = [key for key in section.model_fields if key != self.key]
            self.value_keys |= {name: others for name in literal_values(section, self.key) if others}
        return core_schema.no_info_before_validator_function(self.full_form, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(schema)
        values = [value for each in self.values.values() for value in each]
        short: list[JsonSchemaValue] = [{"enum": sorted({*self.names, *values})}]
        for name, (key, *others) in self.value_keys.items():
            properties: JsonSchemaValue = {each: {} for each in (name, *others)}
            entry = {"type": "object", "properties": properties, "required": [name], "additionalProperties": False}
            short.append({**entry, "description": f"Short for {self.key}: {name}, {key}: …"})
        return {"anyOf": [*short, full]}
