"""`mnist-train` starts without the compiler of torch; it is loaded when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = "import sys\nfrom mnist_trainer.cli.start import leave_compiler_out\nleave_compiler_out()\n"
TRAIN = """
from mnist_trainer import fit, prepare
config = {"data": {"name": "digits", "limit": 5}, "model": {"architecture": "mlp", "hidden": [8]}, "threads": 1}
for optimizer in ("adam", "sgd", "rmsprop", "adagrad"):
    state = prepare({**config, "optimizer": optimizer, "schedule": "cosine", "training": {"epochs": 1, "ema": 0.9}})
    list(fit(state))
    state.state_dict()
"""
WITHOUT = "assert not {'sympy', 'torch._dynamo.convert_frame'} & set(sys.modules)\n"
USE = """
import torch
placeholder = sys.modules["torch._dynamo"]
import torch._dynamo.config  # a module of it loads it
assert sys.modules["torch._dynamo"] is not placeholder and torch._dynamo is sys.modules["torch._dynamo"]
assert placeholder.is_compiling is torch._dynamo.is_compiling
list(fit(prepare({**config, "training": {"epochs": 1}})))
double = torch.compile(lambda x: 2 * x, backend="eager")
assert double(torch.ones(1)) == 2
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_command_trains_without_it() -> None:
    run(START + TRAIN + WITHOUT)


@pytest.mark.slow
def test_it_is_there_for_who_wants_it() -> None:
    run(START + TRAIN + USE)


@pytest.mark.slow
def test_it_is_left_alone_where_it_is_loaded() -> None:
    run("import torch._dynamo as real\n" + START + TRAIN + "assert sys.modules['torch._dynamo'] is real\n")


@pytest.mark.slow
def test_training_from_python_changes_no_module() -> None:
    types = "{type(module).__name__ for module in sys.modules.values()}"
    run(f"import sys\n{TRAIN}assert 'CompilerPlaceholder' not in {types}")


WORKER = """
import sys
from multiprocessing import get_context
from mnist_trainer.cli import start

def work():
    print(type(sys.modules.get("torch._dynamo")).__name__)

if __name__ == "__main__":
    work()
    process = get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""


def test_spawned_workers_of_a_command_train_without_it_too(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(WORKER)
    done = subprocess.run([sys.executable, "command.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["NoneType", "CompilerPlaceholder"], done.stderr
