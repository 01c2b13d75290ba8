"""Copies of the configs that come with the package. The lists are tested in test_starts_fast.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.config.shipped import shipped, shipped_path

Command = Callable[..., Any]


def test_a_copy_is_written_with_its_comments(command: Command, here: Path) -> None:
    done = command("train", "--copy-config", "mlp")
    assert done == (0, "Written to mlp.yaml. Edit it, then train it: mnist-train mlp.yaml\n", "")
    first, *lines = (here / "mlp.yaml").read_text(encoding="utf-8").splitlines()
    assert lines == shipped_path("mlp").read_text(encoding="utf-8").splitlines()[1:]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert schema == shipped_path("mlp").with_name("schema.json").as_uri()
    assert load_config("mlp.yaml") == load_config("mlp")


def test_nothing_is_overwritten(command: Command, here: Path) -> None:
    (here / "mlp.yaml").write_text("mine")
    done = command("train", "--copy-config", "mlp")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("mlp.yaml already exists, and is not overwritten.")
    assert (here / "mlp.yaml").read_text() == "mine"


@pytest.mark.parametrize(("name", "hint"), [("mpl", "Did you mean mlp?"), ("../x", "mnist-train lists those that do.")])
def test_an_unknown_name_is_told(command: Command, here: Path, name: str, hint: str) -> None:
    message = f"No config called {name} comes with the package. {hint}\n"
    assert command("train", "--copy-config", name) == (2, "", message)


def test_the_list_fits_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("train").out.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert all(word in words for phrase in shipped().values() for word in phrase.split())


def test_the_overrides_of_the_list_are_keys(command: Command) -> None:
    (line,) = (line for line in command("train").out.splitlines() if line.startswith("Change its keys:"))
    name, *overrides = line.partition("mnist-train ")[2].split()
    assert load_config(name, overrides).training.epochs == 3
