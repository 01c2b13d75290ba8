"""`training.teacher`: what the teacher sees and answers, what is recorded, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mnist_trainer import evaluate, load_config, prepare, resume, train
from mnist_trainer.errors import CheckpointError, ConfigError, InterruptedRunError
from mnist_trainer.pipeline.preparation import load_teacher
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.storage.checkpoint import combine, load_checkpoint, save_checkpoint
from mnist_trainer.training.distributed import Ranks
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.losses import TaughtLabels

from .conftest import Remembering

OTHER_SPLIT = "data.split_seed=1"
AUGMENT = "data.augment={rotate: 10, elastic: {alpha: 30}}"


@pytest.fixture
def teacher(tiny: dict[str, Any], here: Path) -> Path:
    return train(tiny, "seed=5", "model.hidden=32", run_dir=here / "runs" / "teacher").folder


def taught(tiny: dict[str, Any], teacher: Path | str, *overrides: str) -> list[Any]:
    own = f"training.teacher={{checkpoint: '{teacher}', temperature: 3, weight: 0.8}}"
    return [tiny, own, "training.checkpoint_seconds=1e-9", *overrides]


def test_the_teacher_sees_the_deformed_images(tiny: dict[str, Any], teacher: Path) -> None:
    model = load_checkpoint(teacher / "best.pt").predictor(torch.device("cpu"))
    for own in ((AUGMENT,), (AUGMENT, "training.mixup=0.4")):
        images, labels = next(prepare(*taught(tiny, teacher, *own)).batches())
        plain, same = next(prepare(tiny, *own).batches())
        assert torch.equal(images, plain)
        assert isinstance(labels, TaughtLabels)
        with torch.inference_mode():
            wanted = F.log_softmax(model.members[0](model.specs[0].normalization.apply(images)), dim=1)
        torch.testing.assert_close(labels.teacher, wanted)
        assert isinstance(same, torch.Tensor) == isinstance(labels.labels, torch.Tensor)


def test_an_ensemble_teaches_its_mean_probability(tiny: dict[str, Any], teacher: Path, here: Path) -> None:
    other = train(tiny, "seed=6").folder
    both = combine({name: load_checkpoint(folder / "best.pt") for name, folder in (("a", teacher), ("b", other))})
    save_checkpoint(here / "both.pt", both)
    images, labels = next(prepare(*taught(tiny, here / "both.pt")).batches())
    assert isinstance(labels, TaughtLabels)
    wanted = both.predictor(torch.device("cpu"))(images)
    torch.testing.assert_close(labels.teacher.exp().double(), wanted, atol=1e-6, rtol=1e-5)


def test_only_the_teacher_counts_with_a_weight_of_1(tiny: dict[str, Any], teacher: Path) -> None:
    """Without labels a student of the same shape comes close to its teacher's answers."""
    whole = {"checkpoint": str(teacher), "temperature": 2.0, "weight": 1.0}
    longer = {**tiny, "training": {"epochs": 60, "keep": "last", "teacher": whole}}
    run = train(longer, "model.hidden=32", "optimizer.lr=0.01")
    assert run.records[-1].terms["teacher"] < 0.3 * run.records[0].terms["teacher"]
    assert run.records[-1].terms["cross_entropy"] == 0


def test_the_teacher_is_recorded(tiny: dict[str, Any], teacher: Path) -> None:
    run = train(*taught(tiny, "latest"))
    digest = hashlib.sha256((teacher / "best.pt").read_bytes()).hexdigest()
    record = json.loads((run.folder / "run.json").read_text())
    assert record["teacher"] == {"file": "best.pt", "sha256": digest}
    assert run.config.training.teacher is not None
    assert run.config.training.teacher.checkpoint == str(teacher / "best.pt")
    assert evaluate(run.folder) == run.test
    lineage = load_checkpoint(run.folder / "best.pt").only.lineage
    assert len(lineage) == 2
    assert torch.equal(lineage[0], load_checkpoint(teacher / "best.pt").only.lineage[0])


def test_a_stopped_run_goes_on_with_the_same_bits(
    tiny: dict[str, Any], teacher: Path, here: Path, differences_of_runs: Callable[[Path, Path], list[str]]
) -> None:
    train(*taught(tiny, teacher, AUGMENT), run_dir=here / "whole")
    with pytest.raises(InterruptedRunError):
        train(*taught(tiny, teacher, AUGMENT), run_dir=here / "stopped", callback=Remembering(stop_after=7))
    resume(here / "stopped")
    assert differences_of_runs(here / "whole", here / "stopped") == []


def test_another_teacher_is_refused_on_resume_and_the_same_one_elsewhere_is_not(
    tiny: dict[str, Any], teacher: Path, here: Path
) -> None:
    train(*taught(tiny, teacher), run_dir=here / "run")
    (here / "moved.pt").write_bytes((teacher / "best.pt").read_bytes())
    (teacher / "best.pt").write_bytes((train(tiny, "seed=7").folder / "best.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"training\.teacher\.checkpoint: best\.pt has changed since .*run was"):
        resume(here / "run", "training.epochs=3")
    moved = f"training.teacher.checkpoint={here / 'moved.pt'}"
    assert resume(here / "run", "training.epochs=3", moved) is not None


def test_a_second_fit_has_the_teacher_as_well(tiny: dict[str, Any], teacher: Path) -> None:
    run = train(*taught(tiny, teacher, "training.refit=true"))
    assert all(set(record.terms) == {"cross_entropy", "teacher"} for record in run.records)


def test_the_second_fit_does_not_read_the_teachers_file_again(tiny: dict[str, Any], teacher: Path) -> None:
    class Deleting(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            (teacher / "best.pt").unlink(missing_ok=True)

    run = train(*taught(tiny, teacher, "training.refit=true"), callback=Deleting())
    assert [record.phase for record in run.records].count("refit") == run.best_epoch


def test_the_teacher_is_on_the_gpu_of_its_process(
    tiny: dict[str, Any], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny, taught(tiny, teacher)[1:])
    monkeypatch.setattr(Ranks, "device", lambda ranks, device: torch.device("meta"))
    found = load_teacher(config, tuple(map(str, range(10))))
    assert found is not None and found.predictor.device.type == "meta"


def test_a_teacher_that_saw_the_validation_images_is_refused(tiny: dict[str, Any], teacher: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.teacher\.checkpoint: it, or a model that it started from, was"):
        train(*taught(tiny, teacher, OTHER_SPLIT))
    assert prepare(*taught(tiny, teacher, OTHER_SPLIT, "data.validation=0")).epoch == 0


def test_a_file_that_is_not_there_is_named(tiny: dict[str, Any], here: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pt: there is no such file"):
        train(*taught(tiny, here / "gone.pt"))
    assert not list(here.glob("runs/*"))


@pytest.mark.parametrize(
    ("theirs", "own", "reason"),
    [
        (("data.binary=7", "model.output=none"), (), "it knows the classes not 7, 7, and this model has 0, 1, 2"),
        (("loss=mse",), (), "it was not trained with cross_entropy or nll"),
        (("model.output=softmax",), (), "it was not trained with cross_entropy or nll, on outputs without a limit"),
        ((), ("data.simulate.non_digits=0.5",), "it does not know images of none of the classes"),
    ],
)
def test_what_cannot_teach_is_refused(
    tiny: dict[str, Any], here: Path, theirs: tuple[str, ...], own: tuple[str, ...], reason: str
) -> None:
    other = train(tiny, *theirs, run_dir=here / "other").folder
    with pytest.raises(CheckpointError, match=rf"training\.teacher\.checkpoint: .* can't teach this model: {reason}"):
        prepare(*taught(tiny, other, *own))


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("loss=mse", "needs loss: cross_entropy or nll, not mse"),
        ("model.output=softmax", "needs model.output: none or log_softmax, not softmax"),
    ],
)
def test_a_model_that_cannot_be_taught_is_refused(tiny: dict[str, Any], teacher: Path, own: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.teacher: {reason}"):
        prepare(*taught(tiny, teacher, own))
    with pytest.raises(ConfigError, match=r"training\.teacher: needs loss: cross_entropy or nll, not a function"):
        prepare(*taught(tiny, teacher), loss=F.cross_entropy)
