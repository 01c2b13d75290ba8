"""What was read from a config file, and where each of its values stands.

YAML text → nodes with their marks, by libyaml where PyYAML was built with it: in a tenth of the time.

What PyYAML's scanner, parser and composer stumble over, in words that say how to mend it.

YAML text → plain data in which every value knows its line and column, by YAML 1.2's rules.

PyYAML scans and parses; what its constructor would do is done here. It reads `1e-3` as text, `010` as 8, `off` as
false, and keeps the last of two equal keys in silence: the first is a number here, the second is 10, the others are
mistakes with a place. A mistake that leaves the rest readable does not stop the reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mnist_trainer.errors import one_line

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


_AT_START = "at start"
"""Marks the words for mistakes that are seen late: their place is where the unfinished thing begins."""

_EXPLANATIONS = (
    ("found another document", "a second document starts here; a config is one: take the '---' away"),
    (
        "mapping values are not allowed",
        "a ': ' that fits nowhere: a second one in the line, a wrong indentation, or none in the line above; "
        "text with ': ' needs quotes",
    ),
    ("expected <block end>", "does not line up with the lines above; the keys of a section start in the same column"),
    ("unindent", "does not line up with the lines above; the keys of a section start in the same column"),
    ("could not find expected ':'", "no ': ' after this; a line reads 'key: value'", _AT_START),
    ("expected ',' or ']'", "the '[' is never closed; items stand between [ and ], with commas", _AT_START),
    ("expected ',' or '}'", "the '{' is never closed; keys stand between { and }, with commas", _AT_START),
    ("scanning a quoted scalar, found unexpected", "the quote is never closed", _AT_START),
    ("escape", "unknown \\ in double quotes; use 'single' quotes, or double the \\"),
    ("found undefined alias", "* stands for a value that was named with & before, and this was not; text needs quotes"),
    ("found duplicate anchor", "this & name was given before; choose another"),
    ("recursive alias", "the alias stands inside the value it names, which would never end; write the value out"),
    ("nested too deeply", "nested too deeply for a config"),
    ("too many values", "more than 10,000 values, counting those that aliases repeat; that is no config"),
    ("expected the node content", "a value is missing before this"),
    (
        "sequence entries are not allowed",
        "a list can't begin here; put its '- ' items on lines of their own, or in [ ]",
    ),
    ("that cannot start any token", "a value can't start with this character; put the text in quotes"),
)


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Line and column (from 0) of the mistake in `text`, and what it is."""
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())] if line < len(lines) else ""
    if "\t" in indent:
        return line, indent.index("\t"), "a tab; YAML is indented with spaces"
    if "'\\t'" in said:
        return line, column, "a tab; YAML takes only spaces here"
    for needle, message, *where in _EXPLANATIONS:
        if needle in said:
            start = error.context_mark if where and error.context_mark else None
            return (start.line, start.column, message) if start else (line, column, message)
    return line, column, f"no valid YAML: {said}"


MAX_BYTES = 1_000_000
MAX_WHOLE = 2**63 - 1

PICTURE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"%PDF")
"""How files with pictures begin."""

_SIGNATURES = {
    PICTURE_SIGNATURES: "a picture, for mnist-predict",
    (b"PK\3\4",): "a checkpoint, for mnist-eval, or another archive",
    (b"\x1f\x8b",): "a compressed file",
}
"""Other files that are given instead of a config, by their first bytes."""

YAML11_BOOLEANS = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}
"""What YAML 1.1 takes for booleans and YAML 1.2 for text, in any case."""

_CONSTANT_WORDS: tuple[tuple[str, bool | None], ...] = (("null", None), ("true", True), ("false", False))
_CONSTANTS = {case(word): value for word, value in _CONSTANT_WORDS for case in (str.lower, str.title, str.upper)}
_CONSTANTS |= {"": None, "~": None}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_file(path: Path) -> Document:
    """The document of a config file, whatever may be wrong with it: see its `problems`.

    Raises `FileNotFoundError`.
    """
    start = SourceLocation(file=str(path))
    try:
        if reason := _why_not_a_file(path):
            return _unreadable(start, reason)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if kind := next((kind for starts, kind in _SIGNATURES.items() if content.startswith(starts)), ""):
            return _unreadable(start, f"{kind}; a config is a text file, as mlp.yaml")
        text = content.decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            text = text.replace("\t", " ")  # which YAML forbids
    except FileNotFoundError:
        raise
    except NotADirectoryError:
        return _unreadable(start, "can't be read: a part of its path is a file, not a folder")
    except OSError as error:
        return _unreadable(start, f"can't be read: {error.strerror}")
    except UnicodeDecodeError as error:
        location = _location_after(error.object[: error.start].decode(), start)
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "saved as UTF-16" if is_utf16 else f"byte 0x{error.object[error.start]:02X} is no UTF-8"
        return _unreadable(location, f"{what}; save the file as plain text in UTF-8")
    if len(content) > MAX_BYTES:
        return _unreadable(start, "more than 1 MB; that is no config")
    document = read_text(text, start)
    if isinstance(document.data, dict) and {"status", "versions"} <= document.data.keys():
        return _unreadable(start, f"the record of a run; its config is {path.with_name('config.yaml')}")
    if not isinstance(document.data, dict):
        if not document.problems:
            document.add_problem(document.location_of(()), (), _no_mapping(document.data))
        document.data = None
    return document


def _why_not_a_file(path: Path) -> str:
    """Return why `path` can't be a config file; empty if it may be one, or does not exist."""
    if path.is_dir():
        config = path / "config.yaml"
        where = f"its config is {config}" if config.is_file() else "name a .yaml file in it"
        return f"is a folder, and a config is a file; {where}"
    is_other = path.exists() and not path.is_file()  # a pipe would be waited for, a device never ends
    return "a pipe or a device; save the config in a file" if is_other else ""


def read_text(text: str, origin: SourceLocation) -> Document:
    """The document of a YAML text; `origin` names the file, or the override that all places shall be."""
    document = Document(locations={(): (_at(origin, 0, 0),) * 2})
    try:
        node = compose(text)
        if node is not None:
            document.data = _Builder(document, origin).build(node, ())
    except yaml.reader.ReaderError as error:
        message = f"control character U+{error.character:04X}; a config is plain text"
        document.add_problem(_location_after(text[: error.position], origin), (), message)
    except yaml.MarkedYAMLError as error:
        line, column, message = explain(error, text)
        document.data = None
        document.add_problem(_at(origin, line, column), (), message)
    if document.data is None and document.problems:
        document.reported.add(())
    return document


def _unreadable(location: SourceLocation, message: str) -> Document:
    return Document(problems=[Problem(location, (), message)])


def _no_mapping(data: Any) -> str:
    match data:
        case None:
            return "the file is empty; it needs at least 'model: {architecture: mlp}'"
        case list():
            return "a list at the top; a config has keys there: take the '- ' or the brackets away"
        case _:
            return "no keys; a config consists of lines like 'seed: 0'"


def _at(origin: SourceLocation, line: int, column: int) -> SourceLocation:
    """The place of a mark, whose numbers count from 0."""
    return origin if origin.override else SourceLocation(0, line + 1, column + 1, origin.file)


def _location_after(text: str, origin: SourceLocation) -> SourceLocation:
    return _at(origin, text.count("\n"), len(text) - text.rfind("\n") - 1)


class _Builder:
    """Turns nodes into plain data, and notes places and complaints in the document."""

    def __init__(self, document: Document, origin: SourceLocation) -> None:
        self.document = document
        self.origin = origin
        self.count = 0
        self.top: Any = None

    def build(self, node: yaml.Node, path: KeyPath, key: yaml.Node | None = None) -> Any:
        self.count += 1
        self.top = key if len(path) == 1 else self.top
        if self.count > MAX_VALUES:
            start: Any = (self.top or node).start_mark
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=start)
        location = self._location(node)
        self.document.locations[path] = (self._location(key) if key else location, location)
        match node:
            case yaml.MappingNode(tag="mapping"):
                return self._mapping(node, path)
            case yaml.SequenceNode(tag="list"):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode(tag="quoted"):
                return node.value
            case yaml.ScalarNode(tag="plain"):
                return self._plain(node, path)
            case _:
                tag = node.tag.replace("tag:yaml.org,2002:", "!!")
                return self._refuse(node, path, f"the tag {tag} is not supported; take it away")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in ("plain", "quoted") or not key.value:
                self._add_problem(key, path, "a key must be a plain name, as in 'seed: 0'")
            elif key.value == "<<" and key.tag == "plain":
                self._add_problem(key, path, "merge keys (<<) are not supported; write the keys out")
            elif key.value in data:
                first = self.document.locations[(*path, key.value)][0]
                seen = f"; the first is at {first.line}:{first.column}" if first.line else ""
                self._add_problem(key, (*path, key.value), f"repeated key{seen}; keep one of them")
            else:
                data[key.value] = self.build(value, (*path, key.value), key)
        return data

    def _plain(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = node.value
        if text.lower() in YAML11_BOOLEANS:
            meant = YAML11_BOOLEANS[text.lower()]
            off = "; null switches a part off" if meant == "false" else ""
            message = f"programs disagree whether {text} is {meant} or text; write {meant}, or quote it{off}"
            return self._refuse(node, path, message)
        if _WHOLE.fullmatch(text) and (len(text) > 40 or abs(int(parse_scalar(text))) > MAX_WHOLE):
            return self._refuse(node, path, f"too large; whole numbers end at {MAX_WHOLE}")
        return parse_scalar(text)

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._add_problem(node, path, message)
        self.document.reported.add(path)

    def _add_problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.add_problem(self._location(node), path, message)

    def _location(self, node: yaml.Node) -> SourceLocation:
        return _at(self.origin, node.start_mark.line, node.start_mark.column)


def parse_scalar(text: str) -> Any:
    """What text without quotes stands for in YAML 1.2's core schema: None, a bool, a number or the text itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WHOLE.fullmatch(text):
        bases = {"0o": 8, "0x": 16}
        return int(text[2:], bases[text[:2]]) if text[:2] in bases else int(text)
    if _NUMBER.fullmatch(text):
        named = text.lower().endswith(("inf", "nan"))
        return float(text.replace(".", "") if named else text)
    return text
