"""What messages advise to write, as in `data.name=digits`, passes the check of configs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnist_trainer
from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config

PACKAGE = Path(mnist_trainer.__file__).parent
SECTIONS = "|".join(Config.model_fields)
ADVICE = re.compile(rf"\b((?:{SECTIONS})(?:\.[a-z_]+)+)(?:=|: )([a-z0-9][a-z0-9_.]*[a-z0-9]|[0-9])(?![\w/{{])")
"""A key below a section and the value behind it; what is put together while the program runs has tests of its own."""

NEEDS = {"schedule.final": ["schedule=cosine"], "schedule.gamma": ["schedule=step"]}
"""What another key must be for a key to mean something."""


def advised() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                for found in ADVICE.finditer(node.value):
                    if found.start():  # else it is the place of a message
                        yield "=".join(found.groups())
                if re.fullmatch(r"[a-z_.]+=\S+", node.value) and ADVICE.fullmatch(node.value):
                    yield node.value


@pytest.mark.parametrize("advice", sorted(set(advised())))
def test_it_is_a_valid_config(advice: str) -> None:
    key = advice.partition("=")[0]
    load_config({"model": {"architecture": "mlp"}}, (*NEEDS.get(key, []), advice))


def test_it_is_found() -> None:
    assert {"data.name=digits", "training.ema=null", "model.init=kaiming", "training.clip_norm=1"} <= set(advised())
