from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from mnist_trainer import files, train
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import (
    DataError,
    DivergedError,
    InterruptedRunError,
    StorageError,
    TrainerError,
    UsageError,
)
from mnist_trainer.files import write_file
from mnist_trainer.reports.callbacks import Callback, RunInfo, SeriesResult, SubRun
from mnist_trainer.storage import checkpoint
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies import seed_series as module
from mnist_trainer.studies.processes import WorkerContext
from mnist_trainer.studies.seed_series import resume_seeds, train_seeds
from mnist_trainer.training.loop import EpochRecord
from tests.pipeline.conftest import TINY


class Remembering(Callback):
    """Keeps what it is told; wants a stop after so many epochs of any run."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.headers: list[tuple[RunInfo, tuple[int, ...], int, tuple[SubRun, ...]]] = []
        self.ends: list[tuple[int, str, type[Exception] | None]] = []
        self.epochs: list[tuple[int, int]] = []
        self.series: list[SeriesResult] = []
        self.warnings: list[str] = []
        self.stop_after = stop_after

    def on_warning(self, path: str, reason: str) -> None:
        self.warnings.append(path)

    def on_series_start(self, info: RunInfo, seeds: tuple[int, ...], jobs: int, finished: tuple[SubRun, ...]) -> None:
        self.headers.append((info, seeds, jobs, finished))

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        self.epochs.append((seed, record.epoch))
        self.should_stop = self.stop_after is not None and len(self.epochs) >= self.stop_after

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        self.ends.append((run.seed, run.status, None if error is None else type(error)))

    def on_series_end(self, series: SeriesResult) -> None:
        self.series.append(series)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return record


def metrics_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: row[key] for key in row if "second" not in key} for row in csv.DictReader(file)]


def moments(folder: Path) -> dict[str, int]:
    """When each file of a run was written last."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def check_equal(one: Path, other: Path) -> None:
    """The same weights bit for bit, the same metrics but times, the same figures and config."""
    first, second = (load_checkpoint(folder / "best.pt") for folder in (one, other))
    assert first.config == second.config
    assert first.weights.keys() == second.weights.keys()
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert metrics_of(one) == metrics_of(other)
    for key in ("test", "validation", "best_epoch", "status", "seed", "threads"):
        assert record_of(one)[key] == record_of(other)[key]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, None])
def test_a_sub_run_is_the_lone_run(jobs: int | None, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, or on two GPUs by turns without an option (here the CPU stands in for them)."""
    if jobs is None:
        monkeypatch.setattr(module, "visible_gpus", lambda device: ["0", "1"])
    config = {**TINY, "model": {**TINY["model"], "dropout": 0.5}}
    seeds = [3, 0, 1]  # with two jobs, one of the processes makes two of them
    series = train_seeds(config, seeds, jobs=jobs, run_dir=here / "many")
    assert record_of(here / "many")["jobs"] == jobs
    for run, seed in zip(series.runs, seeds, strict=True):
        check_equal(run.folder, train(config, f"seed={seed}", run_dir=here / f"lone-{seed}").folder)
    # and it can be made again from what stands in its own folder
    again = train(series.runs[1].folder / "config.yaml", run_dir=here / "again")
    check_equal(again.folder, series.runs[1].folder)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SeriesResult:
    """Three finished runs, with a picture."""
    config = {**TINY, "report": {"plots": True, "gallery": False}, "training": {"epochs": 1}}
    return train_seeds(config, [0, 1, 4], run_dir=tmp_path_factory.mktemp("series") / "many")


@pytest.mark.slow
def test_the_folder_holds_a_run_a_seed(series: SeriesResult) -> None:
    names = {path.name for path in series.folder.iterdir()}
    assert names == {"config.yaml", "run.json", "log.txt", "plots", "seed-0", "seed-1", "seed-4"}
    for seed in (0, 1, 4):
        config = load_config(series.folder / f"seed-{seed}" / "config.yaml")
        assert config == series.config.model_copy(update={"seed": seed})
    assert load_config(series.folder / "config.yaml") == series.config
    assert (series.folder / "plots" / "seeds.png").read_bytes().startswith(b"\x89PNG")
    log = (series.folder / "log.txt").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in log] == [
        "seed 0: finished",
        "seed 1: finished",
        "seed 4: finished",
        "finished",
    ]


@pytest.mark.slow
def test_the_figures_are_those_of_the_runs(series: SeriesResult) -> None:
    record = record_of(series.folder)
    runs = [record_of(series.folder / f"seed-{seed}") for seed in (0, 1, 4)]
    for part, name in [
        ("test", "accuracy"),
        ("test", "loss"),
        ("test", "errors"),
        ("validation", "accuracy"),
        ("validation", "loss"),
        ("timings", "training_seconds"),
    ]:
        values = [run[part][name] for run in runs]
        found = record[part][name]
        assert found["mean"] == pytest.approx(np.mean(values))
        assert found["sd"] == pytest.approx(np.std(values, ddof=1))
        assert (found["min"], found["max"], found["count"]) == (min(values), max(values), 3)
        expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert found["interval"] == pytest.approx(expected)
        assert series.summary[part][name].mean == found["mean"]
    assert len({run["test"]["loss"] for run in runs}) == 3


def test_the_record_has_the_keys_of_a_run(series: SeriesResult) -> None:
    record, run = record_of(series.folder), record_of(series.folder / "seed-4")
    of_one = {"best_epoch", "epochs", "seed", "loss_terms", "layers", "diagnosis", "sessions"}
    assert record.keys() == run.keys() - of_one | {"kind", "seeds", "jobs", "runs"}
    known = {key: record[key] for key in ("kind", "name", "status", "seeds")}
    assert known == {"kind": "seeds", "name": "tiny", "status": "finished", "seeds": [0, 1, 4]}
    for key in ("data", "parameters", "device", "precision", "threads", "versions"):
        assert record[key] == run[key]
    last = record["runs"][2]
    assert (last["seed"], last["folder"], last["status"]) == (4, "seed-4", "finished")
    assert {key: last[key] for key in ("test", "validation", "best_epoch", "epochs", "timings")} == {
        key: run[key] for key in ("test", "validation", "best_epoch", "epochs", "timings")
    }
    assert record["started_at"] <= record["finished_at"]
    assert str(series.folder.parent) not in (series.folder / "run.json").read_text()


def test_one_seed_has_a_mean_alone(here: Path) -> None:
    callback = Remembering()
    series = train_seeds(TINY, [7], jobs=9, run_dir=here / "one", callback=callback)
    assert callback.headers[0][2] == 1  # no more than there are seeds
    assert record_of(here / "one")["test"]["accuracy"] == {
        "mean": series.runs[0].record["test"]["accuracy"],
        "sd": None,
        "min": series.runs[0].record["test"]["accuracy"],
        "max": series.runs[0].record["test"]["accuracy"],
        "interval": None,
        "count": 1,
    }


def test_without_validation_there_is_no_figure_of_it(here: Path) -> None:
    series = train_seeds(TINY, [0, 1], "data.validation=0", run_dir=here / "many")
    assert record_of(here / "many")["validation"] is None
    assert "validation" not in series.summary


def test_the_listener_hears_how_it_goes(here: Path) -> None:
    callback = Remembering()
    series = train_seeds(TINY, [0, 1], "model.output=softmax", callback=callback)
    assert series.folder.parent == Path("runs")
    assert series.folder.name.endswith("-tiny-seeds")
    ((info, *header),) = callback.headers
    assert header == [(0, 1), 1, ()]
    assert info.data == "digits: 160 images to train, 40 to validate"
    assert info.folder == series.folder
    assert sorted(callback.epochs) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert sorted(callback.ends) == [(0, "finished", None), (1, "finished", None)]
    assert callback.warnings == ["model.output"]  # once, not for each run
    assert callback.series == [series]
    assert not callback.can_stop


@pytest.mark.slow
def test_threads_are_shared_out_and_written_down(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "threads_per_job", lambda jobs: {1: 2, 2: 1}[jobs])
    monkeypatch.setattr(module, "choose_threads", lambda config: config.threads)  # as if the model were a large one
    config = {**TINY, "threads": None}
    train_seeds(config, [0], run_dir=here / "many")
    assert load_config(here / "many" / "seed-0" / "config.yaml").threads == 2
    # other jobs later: the series keeps the threads it began with
    train_seeds(config, [0, 1], jobs=2, run_dir=here / "many")
    assert {load_config(here / "many" / f"seed-{seed}" / "config.yaml").threads for seed in (0, 1)} == {2}
    train_seeds({**TINY, "threads": 1}, [0], run_dir=here / "own")
    assert load_config(here / "own" / "seed-0" / "config.yaml").threads == 1


def test_runs_are_announced_in_the_order_of_their_seeds(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although those of several processes end in another one."""

    def run_backwards(function: Any, scheduler: Any, jobs: int, gpus: list[str]) -> None:
        for task in reversed(list(iter(scheduler.next_task, None))):
            function(task, WorkerContext(lambda message: None, lambda: False))
            scheduler.on_end(task, None)

    monkeypatch.setattr(module, "run_tasks", run_backwards)
    callback = Remembering()
    train_seeds(TINY, [4, 0, 2], "training.epochs=1", run_dir=here / "many", callback=callback)
    assert [seed for seed, _, _ in callback.ends] == [4, 0, 2]


# --- going on ---


def test_finished_runs_are_kept_and_the_others_made_anew(here: Path) -> None:
    train_seeds(TINY, [0, 1, 2], run_dir=here / "many")
    whole = {seed: load_checkpoint(here / "many" / f"seed-{seed}" / "best.pt").weights for seed in range(3)}
    (here / "many" / "seed-1" / "best.pt").unlink()
    own = RunFolder(here / "many" / "seed-2")
    own.write_record({**own.read_record(), "status": "running"})  # as its process was killed
    before, started = moments(here / "many" / "seed-0"), record_of(here / "many")["started_at"]
    callback = Remembering()
    series = train_seeds(TINY, [0, 1, 2, 5], run_dir=here / "many", callback=callback)
    assert moments(here / "many" / "seed-0") == before
    assert [run.seed for run in callback.headers[0][3]] == [0]
    assert [seed for seed, *_ in callback.ends] == [1, 2, 5]
    assert [run.status for run in series.runs] == ["finished"] * 4
    for seed, weights in whole.items():
        again = load_checkpoint(here / "many" / f"seed-{seed}" / "best.pt").weights
        assert all(torch.equal(again[name], weights[name]) for name in weights)
    record = record_of(here / "many")
    assert (record["seeds"], record["test"]["accuracy"]["count"]) == ([0, 1, 2, 5], 4)
    assert record["started_at"] == started


def test_a_series_that_is_complete_trains_nothing(here: Path) -> None:
    first = train_seeds(TINY, [0, 1], run_dir=here / "many")
    before = moments(here / "many" / "seed-0")
    callback = Remembering()
    second = train_seeds(TINY, [0, 1], jobs=2, run_dir=here / "many", callback=callback)
    assert (callback.epochs, callback.ends) == ([], [])
    assert moments(here / "many" / "seed-0") == before
    assert second.summary == first.summary


def stopped_series(folder: Path, jobs: int, epochs: int, stop_after: int) -> tuple[list[str], list[str]]:
    """The statuses of three runs that were stopped after so many epochs, and the lines that the user is told."""
    callback = Remembering(stop_after)
    with pytest.raises(InterruptedRunError) as caught:
        train_seeds(TINY, [0, 1, 2], f"training.epochs={epochs}", jobs=jobs, run_dir=folder, callback=callback)
    assert callback.series == []
    record = record_of(folder)
    assert (record["status"], record["stop_reason"]) == ("interrupted", "SIGINT")
    return [run["status"] for run in record["runs"]], str(caught.value).splitlines()


def test_a_stop_is_noted_and_gone_on_from(here: Path) -> None:
    statuses, (text, command) = stopped_series(here / "many", jobs=1, epochs=2, stop_after=3)
    assert statuses == ["finished", "interrupted", "waiting"]
    assert text == "Stopped; 1 of 3 runs is finished."
    assert command == f"Resume with: mnist-train --resume {here / 'many'}"
    before = moments(here / "many" / "seed-0")
    series = resume_seeds(here / "many")
    record = record_of(here / "many" / "seed-1")
    assert [session["status"] for session in record["sessions"]] == ["interrupted", "finished"]
    assert [run.status for run in series.runs] == ["finished"] * 3
    assert record_of(here / "many")["status"] == "finished"
    assert moments(here / "many" / "seed-0") == before
    check_equal(series.runs[1].folder, train(TINY, "seed=1", run_dir=here / "lone").folder)


@pytest.mark.slow
def test_a_stop_reaches_every_process(here: Path) -> None:
    statuses, (text, _) = stopped_series(here / "many", jobs=2, epochs=1_000_000, stop_after=2)
    assert statuses == ["interrupted", "interrupted", "waiting"]
    assert text == "Stopped; 0 of 3 runs are finished."
    assert [record_of(here / "many" / f"seed-{seed}")["status"] for seed in (0, 1)] == statuses[:2]
    assert not (here / "many" / "seed-2").exists()


def test_a_ctrl_c_without_a_console_is_noted_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Remembering):
        def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError, match=r"Stopped; 0 of 2 runs are finished\."):
        train_seeds(TINY, [0, 1], run_dir=here / "many", callback=Impatient())
    assert record_of(here / "many")["status"] == "interrupted"
    assert record_of(here / "many" / "seed-0")["status"] == "interrupted"


# --- what can't be ---


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("overrides", "seeds", "message"),
    [
        (["optimizer.lr=0.5"], [0, 1], "holds another config: optimizer.lr is 0.001 there and 0.5 here. Choose"),
        (
            ["model.hidden=[9]", "training.ema=0.9"],
            [0, 1],
            "model.hidden is [8] there and [9] here; training.ema is not set there and 0.9 here.",
        ),
        (["threads=2"], [0, 1], "threads is 1 there and 2 here."),
        ([], [1, 2], "holds a series with the seeds 0, 1; 0 can't be left out."),
    ],
)
def test_another_series_is_refused_and_nothing_changed(
    overrides: list[str], seeds: list[int], message: str, here: Path
) -> None:
    train_seeds(TINY, [0, 1], "training.epochs=1", run_dir=here / "many")
    before = everything(here)
    with pytest.raises(UsageError) as caught:
        train_seeds(TINY, seeds, "training.epochs=1", *overrides, run_dir=here / "many")
    assert message in str(caught.value)
    assert everything(here) == before


def test_a_run_of_another_config_in_the_series_is_never_removed(here: Path) -> None:
    train_seeds(TINY, [0], "training.epochs=1", run_dir=here / "many")
    train(TINY, "training.epochs=3", "seed=1", run_dir=here / "many" / "seed-1")
    before = everything(here)
    with pytest.raises(UsageError, match="seed-1 is no run of this series"):
        train_seeds(TINY, [0, 1], "training.epochs=1", run_dir=here / "many")
    assert everything(here) == before


@pytest.mark.parametrize("is_series", [True, False])
@pytest.mark.parametrize("content", ["notes.txt", "run.json", None])
def test_a_folder_the_series_did_not_make_is_refused(is_series: bool, content: str | None, here: Path) -> None:
    many = here / "many"
    if is_series:
        train_seeds(TINY, [0], run_dir=many)
    (many / "seed-1").mkdir(parents=True)
    if content is not None:
        (many / "seed-1" / content).write_text("{}")
    before = everything(here)
    with pytest.raises(UsageError) as caught:
        train_seeds(TINY, [0, 1], run_dir=many)
    advice = "Choose another --run-dir, or move that folder away."
    assert str(caught.value) == f"{many / 'seed-1'} is no run of this series. {advice}"
    assert everything(here) == before
    assert (many / "seed-1").is_dir()


@pytest.fixture
def waiting(here: Path) -> Path:
    """Where the second run of a series will be that was stopped in its first."""
    with pytest.raises(InterruptedRunError):
        train_seeds(TINY, [0, 1], run_dir=here / "many", callback=Remembering(stop_after=1))
    return here / "many" / "seed-1"


def test_what_somebody_put_in_the_place_of_a_run_is_never_removed(waiting: Path, here: Path) -> None:
    waiting.mkdir()
    (waiting / "thesis.txt").write_text("of years")
    before = everything(here)
    with pytest.raises(UsageError, match="seed-1 is no run of this series"):
        train_seeds(TINY, [0, 1], run_dir=here / "many")
    assert everything(here) == before


@pytest.mark.parametrize("rest", [[], [".config.yaml.123.part"], ["config.yaml"]])
def test_what_is_left_of_a_killed_run_is_made_anew(rest: list[str], waiting: Path, here: Path) -> None:
    waiting.mkdir()
    for name in rest:
        (waiting / name).write_bytes((here / "many" / "seed-0" / "config.yaml").read_bytes())
    series = train_seeds(TINY, [0, 1], run_dir=here / "many")
    assert [run.status for run in series.runs] == ["finished"] * 2


class Killed(BaseException):
    """Nothing is written after it."""


@pytest.mark.parametrize("writes", range(7))
def test_a_series_goes_on_wherever_it_was_killed(writes: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Path] = []

    def write(path: Path, *arguments: Any) -> None:
        if len(done) == writes:
            raise Killed
        done.append(path)
        write_file(path, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for place in (files, checkpoint):
            patch.setattr(place, "write_file", write)
        train_seeds(TINY, [0, 1], run_dir=here / "many")
    series = train_seeds(TINY, [0, 1], run_dir=here / "many")
    assert [run.status for run in series.runs] == ["finished"] * 2
    assert load_config(here / "many" / "config.yaml") == series.config


def test_nobody_else_works_on_a_series_meanwhile(here: Path) -> None:
    class Second(Remembering):
        def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
            before = moments(here)
            with pytest.raises(StorageError, match="many is in use by process") as caught:
                train_seeds(TINY, [0, 1], run_dir=here / "many")
            assert caught.value.exit_code == 7
            assert moments(here) == before
            super().on_run_epoch_end(seed, record)

    callback = Second()
    series = train_seeds(TINY, [0, 1], run_dir=here / "many", callback=callback)
    assert callback.epochs == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [run.status for run in series.runs] == ["finished"] * 2


def test_what_somebody_puts_there_meanwhile_is_not_removed(here: Path) -> None:
    class Careless(Remembering):
        def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
            if seed == 0:
                (here / "many" / "seed-1").mkdir(exist_ok=True)
                (here / "many" / "seed-1" / "thesis.txt").touch()

    train_seeds(TINY, [0, 1], run_dir=here / "many", callback=Careless())
    assert (here / "many" / "seed-1" / "thesis.txt").exists()


def test_a_series_that_was_started_meanwhile_is_not_mixed_with_another(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: dict[str, bytes] = {}

    def load_slowly(*arguments: Any) -> None:
        if not before:
            before["started"] = b""
            train_seeds(TINY, [0], "training.epochs=1", run_dir=here / "many")
            before.update(everything(here))

    monkeypatch.setattr(module, "load_test_images", load_slowly)
    with pytest.raises(UsageError, match=r"many holds another config: training\.epochs is 1 there and 2 here"):
        train_seeds(TINY, [0], run_dir=here / "many")
    del before["started"]
    assert everything(here) == before


def test_a_folder_with_a_single_run_is_refused(here: Path) -> None:
    train(TINY, run_dir=here / "mine")
    before = everything(here)
    with pytest.raises(UsageError, match="mine already holds a run"):
        train_seeds(TINY, [0, 1], run_dir=here / "mine")
    with pytest.raises(UsageError, match="At least 1 job is needed; got 0"):
        train_seeds(TINY, [0, 1], jobs=0)
    assert everything(here) == before


def test_without_data_there_is_no_folder(here: Path) -> None:
    with pytest.raises(DataError):
        train_seeds(TINY, [0, 1], "data.validation=195")
    assert not list(here.iterdir())


# --- runs that fail ---


@pytest.fixture
def one_diverges(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Lets the run with seed 1 fail."""

    def prepare(error: Exception) -> None:
        def failing(config: Any, **options: Any) -> Any:
            if config.seed == 1:
                raise error
            return train(config, **options)

        monkeypatch.setattr(module, "train", failing)

    return prepare


def test_a_run_that_fails_does_not_end_the_others(here: Path, one_diverges: Callable[[Exception], None]) -> None:
    one_diverges(DivergedError("The loss became nan in epoch 1."))
    callback = Remembering()
    series = train_seeds(TINY, [0, 1, 2], run_dir=here / "many", callback=callback)
    assert callback.ends == [(0, "finished", None), (1, "failed", DivergedError), (2, "finished", None)]
    assert list(series.failures) == [1]
    record = record_of(here / "many")
    assert (record["status"], record["stop_reason"]) == ("failed", "DivergedError")
    assert record["test"]["accuracy"]["count"] == 2
    failed = {key: record["runs"][1][key] for key in ("seed", "folder", "status", "stop_reason", "test")}
    assert failed == {"seed": 1, "folder": "seed-1", "status": "failed", "stop_reason": "DivergedError", "test": None}
    assert "seed 1: The loss became nan in epoch 1." in (here / "many" / "log.txt").read_text()
    with pytest.raises(TrainerError) as caught:
        series.raise_failures()
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        "1 of 3 runs failed. The figures above are the other 2's. Seed 1: The loss became nan in epoch 1."
    )


def test_a_failed_run_is_made_anew(here: Path, one_diverges: Callable[[Exception], None]) -> None:
    one_diverges(DivergedError("nan"))
    train_seeds(TINY, [0, 1], run_dir=here / "many")
    series = train_seeds(TINY, [0, 1], run_dir=here / "many")
    assert [run.status for run in series.runs] == ["finished", "finished"]


def test_a_diverging_run_says_so_in_its_own_folder(here: Path) -> None:
    overrides = ["optimizer={name: sgd, lr: 1e30}", "loss=mse"]
    series = train_seeds(TINY, [0, 1], *overrides, run_dir=here / "many")
    assert {seed: type(error) for seed, error in series.failures.items()} == {0: DivergedError, 1: DivergedError}
    assert series.summary == {}
    record = record_of(here / "many")
    assert (record["status"], record["test"], record["validation"]) == ("failed", None, None)
    assert [(run["status"], run["stop_reason"]) for run in record["runs"]] == [("failed", "DivergedError")] * 2
    with pytest.raises(TrainerError, match=r"^2 of 2 runs failed\. Seed 0: The loss became"):
        series.raise_failures()


def test_a_mistake_of_our_own_is_passed_on(here: Path, one_diverges: Callable[[Exception], None]) -> None:
    one_diverges(ZeroDivisionError("division by zero"))
    series = train_seeds(TINY, [0, 1], run_dir=here / "many")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        series.raise_failures()


def test_a_run_whose_process_is_lost_is_noted_as_failed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(config: Any, run_dir: Path, **options: Any) -> None:
        run = train(config, run_dir=run_dir, **options)
        RunFolder(run.folder).write_record({**record_of(run.folder), "status": "running", "stop_reason": None})
        raise MemoryError

    monkeypatch.setattr(module, "train", lost)
    train_seeds(TINY, [0], run_dir=here / "many")
    record = record_of(here / "many" / "seed-0")
    assert (record["status"], record["stop_reason"]) == ("failed", "RuntimeError")
