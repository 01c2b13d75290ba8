"""What the words of a command line mean: unknown options, patterns of files, the config among the arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mnist_trainer.cli.arguments import expand_pattern, find_config
from mnist_trainer.config.load import load_config

Command = Callable[..., Any]

LAST = "Keys of the config are written as key=value, without dashes."


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--epochs 5", "training.epochs=5"),
        ("--epochs=5", "training.epochs=5"),
        ("--epoch 5", "training.epochs=5"),
        ("-e 5", "training.epochs=5"),
        ("--lr 0.1", "optimizer.lr=0.1"),
        ("--learning-rate 0.1", "optimizer.lr=0.1"),
        ("--batch-size 64", "data.batch_size=64"),
        ("--batch_size 64", "data.batch_size=64"),
        ("-b 64", "data.batch_size=64"),
        ("--optimizer.lr 0.1", "optimizer.lr=0.1"),
        ("--training.epochs=5", "training.epochs=5"),
        ("--weight-decay 0.01", "optimizer.weight_decay=0.01"),
        ("--dropout 0.2", "model.dropout=0.2"),
        ("--optimizer adam", "optimizer=adam"),
        ("--name mine", "name=mine"),
        ("--dataset digits", "data.name=digits"),
        ("--hidden [64,64]", "'model.hidden=[64,64]'"),
    ],
)
@pytest.mark.parametrize("name", ["train", "sweep"])
def test_an_option_that_is_a_key_is_answered_with_the_key(command: Command, name: str, words: str, answer: str) -> None:
    done = command(name, "mlp", *words.split())
    option = re.split("[ =]", words)[0]
    assert done == (2, "", f"mnist-{name} has no option {option}. Write {answer}\n{LAST}\n")
    load_config("quickstart", shlex.split(answer))


def test_all_unknown_options_are_answered_at_once(command: Command) -> None:
    done = command("train", "--epochs", "5", "mlp", "--gpu", "-o", "x", "--nesterov", "--patience", "3", "--quite")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "mnist-train has no option --epochs. Write training.epochs=5",
        "mnist-train has no option --gpu. Write --device cuda.",
        "mnist-train has no option -o. Write --run-dir DIR.",
        "mnist-train has no option --nesterov. Write optimizer.nesterov=VALUE",
        "mnist-train has no option --patience. Write schedule.patience=3 or training.early_stopping.patience=3",
        "mnist-train has no option --quite. Did you mean --quiet?",
        LAST,
    ]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("eval latest --splt test", "Did you mean --split?"),
        ("eval latest --batch-size 9", f"Write data.batch_size=9\n{LAST}"),
        ("eval latest --epochs 9", "mnist-eval --help lists all options."),
        ("predict --model runs/x a.png", "Write --checkpoint FILE."),
        ("eval --completion", "mnist-train --completion SHELL prints the script for all commands."),
        ("predict a.png --lr 1", "mnist-predict --help lists all options."),
        ("runs --srt x", "Did you mean --sort?"),
        ("sweep -j 2", "Did you mean --jobs or --json?"),
    ],
)
def test_other_commands_answer_with_what_they_have(command: Command, words: str, answer: str) -> None:
    name, *arguments = words.split()
    (option,) = (word for word in arguments if word.startswith("-"))
    assert command(name, *arguments) == (2, "", f"mnist-{name} has no option {option}. {answer}\n")


def test_values_of_options_are_no_options(command: Command, here: Path) -> None:
    done = command("train", "tiny.yaml", "--seed", "-1", "--run-dir=-x", "--check")
    assert done == (2, "", "--seed  seed: must be at least 0, got -1\n")


@pytest.mark.parametrize("words", ["tiny.yaml", "-c tiny.yaml", "--config tiny.yaml", "seed=3 tiny.yaml"])
def test_a_config_needs_no_option(command: Command, here: Path, words: str) -> None:
    done = command("train", *words.split(), "--check")
    assert (done.code, done.err) == (0, "")
    assert "parameters" in done.out


@pytest.mark.parametrize("words", ["mlp", "-c mlp", "--config mlp", "training.epochs=3 mlp"])
def test_a_sweep_is_named_as_a_config_is(command: Command, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    done = Mock()
    monkeypatch.setattr("mnist_trainer.studies.sweep_search.run_sweep", done)
    assert command("sweep", *words.split()).code == 0
    assert [call.args[0].name for call in done.call_args_list] == ["mlp"]


def test_a_config_that_is_no_sweep_is_told_so(command: Command) -> None:
    done = command("sweep", "cnn")
    assert done.code == 2
    assert "cnn is a config, not a sweep" in done.err
    assert "base: cnn" in done.err


def test_the_first_word_that_is_no_key_is_the_source(here: Path) -> None:
    assert find_config(["a=1", "mlp", "other"], None) == ("mlp", ["a=1", "other"])
    assert find_config(["a=1", "mlp"], "cnn") == ("cnn", ["a=1", "mlp"])
    assert find_config(None, None) == (None, [])
    (here / "a=b.yaml").write_text("")
    assert find_config(["a=b.yaml"], None) == ("a=b.yaml", [])


def test_patterns_stand_for_files_and_other_words_for_themselves(here: Path) -> None:
    for name in ("seed-1", "seed-0", "[a]"):
        (here / name).mkdir()
    assert expand_pattern("seed-*") == ["seed-0", "seed-1"]
    assert expand_pattern(str(here / "seed-?")) == [str(here / "seed-0"), str(here / "seed-1")]
    for word in ("none-*", "model.hidden=[64,64]", "[a]", "*", "seed-0", ""):
        assert expand_pattern(word) == ([word] if word != "*" else ["[a]", "seed-0", "seed-1", "tiny.yaml"])


def test_a_quoted_pattern_is_expanded_by_the_commands(command: Command, here: Path) -> None:
    """As cmd.exe and PowerShell give it to them: they expand nothing."""
    (here / "one.png").write_text("no picture")
    (here / "two.png").write_text("no picture")
    (here / "-1.png").write_text("no picture")
    done = command("predict", "*.png")
    assert done.code == 3
    assert [line.split()[0] for line in done.err.splitlines()] == ["-1.png", "one.png", "two.png"]
    done = command("eval", "*.png")
    assert (done.code, "png" in done.err, "*" in done.err) == (4, True, False)
    (here / "runs").mkdir()
    assert command("runs", "ru*").out.startswith("There are no runs in runs yet.")


def test_the_value_of_an_option_is_no_pattern(command: Command, here: Path) -> None:
    (here / "name=tiny.yaml").write_text("")
    (here / "runs").mkdir()
    assert command("runs", "--filter", "name=t*").out.startswith("There are no runs in runs yet.")
