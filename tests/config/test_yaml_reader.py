from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.config.yaml_reader import SourceLocation, parse_scalar, read_file, read_text

Told = Callable[..., list[str]]


def data_of(text: str) -> object:
    document = read_text(text, SourceLocation(file="c.yaml"))
    assert document.problems == []
    return document.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e+1", -5.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("+7", 7),
        ("-0", 0),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1e400", math.inf),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("inf", "inf"),
        ("=", "="),
        ("e5", "e5"),
        (".", "."),
    ],
)
def test_plain_text_reads_as_in_yaml_1_2(text: str, value: object) -> None:
    read = parse_scalar(text)
    assert (read, type(read)) == (value, type(value))
    assert data_of(f"a: {text}") == {"a": value}


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(parse_scalar(".nan"))


@given(st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False)))
def test_python_numbers_are_read_back(number: float) -> None:
    text = str(number).replace("inf", ".inf")
    assert parse_scalar(text) == number


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: '12'", {"a": "12"}),
        ('a: "off"', {"a": "off"}),
        ("a: |\n  off\n", {"a": "off\n"}),
        ("{true: 7, 2: b, 'x y': c, null: d, on: e}", {"true": 7, "2": "b", "x y": "c", "null": "d", "on": "e"}),
        ("a: &x [1, 2]\nb: *x\nc: {d: *x}", {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}),
        ("'<<': 1", {"<<": 1}),
        ("# only a comment\na: 1 # and one behind\n...\n", {"a": 1}),
    ],
)
def test_structures(text: str, data: object) -> None:
    assert data_of(text) == data


JSON_LIKE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.text("abc 7.:#'\"é")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abc7", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_LIKE, st.booleans())
def test_what_pyyaml_writes_is_read_back(data: object, flow: bool) -> None:
    assert data_of(yaml.safe_dump({"a": data}, default_flow_style=flow)) == {"a": data}


@pytest.mark.slow
@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    document = read_text(text, SourceLocation(file="c.yaml"))
    assert document.problems or isinstance(document.data, (dict, list, str, int, float, type(None)))


def test_places_count_from_one_and_an_alias_stands_where_it_is_used() -> None:
    document = read_text("a: &x 5\nb:\n  - {c: *x}\n", SourceLocation(file="c.yaml"))
    locations = {path: (str(key), str(value)) for path, (key, value) in document.locations.items()}
    assert locations == {
        (): ("c.yaml:1:1", "c.yaml:1:1"),
        ("a",): ("c.yaml:1:1", "c.yaml:1:4"),
        ("b",): ("c.yaml:2:1", "c.yaml:3:3"),
        ("b", 0): ("c.yaml:3:5", "c.yaml:3:5"),
        ("b", 0, "c"): ("c.yaml:3:6", "c.yaml:3:9"),
    }


MODEL = "model: {architecture: mlp}\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            f"{MODEL}seed: 1\nseed: 2\ndata: {{limit: 1, limit: 2}}\n",
            [
                "c.yaml:3:1  seed: repeated key; the first is at 2:1; keep one of them",
                "c.yaml:4:18  data.limit: repeated key; the first is at 4:8; keep one of them",
            ],
        ),
        (
            f"{MODEL}schedule: off\nreport: {{plots: Yes}}\n",
            [
                "c.yaml:2:11  schedule: off is false for some programs and text for others; write false, or quote it; "
                "null switches a part off",
                "c.yaml:3:17  report.plots: Yes is true for some programs and text for others; write true, or quote it",
            ],
        ),
        (
            f"{MODEL}<<: {{seed: 1}}\nseed: !!python/object:os.system [ls]\nname: !env NAME\n? [a]\n: 1\n",
            [
                "c.yaml:2:1  merge keys (<<) are not supported; write the keys out",
                "c.yaml:3:7  seed: the tag !!python/object:os.system is not supported; remove it",
                "c.yaml:4:7  name: the tag !env is not supported; remove it",
                "c.yaml:5:3  a key must be a plain name, as in 'seed: 0'",
            ],
        ),
        (
            f"{MODEL}seed: 9223372036854775808\nthreads: {'9' * 5000}\n",
            [
                "c.yaml:2:7  seed: too large; whole numbers end at 9223372036854775807",
                "c.yaml:3:10  threads: too large; whole numbers end at 9223372036854775807",
            ],
        ),
    ],
)
def test_mistakes_that_leave_the_rest_readable(config_errors: Told, text: str, lines: list[str]) -> None:
    assert config_errors(text) == lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "c.yaml:1:1  the file is empty; it needs at least 'model: {architecture: mlp}'"),
        ("# nothing\n", "c.yaml:1:1  the file is empty; it needs at least 'model: {architecture: mlp}'"),
        ("---\n...\n", "c.yaml:2:1  the file is empty; it needs at least 'model: {architecture: mlp}'"),
        ("- a\n", "c.yaml:1:1  a list at the top; a config has keys there: remove the '- ' or the brackets"),
        ("mlp\n", "c.yaml:1:1  no keys; a config consists of lines like 'seed: 0'"),
        ("model:\n\tarchitecture: mlp\n", "c.yaml:2:1  a tab; YAML is indented with spaces"),
        ("model:\n  hidden: 3\n  \tbias: true\n", "c.yaml:3:3  a tab; YAML is indented with spaces"),
        ("seed:\t1\n", "c.yaml:1:6  a tab; YAML takes only spaces here"),
        (
            "seed: 0\n---\nseed: 1\n",
            "c.yaml:2:1  a second document starts here; a config is one: remove the '---'",
        ),
        (
            "name: a: b\n",
            "c.yaml:1:8  an unexpected ': ': it is the second one in the line, the indentation is wrong, or the "
            "line above has none; text with ': ' needs quotes",
        ),
        (
            "data:\n   limit: 1\n  binary: 2\n",
            "c.yaml:3:3  is not aligned with the lines above; the keys of a section start in the same column",
        ),
        ("seed: 1\nname\n", "c.yaml:2:1  a ': ' is missing after this; a line is 'key: value'"),
        ("a: [1, 2\nb: 3\n", "c.yaml:1:4  the '[' is never closed; a list is [1, 2, 3]"),
        ("a: {b: 1\nc: 3\n", "c.yaml:1:4  the '{' is never closed; a mapping is {key: value, key: value}"),
        ("a: [1,,2]\n", "c.yaml:1:7  a value is missing before this"),
        ("a: - b\n", "c.yaml:1:4  a list can't begin here; put its '- ' items on lines of their own, or in [ ]"),
        ("a: 'b\nc: 1\n", "c.yaml:1:4  the quote is never closed"),
        ('a: "C:\\users"\n', "c.yaml:1:9  unknown \\ in double quotes; use 'single' quotes, or double the \\"),
        ("a: @b\n", "c.yaml:1:4  a value can't start with this character; put the text in quotes"),
        (
            "a: *b\n",
            "c.yaml:1:4  an alias (*) needs an anchor (&) of the same name before it; text with * needs quotes",
        ),
        ("a: &x 1\nb: &x 2\n", "c.yaml:2:4  this anchor (&) exists already; choose another name"),
        (
            "a: &x {b: [*x]}\n",
            "c.yaml:1:12  the alias is inside its own anchor, which never ends; write the value out",
        ),
        ("a: " + "[" * 2000, "c.yaml:1:53  nested too deeply for a config"),
        ("a: \x07\n", "c.yaml:1:4  control character U+0007; a config is plain text"),
        (
            "%YAML 2.0\n---\na: 1\n",
            "c.yaml:1:1  not valid YAML: found incompatible YAML document (version 1.* is required)",
        ),
    ],
)
def test_mistakes_that_end_the_reading(config_errors: Told, text: str, line: str) -> None:
    assert config_errors(text) == [line]


def test_exploding_aliases_are_placed_at_the_section_that_bursts(config_errors: Told) -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert config_errors(bomb) == [
        "c.yaml:4:1  more than 10,000 values, with those that aliases repeat; too many for a config"
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"seed: 1\nname: \xe4\n", "c.yaml:2:7  byte 0xE4 is not UTF-8; save the file as plain text in UTF-8"),
        (b"\xef\xbb\xbfn: \xe4\n", "c.yaml:1:4  byte 0xE4 is not UTF-8; save the file as plain text in UTF-8"),
        ("seed: 1".encode("utf-16"), "c.yaml:1:1  saved as UTF-16; save the file as plain text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "c.yaml  a picture, for mnist-predict; a config is a text file, as mlp.yaml"),
        (b"P\x03", "c.yaml:1:2  control character U+0003; a config is plain text"),
        (b"#" * 1_000_001, "c.yaml  more than 1 MB, too large for a config"),
    ],
)
def test_files_that_are_no_text(config_errors: Told, content: bytes, line: str) -> None:
    assert config_errors(content) == [line]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(config_errors: Told) -> None:
    assert config_errors(b"\xef\xbb\xbf" + MODEL.encode().replace(b"\n", b"\r\n") + b"seed: x\r\n") == [
        "c.yaml:2:7  seed: expected a whole number, got text 'x'"
    ]


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    (problem,) = read_file(tmp_path).problems
    assert problem.message == "is a folder, and a config is a file; name a .yaml file in it"


def test_the_systems_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    (problem,) = read_file(tmp_path / "c.yaml").problems
    assert problem.message == "can't be read: Permission denied"
