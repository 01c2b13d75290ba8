"""What PyYAML's scanner, parser and composer stumble over, in words that say how to mend it."""

from __future__ import annotations

import yaml

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
