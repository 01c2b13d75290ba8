"""Several checkpoints judged together: `evaluate([a, b])`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_trainer import Run, evaluate, predict, train
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.inference.predictions import predict as predict_split
from mnist_trainer.pipeline.evaluate import load_target, run_evaluation
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small models on the bundled digits, which see images in different ways and on different scales."""
    config = {
        "threads": 1,
        "data": {"name": "digits", "limit": 60, "batch_size": 32, "validation": 100},
        "model": {"architecture": "mlp", "hidden": [16]},
        "optimizer": {"name": "adam", "lr": 0.01},
        "training": {"epochs": 4},
        "report": {"plots": False, "gallery": False},
    }
    place = tmp_path_factory.mktemp("trio")
    changes = (["seed=1"], ["seed=2", "data.normalize=unit"], ["seed=3", "model.output=softmax", "loss=mse"])
    return [
        train(config, f"name=m{number}", *change, run_dir=place / f"m{number}").folder
        for number, change in enumerate(changes)
    ]


def test_the_answer_is_the_mean_of_the_members_probabilities(trio: list[Path]) -> None:
    together = run_evaluation(trio)
    each = [run_evaluation(run).predictions for run in trio]
    mean = torch.stack([predictions.probabilities for predictions in each]).mean(dim=0)
    assert torch.equal(together.predictions.probabilities, mean)
    assert torch.equal(together.predictions.predicted, mean.argmax(dim=1))
    correct = mean.gather(1, each[0].labels[:, None])
    assert together.evaluation.loss == pytest.approx(float(-correct.log().mean()), abs=1e-12)


def test_members_have_their_own_figures_and_a_share_of_disagreement(trio: list[Path]) -> None:
    found = evaluate(trio)
    each = [evaluate(run) for run in trio]
    assert [member.path for member in found.members] == [str(run / "best.pt") for run in trio]
    assert [member.name for member in found.members] == ["m0", "m1", "m2"]
    for member, alone in zip(found.members, each, strict=True):
        assert (member.errors, member.accuracy, member.interval) == (alone.errors, alone.accuracy, alone.interval)
    assert found.members[0].loss == pytest.approx(each[0].loss)  # cross-entropy is -ln of the probability
    predicted = torch.stack([run_evaluation(run).predictions.predicted for run in trio])
    differ = sum(len(set(column)) > 1 for column in predicted.T.tolist())
    assert found.disagreement == differ / 355 > 0
    accuracies = [alone.accuracy for alone in each]
    assert found.gains == pytest.approx((found.accuracy - sum(accuracies) / 3, found.accuracy - max(accuracies)))


def test_json_has_the_keys_of_one_and_the_members(trio: list[Path]) -> None:
    one, three = evaluate(trio[0]).to_json(), json.loads(json.dumps(evaluate(trio, views=2).to_json()))
    assert list(three) == [*one, "views", "members", "disagreement", "gain_over_mean", "gain_over_best"]
    assert list(three["members"][0]) == ["path", "name", "accuracy", "errors", "count", "loss", "interval"]
    assert three["views"] == 2


def test_a_saved_ensemble_is_a_checkpoint_like_any_other(trio: list[Path], here: Path) -> None:
    together = run_evaluation(trio)
    save_checkpoint(here / "all.pt", together.target.checkpoint)
    saved = run_evaluation(here / "all.pt")
    assert torch.equal(saved.predictions.probabilities, together.predictions.probabilities)
    assert replace(saved.evaluation, members=()) == replace(together.evaluation, members=())
    assert [member.path for member in saved.evaluation.members] == [str(here / "all.pt")] * 3
    picture = 255 - saved.dataset.images[0].numpy().repeat(4, 0).repeat(4, 1)
    (found,) = predict(np.pad(picture, 40, constant_values=255), here / "all.pt")
    assert found.error is None and len(found.digits[0].probabilities) == 10
    assert evaluate([here / "all.pt", trio[0]]).members[3].name == "m0"


def test_views_are_deformed_as_the_training_images_of_each_member(tiny: dict[str, Any], trio: list[Path]) -> None:
    own = train(tiny, "data.augment={rotate: 10}").folder
    alone = run_evaluation(own, views=3)
    augment = alone.target.checkpoint.config.data.augment
    assert augment is not None
    predictor = alone.target.checkpoint.predictor(torch.device("cpu"))
    wanted = predict_split(predictor, alone.dataset, 3, [augment]).probabilities
    assert torch.equal(alone.predictions.probabilities, wanted)
    assert not torch.equal(wanted, predict_split(predictor, alone.dataset, 3).probabilities)
    together = run_evaluation([trio[0], own], views=3).predictions.members
    torch.testing.assert_close(together[1].probabilities, wanted, atol=1e-5, rtol=0)  # float32 rounds them
    assert torch.equal(together[0].probabilities, run_evaluation(trio[0], views=3).predictions.probabilities)


def test_views_of_an_ensemble_are_averaged_too(trio: list[Path]) -> None:
    each = [run_evaluation(run, views=3).predictions.probabilities for run in trio]
    assert torch.equal(run_evaluation(trio, views=3).predictions.probabilities, torch.stack(each).mean(dim=0))
    assert evaluate(trio, views=3).views == 3


def test_without_probabilities_there_is_no_loss(tiny: dict[str, Any], trio: list[Path]) -> None:
    runs = [train(tiny, "loss=mse", f"seed={seed}").folder for seed in (1, 2)]
    found = run_evaluation(runs)
    assert (found.evaluation.loss, found.evaluation.ece) == (None, None)
    each = [run_evaluation(run).predictions.probabilities for run in runs]
    assert torch.equal(found.predictions.probabilities, (each[0] + each[1]) / 2)
    with pytest.raises(CheckpointError, match="are not probabilities"):
        evaluate([trio[0], runs[0]])


def test_a_missing_member_is_named(trio: list[Path]) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: there is no such file"):
        evaluate([trio[0], "nowhere"])
    with pytest.raises(UsageError, match="is named twice"):
        evaluate([trio[0], trio[0] / "best.pt"])
    with pytest.raises(UsageError, match="There is no checkpoint to evaluate"):
        evaluate([])


def test_members_from_other_data_need_data_that_are_named(
    trio: list[Path], here: Path, pictures: Callable[[Path, dict[str, int]], None], tiny: dict[str, Any]
) -> None:
    for part in ("train", "test"):
        pictures(here / "mine" / part, {str(digit): digit for digit in range(10)})
    stranger = train({**tiny, "data": {"name": "folder", "path": str(here / "mine"), "validation": 20}}).folder
    with pytest.raises(CheckpointError) as caught:
        evaluate([trio[0], stranger])
    assert str(caught.value) == (
        f"The models do not have the same test images: data.name is digits for {trio[0] / 'best.pt'} and folder for "
        f"{stranger / 'best.pt'}. Name the data to evaluate both on, as data.name=digits."
    )
    found = evaluate([trio[0], stranger], "data.name=folder", f"data.path={here / 'mine'}")
    assert (found.dataset, found.count) == ("folder", 150)


def test_another_validation_split_is_refused_for_validation_alone(trio: list[Path], tiny: dict[str, Any]) -> None:
    other = train({**tiny, "data": {**tiny["data"], "limit": 60, "validation": 100, "split_seed": 5}}).folder
    with pytest.raises(CheckpointError) as caught:
        evaluate([trio[0], other], split="validation")
    assert str(caught.value) == (
        f"The models do not have the same validation images: data.split_seed is 0 for {trio[0] / 'best.pt'} and 5 for "
        f"{other / 'best.pt'}. A validation image of one may be a training image of the "
        "other; evaluate them on --split test."
    )
    assert evaluate([trio[0], other]).count == 355
    assert evaluate(trio[:2], split="validation").count == 100


def test_validation_images_cannot_be_chosen_anew(trio: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"data\.limit changes which images validate"):
        evaluate(trio[0], "data.limit=30", split="validation")
    assert evaluate(trio[0], "data.limit=30").count == 355


def test_what_belongs_to_one_model_is_refused_for_several(trio: list[Path], digits_run: Run, here: Path) -> None:
    with pytest.raises(UsageError, match="loss= is for a single checkpoint"):
        evaluate(trio, loss=torch.nn.functional.cross_entropy)
    with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 3 models"):
        evaluate(trio, model=digits_run.model)


def test_an_ensemble_is_no_model_to_begin_with(trio: list[Path], here: Path, tiny: dict[str, Any]) -> None:
    save_checkpoint(here / "all.pt", load_target(trio, ()).checkpoint)
    assert len(load_checkpoint(here / "all.pt").members) == 3
    with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 3 models; name one of them"):
        train(tiny, f"model.init_from={here / 'all.pt'}")
