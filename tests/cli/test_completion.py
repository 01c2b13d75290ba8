"""Tab completes options, their values, and the names of configs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import START

Light = Callable[..., Any]

WORDS = [
    ("mnist-train ear", {"early-stopping"}),
    ("mnist-train --config cnn", {"cnn", "cnn-deformed"}),
    ("mnist-train mlp --on", {"--on-interrupt"}),
    ("mnist-train mlp --on-interrupt f", {"finish"}),
    ("mnist-sweep m", {"mlp"}),
    ("mnist-eval --split t", {"test", "train", "test50k"}),
    ("mnist-predict a.png --expect r", {"row"}),
    ("mnist-runs --f", {"--filter"}),
    ("mnist-eval --out x", set()),
    ("mnist-export --to s", {"state_dict"}),
    ("mnist-export b", {"bundled"}),
    ("mnist-train --copy-config mlp ear", {"early-stopping"}),
]
WATCHED = (
    START
    + """
try:
    main()
finally:
    loaded = {"torch", "numpy", "matplotlib", "rich"} & set(sys.modules)
    print("loaded:", *loaded, file=sys.stderr)
"""
)


@pytest.mark.parametrize(("words", "found"), WORDS)
def test_tab_completes_in_bash_without_slow_imports(completed: Light, here: Path, words: str, found: set[str]) -> None:
    name = words.split(maxsplit=1)[0].removeprefix("mnist-")
    variables = {f"_MNIST_{name.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": words}
    done = completed(name, script=WATCHED, COMP_CWORD=str(len(words.split()) - 1), **variables)
    assert (done.code, set(done.out.split()), done.err) == (0, found, "loaded:\n")
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_names_all_commands(light: Light, here: Path, shell: str) -> None:
    done = light("train", "--completion", shell)
    assert (done.code, done.err) == (0, "")
    for name in ("train", "eval", "predict", "runs", "sweep", "export"):
        assert f"mnist-{name}" in done.out
        assert f"_MNIST_{name.upper()}_COMPLETE" in done.out
    if shutil.which(shell):
        (here / "script").write_text(done.out)
        checked = subprocess.run([shell, "-n", "script"], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_refused(light: Light) -> None:
    done = light("train", "--completion", "tcsh")
    assert done.code == 2
    assert "bash" in done.err
