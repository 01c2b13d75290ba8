"""A reader of YAML 1.2 that returns a `Document`: plain data, with the line and column of every value.

PyYAML composes the nodes; its constructor is replaced, because it reads `1e-3` as text, `010` as 8 and `off` as false,
and silently keeps the last of two equal keys. Here `1e-3` is a number, `010` is 10, and the other two are problems with
a location. The reader continues after a problem if the rest of the text can be read.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mnist_trainer.errors import ConfigError, ConfigProblem, one_line

KeyPath = tuple[str | int, ...]
"""The keys and positions that lead from the top of a config to a value: `("model", "hidden", 0)`."""


class SourceLocation(NamedTuple):
    """The location of a key or value. Locations sort by position, overrides last. Lines and columns from 1."""

    override: int = 0
    line: int = 0
    column: int = 0
    file: str = ""

    def __str__(self) -> str:
        if self.override:
            return f"override {self.override}"
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """A `ConfigProblem` before it is formatted: its location can be sorted, its path can be looked up."""

    location: SourceLocation
    path: KeyPath
    message: str


@dataclass
class Document:
    """The result of reading: `data` as plain values (None if unreadable), and the locations of each key and value."""

    data: Any = None
    locations: dict[KeyPath, tuple[SourceLocation, SourceLocation]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    reported: set[KeyPath] = field(default_factory=set)
    """Paths whose values the reader has already reported."""

    def add_problem(self, location: SourceLocation, path: KeyPath, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(location, path, message))

    def error(self) -> ConfigError:
        """Return the error with all problems in the order of their locations."""
        ordered = sorted(self.problems, key=lambda problem: problem.location)
        return ConfigError(
            [ConfigProblem(str(location), format_path(path), message) for location, path, message in ordered]
        )

    def is_reported(self, path: KeyPath) -> bool:
        """Return whether the value at `path`, or one that contains it, has already been reported."""
        paths = (path, self._existing_path(path)[0])
        return any(each[:length] in self.reported for each in paths for length in range(len(each) + 1))

    def location_of(self, path: KeyPath, at_key: bool = False) -> SourceLocation:
        """Return the location of the value (or key) at `path`, or else of the innermost section that contains it."""
        written, is_complete = self._existing_path(path)
        while written and written not in self.locations:
            written, is_complete = written[:-1], False
        key, value = self.locations.get(written, (SourceLocation(), SourceLocation()))
        return key if at_key or not is_complete else value

    def value_at(self, path: KeyPath) -> Any:
        """Return the value at `path`, also within short forms; None if there is none."""
        data, (written, is_complete) = self.data, self._existing_path(path)
        for key in written:
            data = data[key]
        return data if is_complete else None

    def subdocument(self, path: KeyPath) -> Document:
        """Return the part at `path` as a separate document, without problems."""
        data: Any = self.data
        for key in path:
            data = data[key]
        length = len(path)
        locations = {inner[length:]: pair for inner, pair in self.locations.items() if inner[:length] == path}
        reported = {inner[length:] for inner in self.reported if inner[:length] == path}
        return Document(data, locations, reported=reported)

    def _existing_path(self, path: KeyPath) -> tuple[KeyPath, bool]:
        """Return the part of `path` that exists in the data, with short forms followed, and whether it is complete."""
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
    """Return `model.hidden.0`, with control characters escaped and long keys cut."""
    return ".".join(one_line(str(part)) for part in path)


MAX_BYTES = 1_000_000
MAX_VALUES = 10_000
MAX_DEPTH = 50
MAX_INTEGER = 2**63 - 1

PICTURE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"%PDF")
"""The first bytes of picture files."""

_SIGNATURES = {
    PICTURE_SIGNATURES: "a picture, for mnist-predict",
    (b"PK\3\4",): "a checkpoint, for mnist-eval, or another archive",
    (b"\x1f\x8b",): "a compressed file",
}
"""The first bytes of other files that may be passed as a config by mistake."""

YAML11_BOOLEANS = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}
"""Booleans of YAML 1.1, in any case, which are text in YAML 1.2."""

_WORDS = {"null": None, "true": True, "false": False}
_CONSTANTS = {case(word): value for word, value in _WORDS.items() for case in (str.lower, str.title, str.upper)}
_CONSTANTS |= {"": None, "~": None}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse_scalar(text: str) -> Any:
    """Return the value of unquoted text in YAML 1.2's core schema: None, a bool, a number or the text itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NUMBER.fullmatch(text):
        return float(text.replace(".", "") if text.lower().endswith(("inf", "nan")) else text)
    return text


def read_file(path: Path) -> Document:
    """Return the document of a config file, with all its `problems`. Raises `FileNotFoundError`."""
    start = SourceLocation(file=str(path))
    try:
        document = _unreadable(start, why) if (why := _why_not_a_file(path)) else _read_bytes(path, start)
    except FileNotFoundError:
        raise
    except OSError as error:
        return _unreadable(start, f"can't be read: {error.strerror}")
    if isinstance(document.data, dict) and {"status", "versions"} <= document.data.keys():
        return _unreadable(start, f"the record of a run; its config is {path.with_name('config.yaml')}")
    return _require_mapping(document)


def read_mapping(text: str) -> Document:
    """Return the document of the text of a config, with all its `problems`; their locations are `:line:column`."""
    start = SourceLocation()
    if len(text) > MAX_BYTES:
        return _unreadable(start, "more than 1 MB, too large for a config")
    return _require_mapping(read_text(text, start))


def _require_mapping(document: Document) -> Document:
    """Return the document; if it has no keys at the top, without data and with that problem."""
    is_unreadable = document.data is None and document.problems
    if not isinstance(document.data, dict) and not is_unreadable:
        document.add_problem(document.location_of(()), (), _describe_non_mapping(document.data))
        document.data = None
    return document


def _why_not_a_file(path: Path) -> str:
    """Return the reason why `path` can't be a config file; empty if it may be one, or does not exist."""
    if path.is_dir():
        config = path / "config.yaml"
        where = f"its config is {config}" if config.is_file() else "name a .yaml file in it"
        return f"is a folder, and a config is a file; {where}"
    is_special = path.exists() and not path.is_file()  # reading a pipe blocks, reading a device never ends
    return "a pipe or a device; save the config in a file" if is_special else ""


def _read_bytes(path: Path, start: SourceLocation) -> Document:
    """Return the document of a file, or the reason why it can't be a config as a problem."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if kind := next((kind for starts, kind in _SIGNATURES.items() if content.startswith(starts)), ""):
        return _unreadable(start, f"{kind}; a config is a text file, as mlp.yaml")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "saved as UTF-16" if is_utf16 else f"byte 0x{error.object[error.start]:02X} is not UTF-8"
        location = _location_after(error.object[: error.start].decode(), start)
        return _unreadable(location, f"{what}; save the file as plain text in UTF-8")
    if len(content) > MAX_BYTES:
        return _unreadable(start, "more than 1 MB, too large for a config")
    return read_text(text.replace("\t", " ") if path.suffix.lower() == ".json" else text, start)


def _unreadable(location: SourceLocation, message: str) -> Document:
    """Return a document without data, and with one problem."""
    return Document(problems=[Problem(location, (), message)])


def _describe_non_mapping(data: Any) -> str:
    """Return the message for a file without keys at the top."""
    match data:
        case None:
            return "the file is empty; it needs at least 'model: {architecture: mlp}'"
        case list():
            return "a list at the top; a config has keys there: remove the '- ' or the brackets"
        case _:
            return "no keys; a config consists of lines like 'seed: 0'"


def read_text(text: str, origin: SourceLocation) -> Document:
    """Return the document of a YAML text. `origin` is the file, or the override to use as every location."""
    document = Document(locations={(): (_location_at(origin, 0, 0),) * 2})
    try:
        node = _Loader(text).get_single_node()
        if node is not None:
            document.data = _Builder(document, origin).build(node, ())
    except yaml.reader.ReaderError as error:
        message = f"control character U+{error.character:04X}; a config is plain text"
        document.add_problem(_location_after(text[: error.position], origin), (), message)
    except yaml.MarkedYAMLError as error:
        line, column, message = _explain(error, text)
        document.data = None
        document.add_problem(_location_at(origin, line, column), (), message)
    if document.data is None and document.problems:
        document.reported.add(())
    return document


def compose(text: str) -> yaml.Node:
    """Return the nodes of a YAML text that can be read and is not empty; positions are those of characters."""
    node = _Loader(text).get_single_node()
    assert node is not None
    return node


def _location_at(origin: SourceLocation, line: int, column: int) -> SourceLocation:
    """Return the location of a line and column, which are counted from 0."""
    return origin if origin.override else SourceLocation(0, line + 1, column + 1, origin.file)


def _location_after(text: str, origin: SourceLocation) -> SourceLocation:
    """Return the location of the character after `text`."""
    return _location_at(origin, text.count("\n"), len(text) - text.rfind("\n") - 1)


class _Loader(yaml.SafeLoader):
    """Composes nodes with the tag `plain`, `quoted`, `list` or `mapping`; any other tag comes from the text. The node
    of an alias has the position of the alias. The depth is limited."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parents: list[yaml.Node | None] = []

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node without a tag in the text."""
        if kind is yaml.ScalarNode:
            return "plain" if implicit[0] else "quoted"
        return "list" if kind is yaml.SequenceNode else "mapping"

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        """Return the next node below `parent`."""
        peek_event: Any = self.peek_event
        event = peek_event()
        start: Any = event.start_mark
        if len(self.parents) >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=start)
        self.parents.append(parent)
        node: Any = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if node in self.parents:
                raise yaml.MarkedYAMLError(problem="recursive alias", problem_mark=start)
            node = copy(node)
            node.start_mark = start
        self.parents.pop()
        return node


class _Builder:
    """Turns nodes into plain data, and records locations and problems in the document."""

    def __init__(self, document: Document, origin: SourceLocation) -> None:
        self.document = document
        self.origin = origin
        self.count = 0
        self.section: yaml.Node | None = None

    def build(self, node: yaml.Node, path: KeyPath, key: yaml.Node | None = None) -> Any:
        """Return the plain value of `node`; None with a problem if there is none."""
        self.count += 1
        self.section = key if len(path) == 1 else self.section
        if self.count > MAX_VALUES:
            start: Any = (self.section or node).start_mark
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=start)
        self.document.locations[path] = (self._location(key or node), self._location(node))
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
                return self._reject(node, path, f"the tag {tag} is not supported; remove it")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        """Return the plain value of a mapping, without the keys that have problems."""
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
        """Return the value of text without quotes; None with a problem if it is ambiguous or too large."""
        text = node.value
        if boolean := YAML11_BOOLEANS.get(text.lower()):
            off = "; null switches a part off" if boolean == "false" else ""
            message = f"{text} is {boolean} for some programs and text for others; write {boolean}, or quote it{off}"
            return self._reject(node, path, message)
        if _INTEGER.fullmatch(text) and (len(text) > 40 or abs(int(parse_scalar(text))) > MAX_INTEGER):
            return self._reject(node, path, f"too large; whole numbers end at {MAX_INTEGER}")
        return parse_scalar(text)

    def _reject(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._add_problem(node, path, message)
        self.document.reported.add(path)

    def _add_problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.add_problem(self._location(node), path, message)

    def _location(self, node: yaml.Node) -> SourceLocation:
        return _location_at(self.origin, node.start_mark.line, node.start_mark.column)


_AT_START = "at start"
"""Marks errors that PyYAML detects late; they are reported where the unfinished part starts."""

_EXPLANATIONS = (
    ("found another document", "a second document starts here; a config is one: remove the '---'"),
    (
        "mapping values are not allowed",
        "an unexpected ': ': it is the second one in the line, the indentation is wrong, or the line above has none; "
        "text with ': ' needs quotes",
    ),
    ("expected <block end>", "is not aligned with the lines above; the keys of a section start in the same column"),
    ("unindent", "is not aligned with the lines above; the keys of a section start in the same column"),
    ("could not find expected ':'", "a ': ' is missing after this; a line is 'key: value'", _AT_START),
    ("expected ',' or ']'", "the '[' is never closed; a list is [1, 2, 3]", _AT_START),
    ("expected ',' or '}'", "the '{' is never closed; a mapping is {key: value, key: value}", _AT_START),
    ("scanning a quoted scalar, found unexpected", "the quote is never closed", _AT_START),
    ("escape", "unknown \\ in double quotes; use 'single' quotes, or double the \\"),
    ("found undefined alias", "an alias (*) needs an anchor (&) of the same name before it; text with * needs quotes"),
    ("found duplicate anchor", "this anchor (&) exists already; choose another name"),
    ("recursive alias", "the alias is inside its own anchor, which never ends; write the value out"),
    ("nested too deeply", "nested too deeply for a config"),
    ("too many values", "more than 10,000 values, with those that aliases repeat; too many for a config"),
    ("expected the node content", "a value is missing before this"),
    (
        "sequence entries are not allowed",
        "a list can't begin here; put its '- ' items on lines of their own, or in [ ]",
    ),
    ("that cannot start any token", "a value can't start with this character; put the text in quotes"),
)


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Return the line and column (from 0) of the error in `text`, and a message that says how to correct it."""
    mark = error.problem_mark or error.context_mark
    description = ", ".join(part for part in (error.context, error.problem) if part)
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())] if line < len(lines) else ""
    if "\t" in indent:
        return line, indent.index("\t"), "a tab; YAML is indented with spaces"
    if "'\\t'" in description:
        return line, column, "a tab; YAML takes only spaces here"
    for needle, message, *where in _EXPLANATIONS:
        if needle in description:
            start = error.context_mark if where and error.context_mark else None
            return (start.line, start.column, message) if start else (line, column, message)
    return line, column, f"not valid YAML: {description}"
