"""How errors end a command: a paragraph on stderr and an exit code; a traceback only with --debug."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import errors
from mnist_trainer.cli.common import handle_errors, print_error, problems_at_options
from mnist_trainer.errors import ConfigError, ConfigProblem, TrainerError, shell_quote

Command = Callable[..., Any]

CODES = {
    "TrainerError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "DataError": 3,
    "CheckpointError": 4,
    "DeviceError": 5,
    "DivergedError": 6,
    "StorageError": 7,
    "InterruptedRunError": 130,
}


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def test_each_kind_of_error_has_its_exit_code() -> None:
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    kinds = {name: kind for name, kind in classes.items() if issubclass(kind, TrainerError)}
    assert {name: kind.exit_code for name, kind in kinds.items()} == CODES
    assert errors.__doc__ is not None
    for name, code in CODES.items():
        assert any(name in line and f" {code} " in line for line in errors.__doc__.splitlines())


@pytest.mark.parametrize("name", sorted(set(CODES) - {"ConfigError"}))
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_ends_with_its_code_and_its_text(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, debug: bool
) -> None:
    error = getattr(errors, name)("What happened, where, and how to mend it.")
    monkeypatch.setattr("mnist_trainer.config.load.load_config", raising(error))
    done = command("train", "--config", "tiny.yaml", *["--debug"] * debug)
    assert (done.code, done.out) == (CODES[name], "")
    *traceback, text = done.err.splitlines()
    assert text == "What happened, where, and how to mend it."
    assert traceback[:1] == ["Traceback (most recent call last):"] * debug


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_of_ours_asks_for_a_report(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    monkeypatch.setattr("mnist_trainer.config.load.load_config", raising(ZeroDivisionError("division by zero")))
    done = command("train", "--config", "tiny.yaml", *["--debug"] * debug)
    paragraph = (
        "This is a bug in mnist-trainer, not a mistake of yours: ZeroDivisionError: division by zero\n"
        "Please report it, with what the same command prints with --debug.\n"
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(paragraph)
    assert done.err.startswith("Traceback (most recent call last):") is debug
    assert (done.err == paragraph) is not debug


def test_ctrl_c_before_the_training_is_no_error_of_ours(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.config.load.load_config", raising(KeyboardInterrupt()))
    assert command("train", "--config", "tiny.yaml") == (130, "", "Stopped.\n")


def test_a_signal_of_an_earlier_command_does_not_count(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.cli.common._received_signals", ["SIGTERM"])
    monkeypatch.setattr("mnist_trainer.config.load.load_config", raising(KeyboardInterrupt()))
    assert command("train", "--config", "tiny.yaml").code == 130


def test_the_first_of_several_problems_is_not_the_last() -> None:
    problems = [
        ConfigProblem("a.yaml:1:2", "seed", "one"),
        ConfigProblem("override 2", "name", "two"),
        ConfigProblem("", "x", "three"),
    ]
    with pytest.raises(ConfigError) as caught, problems_at_options(["first"], ["device", "seed"]):
        raise ConfigError(problems)
    assert str(caught.value) == "a.yaml:1:2  seed: one\n--device  name: two\nx: three"


def test_lines_are_red_on_a_terminal_and_break_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Some words that a terminal of forty columns can't show on one line. " + "x" * 50
    print_error(text)
    assert capsys.readouterr() == ("", f"{text}\n")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_error(text)
    lines = ["Some words that a terminal of forty", "columns can't show on one line.", "x" * 50]
    assert capsys.readouterr().err == f"\x1b[31m{chr(10).join(lines)}\x1b[0m\n"


@pytest.mark.parametrize(
    ("system", "words", "shown"),
    [
        ("posix", ["runs/one", "a=[1, 2]"], "runs/one 'a=[1, 2]'"),
        ("nt", [r"C:\runs\one", "a=[1, 2]"], r'C:\runs\one "a=[1, 2]"'),
    ],
)
def test_words_are_quoted_for_the_shell_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, words: list[str], shown: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("mnist_trainer.errors.os.name", system)
        found = shell_quote(*words)
    assert found == shown


def test_a_broken_pipe_is_left_to_the_framework() -> None:
    with pytest.raises(BrokenPipeError), handle_errors(debug=False):
        raise BrokenPipeError


@pytest.mark.slow
def test_a_narrow_encoding_does_not_end_a_command(completed: Command, here: Path) -> None:
    done = completed("train", "--config", "cnn", "--check", "--device", "cpu", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"conv \d\?\d", done.out)
