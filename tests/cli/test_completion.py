"""The script for shells completes options, their values, and the names of configs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.shipped import shipped

Light = Callable[..., Any]

BASH = """
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_mnist_trainer
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("mnist-train ear", ["early-stopping"]),
        ("mnist-train --config cnn", ["cnn", "cnn-deformed"]),
        ("mnist-train mlp --on", ["--on-interrupt"]),
        ("mnist-train mlp --on-interrupt f", ["finish"]),
        ("mnist-sweep m", ["mlp"]),
        ("mnist-eval --split t", ["test", "train", "test50k"]),
        ("/usr/bin/mnist-predict a.png --expect r", ["row"]),
        ("mnist-runs --f", ["--filter"]),
        ("mnist-eval --out x", [""]),
    ],
)
def test_bash_completes(light: Light, here: Path, words: str, found: list[str]) -> None:
    done = light("train", "--completion", "bash")
    assert (done.code, done.err) == (0, "")
    (here / "script").write_text(done.out)
    shown = subprocess.run(["bash", "-c", BASH, "bash", *words.split()], capture_output=True, text=True, check=True)
    assert (shown.stdout.splitlines(), shown.stderr) == (found, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_knows_all_commands_options_and_configs(light: Light, here: Path, shell: str) -> None:
    script = light("train", "--completion", shell).out
    for name in (*shipped(), "mnist-train", "mnist-eval", "mnist-predict", "mnist-runs", "mnist-sweep"):
        assert name in script
    for option in ("config", "run-dir", "on-interrupt", "calibrate", "min-confidence", "filter", "trials", "help"):
        assert (f"-l {option} " if shell == "fish" else f"--{option}") in script
    if shutil.which(shell):
        (here / "script").write_text(script)
        checked = subprocess.run([shell, "-n", "script"], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_refused(light: Light) -> None:
    done = light("train", "--completion", "tcsh")
    assert done.code == 2
    assert "bash" in done.err
