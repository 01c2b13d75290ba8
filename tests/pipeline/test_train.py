from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer import Callback, Config, Run, fit, predict, prepare, resume, train
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    DivergedError,
    InterruptedRunError,
    UsageError,
)
from mnist_trainer.model.build import build_model
from mnist_trainer.pipeline import preparation
from mnist_trainer.pipeline import train as train_module
from mnist_trainer.pipeline.describe import build_header
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

PNG = b"\x89PNG\r\n\x1a\n"


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return record


def texts_in(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts_in(item)
        case list():
            for item in value:
                yield from texts_in(item)


def without_times(record: EpochRecord) -> EpochRecord:
    return replace(record, seconds=0, images_per_second=0)


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_checkpoint(one).weights, load_checkpoint(other).weights
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- the run folder ---


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run, with everything that is drawn."""
    config = {
        "name": "whole",
        "threads": 1,
        "data": {"name": "digits", "limit": 20, "batch_size": 32, "validation": 40},
        "model": {"architecture": "mlp", "hidden": [8], "dropout": 0.1},
        "training": {"epochs": 3, "early_stopping": {"patience": 9}},
    }
    return train(config, run_dir=tmp_path_factory.mktemp("outside") / "whole")


def test_the_folder_holds_the_whole_run(run: Run) -> None:
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    plots = {"plots/curves.png", "plots/confusion.png", "plots/weights.png", "plots/mistakes.png", "plots/sample.png"}
    assert files == {"config.yaml", "run.json", "metrics.csv", "best.pt", "last.pt", "log.txt"} | plots
    for name in plots:
        assert (run.folder / name).read_bytes().startswith(PNG)


def test_the_sample_is_a_picture_that_the_model_reads(run: Run) -> None:
    (answer,) = predict(run.folder / "plots" / "sample.png", run.folder)
    assert (len(answer.digits), answer.error) == (1, None)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["svg", "pdf"])
def test_pictures_have_the_format_that_the_config_names(tiny: dict[str, Any], tmp_path: Path, file_format: str) -> None:
    config = {**tiny, "report": {"format": file_format}}
    train(config, run_dir=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "plots").iterdir()}
    assert names == {
        "sample.png",
        *(f"{name}.{file_format}" for name in ("curves", "confusion", "weights", "mistakes")),
    }


def test_dead_units_are_named_at_the_end_and_in_the_log(tiny: dict[str, Any], tmp_path: Path) -> None:
    class Ear(Callback):
        dead = ""

        def on_train_end(self, outcome: Run) -> None:
            self.dead = outcome.dead

    def die(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            model[1].bias.fill_(-1e6)
        return model

    ear, model = Ear(), die(nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10)))
    train(tiny, model=model, run_dir=tmp_path / "run", callback=ear)
    assert ear.dead == "8 of 8 units of layer 1 never fired on the validation images."
    assert ear.dead in (tmp_path / "run" / "log.txt").read_text()


def test_the_metrics_have_a_row_an_epoch(run: Run) -> None:
    lines = (run.folder / "metrics.csv").read_text().splitlines()
    assert (
        lines[0]
        == "epoch,phase,train_loss,train_accuracy,val_loss,val_accuracy,lr,gradient_norm,seconds,images_per_second"
    )
    rows = list(csv.DictReader(lines))
    assert len(rows) == len(run.records) == 3
    for row, record in zip(rows, run.records, strict=True):
        assert row == {name: str(getattr(record, name)) for name in row}


def test_the_record_says_how_it_went(run: Run) -> None:
    record = record_of(run.folder)
    assert list(record) == [
        "name",
        "status",
        "stop_reason",
        "best_epoch",
        "epochs",
        "test",
        "validation",
        "seed",
        "model",
        "custom",
        "data",
        "parameters",
        "device",
        "device_name",
        "precision",
        "threads",
        "products",
        "deterministic",
        "versions",
        "processes",
        "platform",
        "git_commit",
        "started_at",
        "finished_at",
        "timings",
        "sessions",
        "loss_terms",
        "layers",
        "diagnosis",
    ]
    assert record["diagnosis"] == (run.diagnosis and run.diagnosis.to_json())
    assert {when: len(layers) for when, layers in record["layers"].items()} == {"first_epoch": 2, "last_epoch": 2}
    assert (record["name"], record["status"], record["stop_reason"]) == ("whole", "finished", "epochs")
    assert record["best_epoch"] == run.best_epoch
    assert record["epochs"] == 3
    assert (record["model"], record["custom"]) == ("mlp 784-8-10, relu", {})
    assert record["parameters"] == 784 * 8 + 8 + 8 * 10 + 10
    assert record["data"] == {
        "name": "digits",
        "train_count": 160,
        "validation_count": 40,
        "split_seed": 0,
        "fingerprint": record["data"]["fingerprint"],
        "batch_size": 32,
        "normalization": record["data"]["normalization"],
    }
    for part, evaluation in (("test", run.test), ("validation", run.validation)):
        assert evaluation is not None
        assert record[part] == {**evaluation.summary(), "interval": list(evaluation.interval)}
        assert record[part].keys() == {"accuracy", "errors", "count", "loss", "interval"}
    assert (run.test.count, run.test.split, run.test.dataset) == (355, "test", "digits")
    timings = record["timings"]
    parts = ["loading_seconds", "training_seconds", "evaluation_seconds", "drawing_seconds"]
    assert list(timings) == [*parts, "total_seconds"]
    assert sum(timings[part] for part in parts) <= timings["total_seconds"]


def test_the_record_names_no_path(run: Run) -> None:
    texts = list(texts_in(record_of(run.folder)))
    assert "whole" in texts
    for text in texts:
        assert not Path(text).is_absolute()
        for place in (run.folder, run.folder.parent, Path.cwd(), Path.home()):
            assert str(place) not in text


def test_the_config_is_complete_and_runs_as_it_is(run: Run, here: Path) -> None:
    assert load_config(run.folder / "config.yaml") == run.config
    again = train(run.folder / "config.yaml", "report.plots=false", "report.gallery=false", run_dir=here / "again")
    assert same_weights(again.folder / "best.pt", run.folder / "best.pt")
    assert list(map(without_times, again.records)) == list(map(without_times, run.records))
    assert again.test == run.test


def test_the_result_is_the_best_epochs_model(run: Run) -> None:
    losses = [record.val_loss for record in run.records]
    assert run.best_epoch == 1 + losses.index(min(loss for loss in losses if loss is not None))
    assert not run.model.training
    for name, weight in load_checkpoint(run.folder / "best.pt").weights.items():
        assert torch.equal(run.model.state_dict()[name], weight)


# --- how it is called ---


def test_the_library_does_not_print(tiny: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    train({**tiny, "model": {"architecture": "mlp", "hidden": [8], "output": "softmax"}})  # which is warned of
    assert capfd.readouterr() == ("", "")


def test_without_a_place_runs_go_below_the_present_folder(tiny: dict[str, Any], here: Path) -> None:
    first, second = train(tiny), train(tiny, "name=other")
    assert first.folder.parent == second.folder.parent == Path("runs")
    assert sorted(path.name for path in (here / "runs").iterdir()) == sorted([first.folder.name, second.folder.name])
    assert second.folder.name.endswith("-other")


def test_a_config_comes_in_every_form(tiny: dict[str, Any], here: Path) -> None:
    (here / "tiny.yaml").write_text(json.dumps({**tiny, "name": "tiny"}))
    parsed = load_config(tiny)
    runs = [train(source, "seed=3").config for source in (tiny, "tiny.yaml", Path("tiny.yaml"), parsed)]
    assert all(config == runs[0] for config in runs)
    assert runs[0].seed == 3
    assert isinstance(runs[0], Config)


def test_mistakes_in_a_config_are_told_all_at_once(tiny: dict[str, Any], here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(tiny, "model.hiden=3", "seed=x")
    assert str(caught.value).splitlines() == [
        "override 1  model.hiden: unknown key; did you mean 'hidden'?",
        "override 2  seed: expected a whole number, got text 'x'",
    ]
    assert not list(here.iterdir())


def test_the_listener_hears_everything_in_order(tiny: dict[str, Any], callback: Any) -> None:
    run = train({**tiny, "model": {"architecture": "mlp", "hidden": [8], "output": "softmax"}}, callback=callback)
    assert callback.told == ["started", "epoch 1", "epoch 2", "drawing", "finished"]
    assert [path for path, _ in callback.warnings] == ["model.output"]
    assert callback.steps == [(epoch, step, 5) for epoch in (1, 2) for step in range(1, 6)]
    assert callback.records == list(run.records)
    assert callback.could_stop == {True}
    assert not callback.can_stop
    (header,) = callback.headers
    assert header.data == "digits: 160 images to train, 40 to validate"
    assert header.model == "mlp 784-8-10, relu, 6,370 parameters"
    assert header.device == "cpu, float32, 1 thread"
    assert (header.name, header.seed, header.epochs, header.folder) == ("tiny", 0, 2, run.folder)
    (outcome,) = callback.outcomes
    assert (outcome.folder, outcome.best_epoch, outcome.test) == (run.folder, run.best_epoch, run.test)
    assert (outcome.stop_reason, outcome.plots) == ("epochs", ())


def test_the_caller_may_drive_the_loop(tiny: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    state = prepare(tiny)
    records = [without_times(record) for record in fit(state)]
    run = train(tiny)
    assert records == list(map(without_times, run.records))
    for name, weight in run.model.state_dict().items():
        assert torch.equal(state.best_weights[name], weight)


def test_a_small_model_trains_on_one_thread(tiny: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run = train({**tiny, "threads": None})
        assert record_of(run.folder)["threads"] == 1
        own = train({**tiny, "threads": None}, model=build_model(run.config.model, 10))
        assert record_of(own.folder)["threads"] == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_settings_of_torch_are_restored(tiny: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert record_of(train(tiny).folder)["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- what is read, and when ---


def test_a_run_prints_itself_in_a_few_lines(tiny: dict[str, Any]) -> None:
    run = train(Config.model_validate(tiny))
    assert run.validation is not None
    assert str(run).splitlines() == [
        f"tiny: {run.test.sentence}",
        run.validation.sentence,
        f"best epoch {run.best_epoch} of 2",
        f"folder {run.folder}",
    ]


def test_progress_prints_the_table_also_beside_a_callback(
    tiny: dict[str, Any], callback: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(Config.model_validate(tiny), progress=True)
    alone = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in alone if re.match(r" +\d+ +\d\.|epoch", line)] == ["epoch", "1", "2"]
    assert "test accuracy" in alone[-1]
    run = train(Config.model_validate(tiny), callback=callback, progress=True)
    assert len(capsys.readouterr().out.splitlines()) == len(alone)
    assert callback.told == ["started", "epoch 1", "epoch 2", "drawing", "finished"]
    assert resume(run.folder, progress=True) is None
    assert capsys.readouterr().out.startswith(f"{run.folder} is finished")


def test_a_callback_may_end_the_training_and_sees_the_state(tiny: dict[str, Any]) -> None:
    class Stopping(Callback):
        finish_on_stop = True

        def on_fit_start(self, state: TrainingState) -> None:
            self.state = state

        def on_epoch_end(self, record: EpochRecord) -> None:
            assert self.state.epoch == record.epoch
            self.should_stop = True

    run = train(Config.model_validate(tiny), "training.epochs=5", callback=Stopping())
    assert run.stop_reason == "interrupted"
    assert run.folder.joinpath("best.pt").is_file()
    assert [record.epoch for record in run.records] == [1, 2]


def test_the_model_is_tested_once_after_the_training(
    tiny: dict[str, Any], callback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    load_test, answer = train_module.load_test, train_module.predict
    tests: list[Any] = []

    def loaded(*arguments: Any) -> Any:
        seen.append(list(callback.told))
        tests.append(load_test(*arguments))
        return tests[-1]

    def answered(predictor: Any, source: Any) -> Any:
        if source is tests[0]:
            seen.append(list(callback.told))
        return answer(predictor, source)

    monkeypatch.setattr(train_module, "load_test", loaded)
    monkeypatch.setattr(train_module, "predict", answered)
    train(tiny, callback=callback)
    assert seen == [[], ["started", "epoch 1", "epoch 2", "drawing"]]


def test_nothing_is_loaded_for_a_run_that_cannot_be(
    tiny: dict[str, Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(preparation, "load_splits", load)
    (here / "taken").mkdir()
    (here / "taken" / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="taken already holds a run"):
        train(tiny, run_dir=here / "taken")
    with pytest.raises(DeviceError, match=r"The model has 5,\d{3},\d{3},\d{3},\d{3} parameters and needs at least"):
        train(tiny, "model.hidden=[1000000, 5000000]")
    monkeypatch.setattr("mnist_trainer.reports.run_writer.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"report\.tensorboard needs TensorBoard"):
        train(tiny, "report.tensorboard=true")
    assert [path.name for path in here.iterdir()] == ["taken"]


def test_without_data_there_is_no_folder(tiny: dict[str, Any], here: Path) -> None:
    with pytest.raises(DataError):
        train(tiny, "data.validation=195")
    assert not list(here.iterdir())


def test_without_validation_the_last_epoch_is_the_result(tiny: dict[str, Any]) -> None:
    run = train(tiny, "data.validation=0")
    record = record_of(run.folder)
    assert (run.validation, run.best_epoch, record["validation"]) == (None, 2, None)
    assert record["data"]["validation_count"] == 0
    rows = list(csv.DictReader((run.folder / "metrics.csv").read_text().splitlines()))
    assert [(row["val_loss"], row["val_accuracy"]) for row in rows] == [("", ""), ("", "")]


def test_a_yes_no_task(tiny: dict[str, Any]) -> None:
    run = train({**tiny, "loss": "bce"}, "data.binary=7", "data.limit=50", "training.epochs=6")
    assert run.model(torch.zeros(2, 1, 28, 28)).shape == (2, 1)
    assert [figures.label for figures in run.test.per_class] == ["not 7", "7"]
    assert [figures.count for figures in run.test.per_class] == [320, 35]
    assert load_checkpoint(run.folder / "best.pt").classes == ("not 7", "7")


def test_a_folder_of_pictures(
    tiny: dict[str, Any], here: Path, pictures: Callable[[Path, dict[str, int]], None], callback: Any
) -> None:
    pictures(here / "mine", {"one": 1, "seven": 7, "three": 3})
    config = {**tiny, "data": {"name": "folder", "path": str(here / "mine"), "batch_size": 16, "validation": 0.2}}
    run = train(config, callback=callback)
    assert [figures.label for figures in run.test.per_class] == ["one", "seven", "three"]
    assert load_checkpoint(run.folder / "best.pt").classes == ("one", "seven", "three")
    assert "mlp 784-8-3, relu" in callback.headers[0].model
    assert all(str(here) not in text for text in texts_in(record_of(run.folder)))
    with pytest.raises(ConfigError) as caught:
        train({**config, "loss": {"name": "cross_entropy", "class_weights": [1.0] * 10}})
    assert str(caught.value) == "loss.class_weights: needs 3 numbers, one per class, got 10"


# --- how a run ends before its time ---


def test_a_diverging_run_fails_and_stays_readable(tiny: dict[str, Any], here: Path) -> None:
    config = {**tiny, "optimizer": {"name": "sgd", "lr": 1e30}, "loss": "mse"}
    with pytest.raises(DivergedError) as caught:
        train(config, run_dir=here / "run")
    assert caught.value.exit_code == 6
    assert str(caught.value).startswith("The loss became ")
    assert "in epoch 1, step " in str(caught.value)
    assert "Lower optimizer.lr" in str(caught.value)
    record = record_of(here / "run")
    assert (record["status"], record["stop_reason"], record["best_epoch"]) == ("failed", "DivergedError", None)
    assert record["finished_at"] is not None
    assert str(caught.value) in (here / "run" / "log.txt").read_text()
    assert load_config(here / "run" / "config.yaml").optimizer.lr == 1e30


def test_a_failure_after_the_training_keeps_what_was_trained(
    tiny: dict[str, Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = DataError(f"{here} is damaged.")

    def fail(*arguments: Any) -> None:
        raise damaged

    monkeypatch.setattr(train_module, "evaluate_best", fail)
    with pytest.raises(DataError):
        train(tiny, run_dir=here / "run")
    record = record_of(here / "run")
    assert (record["status"], record["stop_reason"], record["epochs"]) == ("failed", "DataError", 2)
    assert all(str(here) not in text for text in texts_in(record))
    assert same_weights(here / "run" / "best.pt", here / "run" / "last.pt")


def test_a_stop_ends_after_its_step_and_can_be_taken_up(tiny: dict[str, Any], here: Path, callback: Any) -> None:
    callback.stop_after = 7  # of 5 an epoch
    with pytest.raises(InterruptedRunError) as caught:
        train(tiny, run_dir=here / "run", callback=callback)
    assert str(caught.value) == (
        f"Stopped in epoch 2, after step 2 of 5; what was trained so far is in {here / 'run'}."
    )
    assert caught.value.exit_code == 130
    assert len(callback.steps) == 7
    assert callback.outcomes == []
    record = record_of(here / "run")
    assert (record["status"], record["epochs"], record["best_epoch"]) == ("interrupted", 1, 1)

    saved = load_checkpoint(here / "run" / "last.pt")
    assert saved.training_state is not None
    assert (saved.training_state["epoch"], saved.training_state["step"]) == (1, 2)
    torch.set_num_threads(1)
    state = prepare(tiny)
    state.load_state_dict(saved.training_state)
    (rest,) = fit(state)
    whole = train(tiny)
    assert without_times(rest) == without_times(whole.records[1])
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(state.best_weights[name], weight)


class Raising(Callback):
    """Raises at one of its moments."""

    def __init__(self, error: BaseException, moment: str) -> None:
        self.error, self.moment = error, moment

    def on_train_start(self, header: object) -> None:
        self._at("started")

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        self._at("stepped")

    def on_test_start(self) -> None:
        self._at("drawing")

    def on_train_end(self, outcome: Run) -> None:
        self._at("finished")

    def _at(self, moment: str) -> None:
        if moment == self.moment:
            raise self.error


@pytest.mark.parametrize("moment", ["stepped", "drawing"])
def test_a_stop_at_once_is_an_interruption_too(tiny: dict[str, Any], here: Path, moment: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny, run_dir=here / "run", callback=Raising(KeyboardInterrupt(), moment))
    assert record_of(here / "run")["status"] == "interrupted"


@pytest.mark.parametrize(
    ("moment", "status"),
    [("started", "failed"), ("stepped", "failed"), ("drawing", "failed"), ("finished", "finished")],
)
def test_a_listener_that_fails_leaves_a_true_status(tiny: dict[str, Any], here: Path, moment: str, status: str) -> None:
    with pytest.raises(BrokenPipeError):
        train(tiny, run_dir=here / "run", callback=Raising(BrokenPipeError(), moment))
    assert record_of(here / "run")["status"] == status


def test_a_time_limit_ends_the_run_in_order(tiny: dict[str, Any]) -> None:
    run = train(tiny, "training.max_minutes=1e-9", "training.epochs=50")
    assert run.stop_reason == record_of(run.folder)["stop_reason"] == "max_minutes"
    assert len(run.records) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")]
)
def test_a_lack_of_memory_says_what_to_do(tiny: dict[str, Any], here: Path, error: Exception) -> None:
    with pytest.raises(DeviceError) as caught:
        train(tiny, run_dir=here / "run", callback=Raising(error, "stepped"))
    assert str(caught.value) == (
        "The memory is not enough for this training. Make data.batch_size smaller (training.accumulate keeps the "
        "step the same; on a GPU data.batch_size: auto finds a size), or the model narrower."
    )
    assert record_of(here / "run")["status"] == "failed"


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="something else"):
        train(tiny, callback=Raising(RuntimeError("something else"), "stepped"))


def test_layers_that_do_not_fit_are_not_frozen_at_random(digits_run: Run) -> None:
    source = f"model.init_from={digits_run.folder}"
    with pytest.raises(CheckpointError) as caught:
        prepare(
            "quickstart", "data.validation=100", "model={architecture: mlp, hidden: [33]}", source, "model.freeze=1"
        )
    assert str(caught.value) == (
        f"{digits_run.folder} has no weights that fit 1.weight, 1.bias, and model.freeze would keep them random. "
        "Freeze fewer layers, or give them the shapes of that file."
    )
    state = prepare(
        "quickstart", "data.validation=100", "model={architecture: mlp, hidden: [32]}", source, "model.freeze=1"
    )
    first = load_checkpoint(digits_run.folder / "best.pt").weights["1.weight"]
    assert torch.equal(state.model.state_dict()["1.weight"], first)
    header = build_header(state, Path("one"), {})
    assert (
        header.model
        == f"mlp 784-32-10, relu, 25,450 parameters; 4 of 4 tensors from {digits_run.folder}, 1 layer frozen"
    )


def test_a_start_that_knows_the_validation_images_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    train({**tiny, "training": {"epochs": 1, "refit": True}}, run_dir=tmp_path / "refitted")
    start = {"architecture": "mlp", "hidden": [8], "init_from": str(tmp_path / "refitted")}
    with pytest.raises(
        ConfigError,
        match=r"model\.init_from: it, or a model that it started from, was trained with images of this validation set",
    ):
        train({**tiny, "model": start}, run_dir=tmp_path / "leaks")
    assert not (tmp_path / "leaks").exists()
    alone = {**tiny, "data": {**tiny["data"], "validation": 0}}
    train({**alone, "model": start}, run_dir=tmp_path / "without")
    train(tiny, run_dir=tmp_path / "first")
    again = {**start, "init_from": str(tmp_path / "first")}
    train({**tiny, "model": again}, run_dir=tmp_path / "same")
    other = {**tiny, "data": {**tiny["data"], "split_seed": 1}}
    with pytest.raises(ConfigError, match=r"model\.init_from"):
        train({**other, "model": again}, run_dir=tmp_path / "other")
