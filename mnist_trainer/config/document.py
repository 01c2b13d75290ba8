"""What was read from a config file, and where each of its values stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]
"""The way from the top of a config to one of its values: `("model", "hidden", 0)`."""


class SourceLocation(NamedTuple):
    """Where something stands; sorts in the order of reading, overrides after the file. Lines and columns from 1."""

    override: int = 0
    line: int = 0
    column: int = 0
    file: str = ""

    def __str__(self) -> str:
        if self.override:
            return f"override {self.override}"
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """A mistake: its place, the path of the key, and what is wrong with it."""

    location: SourceLocation
    path: KeyPath
    message: str


@dataclass
class Document:
    """What was read: `data` as plain values (None when unreadable) and, for each path, the places of key and value."""

    data: Any = None
    locations: dict[KeyPath, tuple[SourceLocation, SourceLocation]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    reported: set[KeyPath] = field(default_factory=set)
    """Values that were complained about here: nobody else needs to."""

    def add_problem(self, location: SourceLocation, path: KeyPath, message: str) -> None:
        """Add a complaint."""
        self.problems.append(Problem(location, path, message))

    def is_reported(self, path: KeyPath) -> bool:
        """Whether the value at `path`, or one that it belongs to, was complained about already."""
        ways = (path, self._written(path)[0])
        return any(way[:length] in self.reported for way in ways for length in range(len(way) + 1))

    def location_of(self, path: KeyPath, at_key: bool = False) -> SourceLocation:
        """The place of the value at `path` (or of its key), or of the nearest thing above it that was written."""
        written, is_whole = self._written(path)
        while written and written not in self.locations:
            written, is_whole = written[:-1], False
        key, value = self.locations.get(written, (SourceLocation(), SourceLocation()))
        return key if at_key or not is_whole else value

    def at(self, path: KeyPath) -> Any:
        """Return the value at `path`, also within short forms; None if there is none."""
        data, (written, is_whole) = self.data, self._written(path)
        for key in written:
            data = data[key]
        return data if is_whole else None

    def below(self, path: KeyPath) -> Document:
        """What stands at `path`, as a document of its own: its data, places and what is broken, without complaints."""
        data: Any = self.data
        for key in path:
            data = data[key]
        length = len(path)
        locations = {at[length:]: both for at, both in self.locations.items() if at[:length] == path}
        reported = {at[length:] for at in self.reported if at[:length] == path}
        return Document(data=data, locations=locations, reported=reported)

    def _written(self, path: KeyPath) -> tuple[KeyPath, bool]:
        """The part of `path` that stands in the data, through short forms, and whether that is all of it."""
        node: Any = self.data
        written: KeyPath = ()
        for key in path:
            if isinstance(node, str):  # a short form, the name alone
                continue
            if written and isinstance(node, dict) and key not in node and len(node) == 1:  # {conv: 32}
                ((name, node),) = node.items()
                written = (*written, name)
                if not isinstance(node, dict) or key not in node:
                    continue
            keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            if key not in keys:
                return written, False
            node, written = node[key], (*written, key)
        return written, True


def format_path(path: KeyPath) -> str:
    """`model.hidden.0`; what can't be printed is escaped, and what is very long is cut."""
    return ".".join(one_line(str(part)) for part in path)


def one_line(text: str, limit: int = 40) -> str:
    """`text` for one line of a message: control characters escaped, cut where it is long."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"
