"""YAML text → nodes with their marks, by libyaml where PyYAML was built with it: in a tenth of the time."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any

import yaml

MAX_VALUES = 10_000
MAX_DEPTH = 50

_READ_DIFFERENTLY = re.compile(r"[\t!?|>%\ufeff]|---|:\s*[]#,}]")
"""Where PyYAML and libyaml may differ in what they take, or in where they see it."""


def compose(text: str) -> yaml.Node | None:
    """The top node of a YAML text, None of an empty one. Its tags say how it was written: `plain`, `quoted`, `list` or
    `mapping`; any other came from the text. Raises `yaml.YAMLError`, always in PyYAML's own words."""
    if yaml.__with_libyaml__ and not _READ_DIFFERENTLY.search(text):
        with suppress(yaml.YAMLError, UnicodeEncodeError):
            return compose_with(yaml.CSafeLoader, text)
    return compose_with(yaml.SafeLoader, text)


def compose_with(parser: Any, text: str) -> yaml.Node | None:
    """The same out of the events that `parser` makes of the text."""
    composer = _Composer(parser(text).get_event)
    composer.next()  # the stream's start
    if isinstance(composer.next(), yaml.StreamEndEvent):
        return None
    node = composer.node(composer.next())
    composer.next()  # the document's end
    event = composer.next()
    if not isinstance(event, yaml.StreamEndEvent):
        raise _error("found another document", event)
    return node


class _Composer:
    """Turns events into nodes: PyYAML's does, too, but has no limits, no places of aliases, and takes twice as long."""

    def __init__(self, events: Callable[[], Any]) -> None:
        self.next = events
        self.named: dict[str, yaml.Node | None] = {}
        self.depth = self.count = 0

    def node(self, event: Any) -> yaml.Node:
        """The node that begins with `event`."""
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        self.count += 1
        if self.depth >= MAX_DEPTH or self.count > MAX_VALUES:
            raise _error("nested too deeply" if self.depth >= MAX_DEPTH else "too many values", event)
        anchor, tag = event.anchor, None if event.tag == "!" else event.tag
        if anchor is not None:
            if anchor in self.named:
                raise _error("found duplicate anchor", event)
            self.named[anchor] = None  # until it is complete
        node = self._composed(event, tag)
        if anchor is not None:
            self.named[anchor] = node
        return node

    def _repeated(self, event: yaml.AliasEvent) -> yaml.Node:
        """The node that an alias stands for, at the alias's place."""
        if event.anchor not in self.named:
            raise _error("found undefined alias", event)
        node = copy(self.named[event.anchor])
        if node is None:
            raise _error("recursive alias", event)
        node.start_mark = event.start_mark
        return node

    def _composed(self, event: Any, tag: str | None) -> yaml.Node:
        start = event.start_mark
        if isinstance(event, yaml.ScalarEvent):
            written = "plain" if event.implicit[0] else "quoted"
            return yaml.ScalarNode(tag or written, event.value, start)
        value: list[Any] = []
        self.depth += 1
        if isinstance(event, yaml.MappingStartEvent):
            while not isinstance(key := self.next(), yaml.MappingEndEvent):
                value.append((self.node(key), self.node(self.next())))
            node: yaml.Node = yaml.MappingNode(tag or "mapping", value, start)
        else:
            while not isinstance(item := self.next(), yaml.SequenceEndEvent):
                value.append(self.node(item))
            node = yaml.SequenceNode(tag or "list", value, start)
        self.depth -= 1
        return node


def _error(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
