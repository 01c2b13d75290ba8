"""What the functions of the package are given: other types than these are told in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import CrossEntropyLoss

import mnist_trainer
from mnist_trainer import evaluate, fit, predict, prepare, resume, steps, train
from mnist_trainer.errors import UsageError
from mnist_trainer.pipeline.train import Run

SOURCE = "A config is a file, the name of a shipped one, a mapping or a Config, not 5."
CHANGE = "A change of a config is 'training.epochs=3' or {'training': {'epochs': 3}}, not 5."
CHECKPOINT = "A checkpoint is a .pt file, a run folder or latest, or a list of them, not 5."
PICTURE = "A picture is a file, a Pillow image or a NumPy array, not 5."
STATE = "fit and steps take what prepare returns, as in fit(prepare('quickstart')), not 5."
SPLIT = "split must be one of train, validation, test, test50k, hsf04, hsf1; got 'tests'."
VIEWS = "views must be 1 or more, got '2'. 1 means without deformed copies."
CONFIDENCE = "min_confidence must be from 0 to 1, got high; 90 % is 0.9."
MODEL = "model= takes a torch.nn.Module, not 'cnn'; the config's is chosen by 'model=mlp'."
LOSS = "loss= takes a function of outputs and labels, not 'mse'; the config's is chosen by 'loss=mse'."
OPTIMIZER = (
    "optimizer= takes a function of the parameters, as torch.optim.SGD is, not 'sgd'; the config's is chosen by "
    "'optimizer=sgd'."
)
LISTENER = "callback= takes a mnist_trainer.Callback object, not 5."
MADE = "optimizer= must make a torch.optim.Optimizer, not 5."
NUMBER = "loss= must return one number as a tensor, the mean over the images, not float."
SCALAR = NUMBER.replace("float", "a tensor of shape [64]")
CALLBACKS = "callbacks can't be [<built-in function print>]: a config has text, numbers, lists …"
PIXELS = np.zeros((28, 28), np.uint8)

given: Any = 5  # the type checker would know


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: train(given), SOURCE),
        (lambda run: prepare(given), SOURCE),
        (lambda run: train("quickstart", given), CHANGE),
        (lambda run: prepare("quickstart", given), CHANGE),
        (lambda run: evaluate(run, given), CHANGE),
        (lambda run: resume(run, given), CHANGE),
        (lambda run: evaluate(given), CHECKPOINT),
        (lambda run: evaluate([run, given]), CHECKPOINT),
        (lambda run: evaluate(run, split="tests"), SPLIT),
        (lambda run: evaluate(run, views="2"), VIEWS),
        (lambda run: predict(given), PICTURE),
        (lambda run: predict([PIXELS, given]), PICTURE),
        (lambda run: predict(b"5"), PICTURE.replace("5", "b'5'")),
        (lambda run: predict(PIXELS, min_confidence="high"), CONFIDENCE),
        (lambda run: predict(PIXELS, model=given), "model= takes a torch.nn.Module, not 5."),
        (lambda run: next(fit(given)), STATE),
        (lambda run: next(steps(given)), STATE),
        (lambda run: train("quickstart", run_dir=given), "run_dir names a folder, as in run_dir='runs/x', not 5."),
        (lambda run: train("quickstart", model="cnn"), MODEL),
        (lambda run: prepare("quickstart", loss="mse"), LOSS),
        (lambda run: resume(run, optimizer="sgd"), OPTIMIZER),
        (lambda run: evaluate(run, loss="mse"), LOSS),
        (lambda run: train("quickstart", callback=given), LISTENER),
        (lambda run: resume(run, callback=given), LISTENER),
        (lambda run: train("quickstart", loss=dict), LOSS.replace("'mse'", "<class 'dict'>")),
        (lambda run: prepare("quickstart", optimizer=lambda parameters: given), MADE),
        (lambda run: next(fit(prepare("quickstart", loss=CrossEntropyLoss(reduction="none")))), SCALAR),
        (lambda run: next(fit(prepare("quickstart", loss=lambda outputs, labels: 1.0))), NUMBER),
        (lambda run: train("quickstart", callbacks=[print]), CALLBACKS),
    ],
)
def test_other_types_are_told(call: Callable[[Path], object], message: str, digits_run: Run) -> None:
    with pytest.raises(UsageError) as caught:
        call(digits_run.folder)
    assert str(caught.value) == message
    assert not Path("runs").exists()


def test_overrides_may_be_mappings_and_a_folder_text(tiny: dict[str, Any]) -> None:
    run = train(tiny, {"optimizer": {"lr": 0.01}}, "seed=3", run_dir="runs/x", training={"epochs": 1})
    assert (run.folder, run.config.training.epochs, run.config.optimizer.lr, run.config.seed) == (
        Path("runs/x"), 1, 0.01, 3)  # fmt: skip
    assert prepare(tiny, training={"epochs": 4}, seed=3).setup.config.training.epochs == 4
    more = resume("runs/x", training={"epochs": 2})
    assert more is not None and more.config.training.epochs == 2
    assert evaluate("runs/x", data={"limit": 5}) == evaluate(iter(["runs/x"]), "data.limit=5")


def test_a_single_picture_needs_no_list(here: Path) -> None:
    zero = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(zero).ellipse((18, 10, 42, 50), outline=0, width=4)
    zero.save(here / "zero.png")
    pixels = np.array(zero)
    forms: list[Any] = ["zero.png", Path("zero.png"), pixels, zero, torch.from_numpy(pixels)]
    assert [len(predict(form)) for form in forms] == [1] * 5
    assert {prediction.text for prediction in predict(iter(forms))} == {"0"}


def test_paths_may_begin_with_the_users_folder(
    digits_run: Run, monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(digits_run.folder.parent))
    assert evaluate(f"~/{digits_run.folder.name}") == evaluate(digits_run.folder)
    assert (
        prepare(tiny, f"model.init_from=~/{digits_run.folder.name}", "model.hidden=32", "data.validation=0").epoch == 0
    )
    with pytest.raises(mnist_trainer.errors.DataError, match="no folder"):
        prepare(tiny, "data={name: folder, path: ~nobody-is-called-so/x}")
