"""Several checkpoints as one: `mnist_trainer/storage/checkpoint.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mnist_trainer.config.load import load_config
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.predictor import InferenceSpec
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.checkpoint import Checkpoint, Member, combine

DIGITS = tuple("0123456789")


def member(seed: int, **changes: Any) -> Member:
    config = load_config({"name": f"seed{seed}", "model": {"architecture": "mlp", "hidden": [4]}})
    weights = dict(build_model(config.model, 10, seed=seed).state_dict())
    return replace(Member(config, weights, InferenceSpec(Normalization(0.1 * seed, 0.3), "logits")), **changes)


def one(seed: int, **changes: Any) -> Checkpoint:
    return Checkpoint((member(seed, **changes),), DIGITS)


def test_members_keep_their_order_and_how_they_are_read() -> None:
    together = combine({"a": one(1), "b": one(2), "c": one(3)})
    assert [each.config.name for each in together.members] == ["seed1", "seed2", "seed3"]
    assert [each.spec.normalization.mean for each in together.members] == pytest.approx([0.1, 0.2, 0.3])
    assert (together.classes, together.temperature, together.training_state) == (DIGITS, 1.0, None)


def test_models_of_an_ensemble_count_one_by_one_and_its_temperature_is_left_out() -> None:
    cpu, images = torch.device("cpu"), torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    warm = member(2, spec=replace(member(2).spec, temperature=3.0))
    pair = replace(combine({"a": one(1), "b": Checkpoint((warm,), DIGITS)}), temperature=2.0)
    together = combine({"pair": pair, "c": one(3)})
    assert together.temperature == 1.0
    each = [Checkpoint((own,), DIGITS).predictor(cpu)(images) for own in (member(1), warm, member(3))]
    assert torch.equal(together.predictor(cpu)(images), torch.stack(each).mean(dim=0))


def test_other_classes_are_refused_and_both_are_named() -> None:
    letters = replace(one(2), classes=tuple("abcdefghij"))
    with pytest.raises(CheckpointError) as caught:
        combine({"runs/a": one(1), "runs/b": letters})
    assert str(caught.value) == (
        "runs/a (mnist) knows the classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and runs/b (mnist) knows "
        "a, b, c, d, e, f, g, h, i, j. Only models with the same classes can be combined or compared."
    )


@pytest.mark.parametrize("values_first", [True, False])
def test_values_and_probabilities_are_not_mixed(values_first: bool) -> None:
    values = one(2, spec=replace(member(2).spec, kind="values"))
    named = {"values": values, "honest": one(1)} if values_first else {"honest": one(1), "values": values}
    with pytest.raises(CheckpointError, match=r"The outputs of values are not probabilities .*, and those of honest"):
        combine(named)
    assert len(combine({"values": values, "too": values}).members) == 2


def test_a_model_of_the_users_is_no_member() -> None:
    own = one(2, custom={"model": "my.Net"})
    with pytest.raises(CheckpointError, match=r"The model of runs/b is my\.Net, which is not part of mnist_trainer"):
        combine({"runs/a": one(1), "runs/b": own})
    assert combine({"a": one(1), "b": one(2, custom={"loss": "my.loss"})}).members[1].custom == {"loss": "my.loss"}
