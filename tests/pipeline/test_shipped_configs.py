"""Every config that ships runs, on little data, and gives the same bits twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_trainer import Run, evaluate, train
from mnist_trainer.config.shipped import shipped
from mnist_trainer.storage.checkpoint import load_checkpoint

LITTLE = (
    "data.name=digits",
    "data.limit=20",
    "data.validation=0.2",
    "training.epochs=2",
    "report.plots=false",
    "report.gallery=false",
    "threads=1",
    "device=cpu",
)


def test_the_shipped_configs_are_those_of_the_readme() -> None:
    assert set(shipped()) == {
        "quickstart",
        "neuron",
        "lecture",
        "lecture-softmax",
        "lecture-log-softmax",
        "gradient-descent",
        "sgd-momentum",
        "mlp",
        "cnn",
        "mlp-deformed",
        "cnn-deformed",
        "maxout",
        "regression",
        "custom-error",
        "fashion",
        "fast",
        "early-stopping",
        "bundled",
        "bundled-rows",
    }


def little(name: str, folder: Path) -> Run:
    few = ("data.simulate={photographs: 0.1, non_digits: 0.1}",) if name == "bundled" else ()
    return train(name, *LITTLE, *few, run_dir=folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_config_runs_and_gives_the_same_bits_twice(name: str, here: Path) -> None:
    torch.manual_seed(1)
    one = little(name, here / "one")
    torch.manual_seed(2)  # the state of torch's own generator has no say
    torch.rand(3)
    other = little(name, here / "other")

    assert [replace(record, seconds=0, images_per_second=0) for record in one.records] == [
        replace(record, seconds=0, images_per_second=0) for record in other.records
    ]
    first, second = load_checkpoint(one.folder / "last.pt"), load_checkpoint(other.folder / "last.pt")
    for key, weight in first.weights.items():
        assert torch.equal(weight, second.weights[key])
    assert first.training_state is not None and second.training_state is not None
    for key, weight in first.training_state["model"].items():
        assert torch.equal(weight, second.training_state["model"][key])
    assert one.test == other.test == evaluate(one.folder)

    record = json.loads((one.folder / "run.json").read_text())
    assert (record["status"], record["name"], record["epochs"]) == ("finished", name, 2)
    assert record["test"] == json.loads(json.dumps(one.test.summary()))


def test_another_seed_gives_other_bits(here: Path) -> None:
    one, other = little("lecture", here / "one"), train("lecture", *LITTLE, "seed=1", run_dir=here / "other")
    assert not torch.equal(one.model.state_dict()["1.weight"], other.model.state_dict()["1.weight"])
    assert one.validation is not None and other.validation is not None
    assert one.validation.count == other.validation.count


@pytest.mark.slow
def test_early_stopping_shows_overfitting_and_stops(mnist_root: Path, here: Path) -> None:
    run = train("early-stopping", f"data.root={mnist_root}", *LITTLE[4:], run_dir=here / "run")
    best, last = run.records[run.best_epoch - 1], run.records[-1]
    assert (run.stop_reason, len(run.records)) == ("early_stopping", run.best_epoch + 10)
    assert last.train_loss < 0.1 * best.train_loss
    assert best.val_loss is not None and last.val_loss is not None
    assert last.val_loss > 1.1 * best.val_loss
