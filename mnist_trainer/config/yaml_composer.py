"""YAML text → nodes with their marks, by libyaml where PyYAML was built with it: in a tenth of the time."""

from __future__ import annotations

import re
from contextlib import suppress
from copy import copy
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import BaseResolver

MAX_VALUES = 10_000
MAX_DEPTH = 50

_READ_OTHERWISE = re.compile(r"[\t!?|>%\ufeff]|---")
"""Where PyYAML and libyaml differ in what they take, or in where they see it."""


def compose(text: str) -> Any:
    """The top node of a YAML text, None of an empty one. Its tags say how it was written: `plain`, `quoted`, `list` or
    `mapping`; any other came from the text. Raises `yaml.YAMLError`, always in PyYAML's own words."""
    if yaml.__with_libyaml__ and not _READ_OTHERWISE.search(text):
        with suppress(yaml.YAMLError, UnicodeEncodeError):
            return FastComposer(text).get_single_node()
    return PlainComposer(text).get_single_node()


class _Composer(Composer, BaseResolver):
    """Composes nodes of what a parser that is inherited besides makes of the text."""

    def __init__(self) -> None:
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.open: list[str | None] = []
        self.count = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return "plain" if implicit[0] else "quoted"
        return "list" if kind is yaml.SequenceNode else "mapping"

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[attr-defined]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.open:
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(problem="recursive alias", problem_mark=mark)
            node: Any = copy(super().compose_node(parent, index))
            node.start_mark = event.start_mark
            return node
        if len(self.open) >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        self.count += 1
        if self.count > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=event.start_mark)
        self.open.append(event.anchor)
        node = super().compose_node(parent, index)
        self.open.pop()
        return node


class PlainComposer(_Composer, yaml.SafeLoader):
    """Out of what PyYAML's own parser makes of `text`."""

    def __init__(self, text: str) -> None:
        yaml.SafeLoader.__init__(self, text)
        _Composer.__init__(self)


if yaml.__with_libyaml__:

    class FastComposer(_Composer, yaml.CSafeLoader):
        """Out of what libyaml makes of `text`."""

        def __init__(self, text: str) -> None:
            yaml.CSafeLoader.__init__(self, text)
            _Composer.__init__(self)
