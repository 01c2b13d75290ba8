"""Change values in a YAML text and keep the rest of it, with its comments and its layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from mnist_trainer.config.yaml_reader import YAML11_BOOLEANS, compose, parse_scalar

Edit = tuple[int, int, str]
"""The characters of a text from the first position to the second one, and what replaces them."""

_WORD = re.compile(r"\w[\w.+/-]*")


def flow(value: Any) -> str:
    """Return plain data as YAML on one line: `[64, 32]`, `{name: adamw, lr: 0.01}`."""
    match value:
        case dict():
            return f"{{{', '.join(f'{key}: {flow(item)}' for key, item in value.items())}}}"
        case list():
            return f"[{', '.join(map(flow, value))}]"
        case str() if _WORD.fullmatch(value) and isinstance(parse_scalar(value), str):
            return f"'{value}'" if value.lower() in YAML11_BOOLEANS else value
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return json.dumps(value)


def edit_values(text: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return `text`, which holds the data `old`, with the values and keys of `new`; no key of `old` is missing in it.

    What can't be edited in place (aliases, text of several lines) makes the result another document than `new`.
    """
    edits = sorted(_edits(text, compose(text), old, new, 0), reverse=True)
    for start, end, replacement in edits:
        text = text[:start] + replacement + text[end:]
    return text


def _edits(text: str, node: Any, old: Any, new: Any, key_end: int) -> Iterator[Edit]:
    """Yield the edits that turn the value `old`, written as `node`, into `new`; its key ends at `key_end`."""
    if repr(old) == repr(new):  # 1, 1.0 and true are equal
        return
    if isinstance(node, yaml.MappingNode) and old and isinstance(new, dict) and old.keys() <= new.keys():
        for key, value in node.value:
            if key.value in old:
                yield from _edits(text, value, old[key.value], new[key.value], key.end_mark.index)
        if added := {key: value for key, value in new.items() if key not in old}:
            yield _insertion(text, node, added)
    elif isinstance(node, yaml.ScalarNode) or node.flow_style:
        start = _index(node.start_mark)
        yield start, _index(node.end_mark), f"{' ' * (text[start - 1] == ':')}{flow(new)}"
    else:  # a block, which begins on the line after its key
        yield key_end, _line_end(text, _end(node)), f": {flow(new)}"


def _insertion(text: str, node: Any, added: dict[str, Any]) -> Edit:
    """Return the edit that adds keys at the end of a mapping that has some."""
    items = [f"{key}: {flow(value)}" for key, value in added.items()]
    if node.flow_style:
        at, before = _end(node.value[-1][1]), ", "
    else:
        at, before = _line_end(text, _end(node)), "\n" + " " * node.value[0][0].start_mark.column
    return at, at, "".join(before + item for item in items)


def _end(node: Any) -> int:
    """Return the position after the last character of a value; PyYAML's marks of blocks include comments after them."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return _index(node.end_mark)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _index(mark: Any) -> int:
    return int(mark.index)


def _line_end(text: str, at: int) -> int:
    """Return the position of the end of a line."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end
