"""`Sweep`: what a sweep's file says, checked: a base config, the space of keys that are varied, how the search goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mnist_trainer.config.fields import ListOf, Name, NotNegative, Positive, Section
from mnist_trainer.config.load import load_config
from mnist_trainer.config.overrides import format_override
from mnist_trainer.config.schema import Config

Numbers = Annotated[ListOf[float], Field(min_length=2, max_length=2)]
WholeNumbers = Annotated[ListOf[int], Field(min_length=2, max_length=2)]

DEFAULT_TRIALS = 20


class _Parameter(Section):
    """One way to say what a key may be, named by its first key."""

    @property
    def kind(self) -> str:
        """`uniform`, `choice` and so on."""
        return next(iter(type(self).model_fields))


class _Range(_Parameter):
    """Numbers between two bounds, which belong to it."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = getattr(self, self.kind)
        return low, high

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to check a key with: the bounds, which are no whole numbers even if they were written as such."""
        return tuple(map(float, self.bounds))

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.bounds
        if low >= high:
            raise ValueError(f"the first bound must be the smaller one, got [{low:g}, {high:g}]")
        if low <= 0 and (isinstance(self, LogUniform) or getattr(self, "log", False)):
            raise ValueError(f"a logarithm needs bounds greater than 0, got [{low:g}, {high:g}]")
        return self


class Uniform(_Range):
    """Any number between two bounds."""

    uniform: Numbers = Field(description="the smallest and the largest value")


class LogUniform(_Range):
    """Any number between two bounds, each order of magnitude as likely as the others."""

    log_uniform: Numbers = Field(description="the smallest and the largest value, greater than 0")


class IntUniform(_Range):
    """A whole number between two bounds."""

    int: WholeNumbers = Field(description="the smallest and the largest value")
    step: Positive = Field(default=1, description="only every so many-th number from the smallest on")
    log: bool = Field(default=False, description="each order of magnitude as likely as the others")

    @property
    def samples(self) -> tuple[Any, ...]:
        """The bounds."""
        return self.bounds

    @model_validator(mode="after")
    def _step_or_log(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError("takes step or log, not both")
        return self


class Choice(_Parameter):
    """One of some values, which may be lists and mappings."""

    choice: Annotated[ListOf[Any], Field(min_length=1)] = Field(description="the values")

    @property
    def samples(self) -> tuple[Any, ...]:
        """All values."""
        return self.choice

    @property
    def labels(self) -> dict[str, Any]:
        """What the values are called in the study's records → the values."""
        return {label(value): value for value in self.choice}

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        names = [label(value) for value in self.choice]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is given twice")
        return self


Parameter = LogUniform | Uniform | IntUniform | Choice
PARAMETER_TYPES: Mapping[str, type[Parameter]] = {
    "log_uniform": LogUniform,
    "uniform": Uniform,
    "int": IntUniform,
    "choice": Choice,
}


class SweepFile(Section):
    """The keys of a sweep's file; what `base` and `space` hold is checked by their own rules."""

    name: Name = Field(default="sweep", description="of the study and its folder: letters, digits and _ . + -")
    base: str | dict[str, Any] = Field(description="a config: a file beside this one, a shipped config's name, or keys")
    space: Annotated[dict[str, Any], Field(min_length=1)] = Field(
        description="config keys and what they may be, as in optimizer.lr: {log_uniform: [1e-4, 1e-1]}"
    )
    objective: Literal["val_loss", "val_accuracy"] = Field(
        default="val_loss", description="the validation figure that decides"
    )
    sampler: Literal["tpe", "random", "grid"] = Field(default="tpe", description="how values are chosen")
    pruner: Literal["none", "median", "hyperband"] = Field(
        default="median", description="how trials that fall behind are ended early"
    )
    trials: Positive | None = Field(
        default=None, description=f"how many; default {DEFAULT_TRIALS}, for grid all combinations"
    )
    seed: NotNegative = Field(default=0, description="of the choice of values")


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. `base` is plain data with its short forms, as it was written."""

    settings: SweepFile
    base: dict[str, Any]
    space: dict[str, Parameter]

    @property
    def name(self) -> str:
        """Of the study and its folder."""
        return self.settings.name

    @property
    def objective(self) -> Literal["val_loss", "val_accuracy"]:
        """The validation figure that decides."""
        return self.settings.objective

    @property
    def combinations(self) -> int:
        """How many points a grid has."""
        return prod(len(parameter.samples) for parameter in self.space.values())

    @property
    def trials(self) -> int:
        """How many trials there shall be."""
        if self.settings.sampler == "grid":
            return min(self.combinations, self.settings.trials or self.combinations)
        return self.settings.trials or DEFAULT_TRIALS

    def point(self, index: int) -> dict[str, str]:
        """The labels of a grid's combination `index`, from 0; the last key changes first."""
        labels = [parameter.labels for parameter in self.space.values() if isinstance(parameter, Choice)]
        return dict(zip(self.space, next(islice(product(*labels), index, None)), strict=True))

    def config(self, values: Mapping[str, Any]) -> Config:
        """The checked config of one trial. Raises `ConfigError` if `values` and the base do not go together."""
        return load_config(self.base, as_overrides(values))


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """`key=value` for each of `values`: whole sections before the keys inside them."""
    ordered = sorted(values.items(), key=lambda item: item[0].count("."))
    return list(map(format_override, ordered))


def label(value: Any) -> str:
    """A value in one line: text as it is, everything else as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
