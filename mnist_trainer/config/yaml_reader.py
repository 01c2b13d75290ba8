"""YAML text → plain data in which every value knows its line and column, by YAML 1.2's rules.

PyYAML scans and parses; what its constructor would do is done here. It reads `1e-3` as text, `010` as 8, `off` as
false, and keeps the last of two equal keys in silence: the first is a number here, the second is 10, the others are
mistakes with a place. A mistake that leaves the rest readable does not stop the reading.
"""

from __future__ import annotations

import re
from pathlib import KeyPath as Path
from typing import Any

import yaml

from mnist_trainer.config.document import Document, KeyPath, Problem, SourceLocation
from mnist_trainer.config.yaml_composer import MAX_VALUES, compose
from mnist_trainer.config.yaml_errors import explain

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
