"""Torch's compiler is loaded when it is asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

TRAIN = """
import sys
import torch
from mnist_trainer import fit, prepare
config = {"data": {"name": "digits", "limit": 5}, "model": {"architecture": "mlp", "hidden": [8]}, "threads": 1}
for optimizer in ("adam", "sgd", "rmsprop", "adagrad"):
    state = prepare({**config, "optimizer": optimizer, "schedule": "cosine", "training": {"epochs": 1, "ema": 0.9}})
    list(fit(state))
    state.state_dict()
assert not {"sympy", "torch._dynamo.convert_frame"} & set(sys.modules)
"""

USE = """
held = sys.modules["torch._dynamo"]
add = torch.optim.Optimizer.add_param_group.__wrapped__
assert hasattr(add, "__dynamo_disable")
import torch._dynamo.config  # a module of it loads it
assert sys.modules["torch._dynamo"] is not held and torch._dynamo is sys.modules["torch._dynamo"]
assert not hasattr(add, "__dynamo_disable")  # torch asks the real one now
assert held.is_compiling is torch._dynamo.is_compiling
assert held.disable(print) is not print
list(fit(prepare({**config, "training": {"epochs": 1}})))
double = torch.compile(lambda x: 2 * x, backend="eager")
assert double(torch.ones(1)) == 2
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_training_does_without_it() -> None:
    run(TRAIN)


def test_it_is_there_for_who_wants_it() -> None:
    run(TRAIN + USE)


def test_it_is_left_alone_where_it_is_loaded() -> None:
    training, _, _ = TRAIN.rpartition("assert")
    run(f"import torch._dynamo as real\n{training}assert sys.modules['torch._dynamo'] is real is torch._dynamo")
