"""A user's own module, loss function and optimizer; and going on from a model that exists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer import evaluate, prepare, train
from mnist_trainer.errors import CheckpointError
from mnist_trainer.pipeline.preparation import CustomParts
from mnist_trainer.storage.checkpoint import load_checkpoint


class MyNet(nn.Module):
    """A user's network, with batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.linear = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(self.norm(images).flatten(1))
        return outputs


def my_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return 2 * F.cross_entropy(outputs, labels)


def start() -> MyNet:
    torch.manual_seed(0)
    return MyNet()


def test_a_module_of_the_users_is_trained_and_read_back(tiny: dict[str, Any], callback: Any) -> None:
    own = start()
    before = own.linear.weight.detach().clone()
    run = train(tiny, model=own, callback=callback)
    assert not torch.equal(own.linear.weight, before)
    assert isinstance(run.model, MyNet)
    name = f"{MyNet.__module__}.MyNet"
    assert callback.headers[0].model == f"{name}, 7,852 parameters"
    assert load_checkpoint(run.folder / "best.pt").only.custom == {"model": name}
    with pytest.raises(CheckpointError) as caught:
        evaluate(run.folder)
    assert str(caught.value) == (
        f"This checkpoint's model is {name}, which is not part of mnist_trainer. "
        "Read it in Python, with an instance of it: evaluate(…, model=…) or predict(…, model=…)."
    )
    assert evaluate(run.folder, model=MyNet()) == run.test
    assert evaluate(run.folder, model=MyNet(), split="validation") == run.validation


def test_a_loss_of_the_users_is_used_and_needed_for_its_figure(tiny: dict[str, Any]) -> None:
    own, usual = train(tiny, loss=my_loss, model=start()), train(tiny, model=start())
    assert own.records[0].train_loss != usual.records[0].train_loss
    assert load_checkpoint(own.folder / "best.pt").only.custom["loss"] == f"{my_loss.__module__}.my_loss"
    found = evaluate(own.folder, model=MyNet())
    assert found.loss is None
    assert found.accuracy == own.test.accuracy
    assert evaluate(own.folder, model=MyNet(), loss=my_loss) == own.test
    assert own.test.loss == pytest.approx(
        2 * float(evaluate(own.folder, model=MyNet(), loss=F.cross_entropy).loss or 0)
    )


def test_an_optimizer_class_of_the_users_takes_the_steps(tiny: dict[str, Any]) -> None:
    class Lazy(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            return None

    run = train(tiny, optimizer=partial(Lazy, lr=0.1))
    untouched = prepare(tiny).model.state_dict()
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, untouched[name])
    assert load_checkpoint(run.folder / "best.pt").only.custom == {"optimizer": "functools.partial"}
    assert evaluate(run.folder) == run.test  # to evaluate, the optimizer is not needed
    same = train(tiny, "optimizer={name: sgd, lr: 0.1}")
    assert train(tiny, optimizer=partial(torch.optim.SGD, lr=0.1)).test.accuracy == same.test.accuracy


def test_own_parts_are_named_whatever_they_are() -> None:
    class Empty(nn.ModuleList):
        """Without layers it counts as false."""

    names = CustomParts(Empty(), nn.CrossEntropyLoss(), torch.optim.Adam).names
    assert names["model"].endswith("Empty")
    assert names["loss"].endswith("CrossEntropyLoss")
    assert names["optimizer"].endswith("Adam")
    assert CustomParts().names == {}


# --- init_from and freeze ---


@pytest.fixture
def first(tiny: dict[str, Any]) -> Path:
    """The folder of a run to go on from."""
    return train(tiny, "seed=5").folder


def test_a_training_starts_from_the_weights_of_another(tiny: dict[str, Any], first: Path) -> None:
    source = load_checkpoint(first / "best.pt")
    state = prepare(tiny, f"model.init_from={first}", "data.normalize=unit")
    for name, weight in state.model.state_dict().items():
        assert torch.equal(weight, source.weights[name])
    assert state.setup.spec.normalization == source.spec.normalization  # as its weights are used to


def test_weights_of_another_shape_start_anew(tiny: dict[str, Any], first: Path) -> None:
    source = load_checkpoint(first / "best.pt")
    model = prepare({**tiny, "loss": "bce"}, f"model.init_from={first}", "data.binary=7").model.state_dict()
    assert torch.equal(model["1.weight"], source.weights["1.weight"])
    assert model["3.weight"].shape == (1, 8)


def test_outputs_are_taken_over_by_the_names_of_their_classes(
    tiny: dict[str, Any], first: Path, here: Path, pictures: Callable[[Path, dict[str, int]], None]
) -> None:
    pictures(here / "own", {"two": 4, "one": 4, "09": 4})
    source = load_checkpoint(first / "best.pt").weights
    own = ("data={name: folder, path: own, batch_size: 4}", f"model.init_from={first}")
    state = prepare(tiny, *own)
    assert state.setup.classes == ("09", "one", "two")
    trained = state.model.state_dict()
    assert torch.equal(trained["3.weight"], source["3.weight"][[9, 1, 2]])
    assert torch.equal(trained["3.bias"], source["3.bias"][[9, 1, 2]])
    yes_no = prepare(tiny, f"model.init_from={first}", "data.binary=7").model.state_dict()
    assert not torch.equal(yes_no["3.weight"], source["3.weight"][:2])  # its classes 0 and 1 are no digits


def test_frozen_layers_stay_as_they_are(tiny: dict[str, Any], first: Path) -> None:
    source = load_checkpoint(first / "best.pt").weights
    run = train(tiny, f"model.init_from={first}", "model.freeze=1", "seed=6")
    trained = run.model.state_dict()
    assert torch.equal(trained["1.weight"], source["1.weight"])
    assert torch.equal(trained["1.bias"], source["1.bias"])
    assert not torch.equal(trained["3.weight"], source["3.weight"])
    assert evaluate(run.folder) == run.test


def test_the_latest_run_can_be_gone_on_from(tiny: dict[str, Any], first: Path) -> None:
    assert train(tiny, "model.init_from=latest").folder != first


def test_a_model_that_shares_nothing_is_refused(tiny: dict[str, Any], first: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        train({**tiny, "model": {"architecture": "cnn", "channels": [4], "hidden": [], "init_from": str(first)}})
    reason = "no weight has the name and shape of one in this model. It has 1.weight [8, 784], "
    assert str(caught.value).startswith(f"{first.absolute()}: {reason}")
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: there is no such file"):
        train(tiny, "model.init_from=nowhere.pt")
