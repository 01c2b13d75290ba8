"""In which keys two configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """A key, `optimizer.lr`, and its two values; None where there is none."""

    key: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.key} is {_shown(self.first)} there and {_shown(self.second)} here"


def differences(first: Mapping[str, Any], second: Mapping[str, Any], above: str = "") -> Iterator[Difference]:
    """The keys whose values differ; of configs as plain mappings, `model_dump(mode="json")`."""
    for name in dict.fromkeys([*first, *second]):
        one, other, key = first.get(name), second.get(name), f"{above}{name}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{key}.")
        elif one != other:
            yield Difference(key, one, other)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
