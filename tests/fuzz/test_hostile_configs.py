"""Configs that were written to hurt, through the real command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnist_trainer.cli.mnist_train import app
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import ConfigError

MODEL = "model: {architecture: mlp}\n"
ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202e"
SHOWN = r"\x1b]0;owned\x07\x1b[31m\u202e"
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
HUGE = 2**62

HOSTILE = {
    "billion laughs": (LAUGHS, "c.yaml:5:1  more than 10,000 values, with those that aliases repeat"),
    "a list without end": (f"a: [{'1,' * 490_000}]", "more than 10,000 values"),
    "an alias in itself": ("a: &a [*a]", "the alias is inside its own anchor"),
    "merge keys in a ring": (f"{MODEL}a: &a\n  <<: *a\n", "the alias is inside its own anchor"),
    "merge keys": (f"{MODEL}data: &d {{limit: 1}}\nreport: {{<<: *d}}\n", "merge keys (<<) are not supported"),
    "an anchor twice": (f"{MODEL}seed: &a 1\nname: &a x\n", "this anchor (&) exists already"),
    "brackets": (f"a: {'[' * 100_000}", "nested too deeply"),
    "braces": (f"a: {'{a: ' * 100_000}", "nested too deeply"),
    "dashes": ("- " * 100_000, "nested too deeply"),
    "question marks": ("? " * 100_000, "nested too deeply"),
    "residual in residual": (
        f"model: {{architecture: layers, layers: [{'{residual: [' * 20}flatten{']}' * 20}]}}",
        "layers",
    ),
    "code": (f"{MODEL}seed: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system is not"),
    "a module": (f"{MODEL}seed: !!python/module:os\n", "the tag !!python/module:os is not supported"),
    "10 MB in a key": (f"{MODEL}{'k' * 10**7}: 1\n", "more than 1 MB"),
    "10 MB in a value": (f"{MODEL}name: {'v' * 10**7}\n", "more than 1 MB"),
    "a long key": (f"{MODEL}? {'k' * 900_000}\n: 1\n", f"{'k' * 40}…: unknown key"),
    "a long value": (f"{MODEL}name: {'v' * 900_000}\n", f"'{'v' * 40}…' is not possible here"),
    "many digits": (f"{MODEL}seed: {'9' * 900_000}\n", "too large; whole numbers end at"),
    "many keys": (
        MODEL + "".join(f"k{number}: 1\n" for number in range(4000)),
        "There are 3,970 more; fix these first.",
    ),
    "the same key": (MODEL + "seed: 1\n" * 4000, "There are 3,969 more; fix these first."),
    "escapes in a value": (f'{MODEL}name: "{ESCAPE}"\n'.replace("\x1b", "\\e").replace("\x07", "\\a"), SHOWN),
    "escapes in a key": (f'{MODEL}"\\e[31m": 1\n', r"\x1b[31m: unknown key"),
    "escapes in an alias": (f"{MODEL}seed: *\u202e\n", "not valid YAML"),
    "a raw escape": (f"{MODEL}name: \x1b[31m\n", "control character U+001B"),
    "UTF-16": ((MODEL * 3).encode("utf-16"), "saved as UTF-16"),
    "a program": (b"\x7fELF\x02\x01\x01\x00" + bytes(1000), "control character U+007F"),
    "zeros": (bytes(1000), "control character U+0000"),
    "convolutions without end": (f"model: {{architecture: vgg, convolutions: {HUGE}}}", "must be at most 1000"),
    "blocks without end": (f"model: {{architecture: residual, blocks: {HUGE}}}", "must be at most 1000"),
    "padding": (
        "model: {architecture: layers, layers: [{type: conv, channels: 1, "
        f"padding: {HUGE}, stride: {HUGE}}}, flatten, {{linear: classes}}]}}",
        "at most 1000",
    ),
    "threads": (f"{MODEL}threads: {HUGE}\n", "at most 1024"),
    "a device that wraps around": (f"{MODEL}device: cuda:200\n", "'cuda:200' is not possible here"),
    "a device in other digits": (f"{MODEL}device: 'cuda:٣'\n", "'cuda:٣' is not possible here"),
}


def check(path: object, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of `mnist-train --check`; nothing of it moves a terminal."""
    done = CliRunner().invoke(app, ["--config", str(path), "--check", *arguments])
    assert all(char.isprintable() or char == "\n" for char in done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content, words = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, told = check("c.yaml")
    assert (code, words in told) == (2, True), told[:1000]
    assert len(told) < 10_000


@pytest.mark.parametrize(
    ("section", "code", "words"),
    [
        (f"model: {{architecture: mlp, hidden: [{2**62}]}}", 5, "needs at least"),
        ("data: {name: folder, path: " + "x" * 5000 + "}", 3, "can't be read: File name too long"),
        ('data: {name: folder, path: "a\\0b"}', 3, r"/a\x00b'"),
        ('data: {name: folder, path: "\\ud800"}', 3, r"/\ud800'"),
        ('data: {name: folder, path: "\\e[31m"}', 3, r"/\x1b[31m'"),
    ],
)
def test_what_is_not_there_has_its_own_code(tmp_path: Path, section: str, code: int, words: str) -> None:
    (tmp_path / "c.yaml").write_text(section if section.startswith("model") else MODEL + section)
    found, told = check(tmp_path / "c.yaml")
    assert (found, words in told) == (code, True), told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    code, told = check(tmp_path / "c.yaml")
    assert (code, told) == (2, f"{tmp_path / 'c.yaml'}  a pipe or a device; save the config in a file\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs /dev")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_config(device: str) -> None:
    assert check(device) == (2, f"{device}  a pipe or a device; save the config in a file\n")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    assert check(tmp_path) == (2, f"{tmp_path}  is a folder, and a config is a file; name a .yaml file in it\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "shown"),
    [
        (f"name={ESCAPE}", SHOWN),
        (f"threads={ESCAPE}", "control character U+001B"),
        (f'precision="{ESCAPE}"'.replace("\x1b", "\\e").replace("\x07", "\\a"), SHOWN),
        (f"{ESCAPE}=1", SHOWN),
        (ESCAPE, SHOWN),
        (f"model.{ESCAPE}.x=1", SHOWN),
        (f"{'k' * 100_000}=1", f"{'k' * 40}…"),
        (f"{'k.' * 5000}k=1", "nested too deeply for a config: 'k.k.k."),
        (f"seed={'[' * 10_000}", "nested too deeply"),
    ],
)
def test_overrides_are_shown_escaped(override: str, shown: str) -> None:
    code, told = check("mlp", override)
    assert (code, shown in told) == (2, True), told[:1000]


@pytest.mark.parametrize("name", [ESCAPE, "a\rb", "\udcff", "x" * 5000])
def test_the_name_of_a_file_that_is_not_there_is_shown_escaped(name: str) -> None:
    code, told = check(name)
    assert code == 2
    assert "no such file" in told or "can't be read" in told


def test_long_values_of_mappings_are_cut_as_well() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"model": {"architecture": "m" * 10**7}, "k" * 10**7: 1})
    assert len(str(caught.value)) < 1000
