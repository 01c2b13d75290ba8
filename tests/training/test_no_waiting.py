"""An accelerator is never waited for between the steps of an epoch: nobody asks for the value of a tensor there.

It is simulated on the CPU, as in `test_train_step.py`, for each kind of training that is shipped; where there is a
card, torch itself refuses to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.loop import steps
from mnist_trainer.training.state import TrainingState

DEFORMED = {"rotate": 15, "shear": 10, "scale": 0.1, "shift": 2, "elastic": {"alpha": 30}, "thickness": 0.3}
KINDS: dict[str, dict[str, Any]] = {
    "neuron": {"model": {"architecture": "neuron", "output": "sigmoid"}, "loss": "bce", "data": {"binary": 7}},
    "lecture": {"model": {"architecture": "mlp", "hidden": [64, 64, 64]}},
    "log_softmax": {"model": {"architecture": "mlp", "hidden": [16], "output": "log_softmax"}, "loss": "nll"},
    "gradient descent": {"optimizer": "gradient_descent"},
    "momentum": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
    "mlp": {
        "model": {"architecture": "mlp", "hidden": [32, 16], "dropout": 0.2, "batch_norm": True},
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "training": {"epochs": 2, "ema": 0.9, "clip_norm": 1.0},
    },
    "cnn": {"model": {"architecture": "cnn", "channels": [4, 4], "batch_norm": True, "dropout": 0.3}},
    "residual": {"model": {"architecture": "residual", "channels": [4, 8], "squeeze_excite": 2}},
    "maxout": {"model": {"architecture": "mlp", "hidden": [32], "activation": "maxout"}, "optimizer": "rmsprop"},
    "random slopes": {"model": {"architecture": "mlp", "hidden": [32], "activation": "rrelu"}},
    "regression": {"model": {"architecture": "mlp", "hidden": [32], "output": "sigmoid"}, "loss": "mse"},
    "ten neurons": {"model": {"architecture": "mlp", "hidden": []}, "loss": {"name": "bce", "label_smoothing": 0.1}},
    "custom error": {
        "loss": {"name": "mse", "penalties": [{"true": 7, "predicted": 2}], "smooth_weights": 0.01},
        "optimizer": "adagrad",
    },
    "class weights": {"loss": {"name": "cross_entropy", "class_weights": [1, 2] * 5}, "training": {"accumulate": 3}},
    "parts": {
        "model": {"architecture": "cnn", "channels": [4, 4], "batch_norm": True, "dropout": 0.3},
        "training": {"micro_batches": 4},
    },
    "deformed": {"data": {"augment": {**DEFORMED, "probability": 0.8, "halve_for": [1, 7]}}},
    "mixed": {"training": {"mixup": 0.4}, "loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
    "restored": {"training": {"on_divergence": "restore"}},
    "bfloat16": {"model": {"architecture": "cnn", "channels": [4]}, "precision": "bfloat16"},
}
WAITING = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default}


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for an accelerator, but for the numbers that torch keeps on the CPU beside one."""

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        kept = [] if state.ema is None else [state.ema.n_averaged]
        if isinstance(state.optimizer, torch.optim.Adagrad):
            kept += [own["step"] for own in state.optimizer.state.values()]
        self.kept = {number.data_ptr() for number in kept}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        if function in WAITING and arguments[0].data_ptr() not in self.kept:
            raise RuntimeError(f"{function} waits for an accelerator")
        return function(*arguments, **(options or {}))


@pytest.fixture
def begun(splits: Splits, yes_or_no: Splits, prepare: Any) -> Callable[..., TrainingState]:
    """A training of one of the `KINDS` whose first epoch's images are at hand, which happens once an epoch."""

    def begin(kind: str, **sections: Any) -> TrainingState:
        images = yes_or_no if kind == "neuron" else splits
        state: TrainingState = prepare(images, **{**KINDS[kind], **sections})
        batches = state.batches()
        opened = chain([next(batches)], batches)
        state.batches = lambda: opened  # type: ignore[method-assign]
        return state

    return begin


def finished(state: TrainingState) -> bool:
    """After the rest of its first epoch."""
    return len(list(steps(state))) == state.setup.steps_per_epoch


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_a_simulated_accelerator(kind: str, begun: Callable[..., TrainingState]) -> None:
    state = begun(kind)
    state.checks_every_step = False
    with NoWaiting(state):
        assert finished(state)


@pytest.mark.parametrize("kind", ["lecture", "momentum", "class weights"])
def test_no_scaled_step_waits_for_a_simulated_accelerator(kind: str, begun: Callable[..., TrainingState]) -> None:
    state = begun(kind)
    state.scaler = torch.amp.GradScaler("cpu", enabled=True)
    state.checks_every_step = False
    with NoWaiting(state):
        assert finished(state)


def test_a_step_on_a_cpu_asks_for_its_loss(begun: Callable[..., TrainingState]) -> None:
    state = begun("lecture")
    with NoWaiting(state), pytest.raises(RuntimeError, match=r"_local_scalar_dense\.default waits"):
        finished(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_a_card(kind: str, precision: str, begun: Callable[..., TrainingState]) -> None:
    if precision == "float16" and kind in ("maxout", "custom error"):
        pytest.skip("torch's scaler waits where an optimizer has no fused kernel")
    warm = begun(kind, device="cuda", precision=precision)
    assert finished(warm)  # libraries are loaded, workspaces made, constants sent
    state = begun(kind, device="cuda", precision=precision)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert finished(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
