"""Sweeps whose trials are made in this process; see test_sweep_processes.py for others."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import torch
import yaml

from mnist_trainer import train
from mnist_trainer.config.load import load_config
from mnist_trainer.config.sweep import Sweep, load_sweep
from mnist_trainer.data.digits import load_digits
from mnist_trainer.errors import DataError, InterruptedRunError, StorageError, TrainerError, UsageError
from mnist_trainer.files import folder_lock
from mnist_trainer.reports.callbacks import Callback, SweepInfo, SweepResult, TrialRow
from mnist_trainer.studies import sweep_search as module
from mnist_trainer.studies.sweep_search import run_sweep
from mnist_trainer.studies.sweep_study import SweepStudy, require_optuna

optuna = pytest.importorskip("optuna", reason="needs the extra [sweep]")

BASE: dict[str, Any] = {
    "threads": 1,
    "data": {"name": "digits", "limit": 20, "batch_size": 32, "validation": 40},
    "model": {"architecture": "mlp", "hidden": [8]},
    "training": {"epochs": 2},
    "report": {"plots": False, "gallery": False},
}
SPACE = {"optimizer.lr": {"log_uniform": [0.001, 0.1]}, "model.hidden": {"choice": [[8], [16, 8]]}}

Making = Callable[..., Sweep]


class Remembering(Callback):
    """Keeps what it is told; wants a stop when `stop_at` trials have ended."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.headers: list[SweepInfo] = []
        self.rows: list[TrialRow] = []
        self.best: list[int] = []
        self.results: list[SweepResult] = []
        self.stop_at = stop_at

    def on_sweep_start(self, header: SweepInfo) -> None:
        self.headers.append(header)

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        self.rows.append(row)
        if is_best:
            self.best.append(row.trial)
        self.should_stop = len(self.rows) == self.stop_at

    def on_sweep_end(self, result: SweepResult) -> None:
        self.results.append(result)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(here: Path) -> Making:
    """`make(trials=3, space=…)`: a sweep over the bundled digits; `base` is merged into `BASE`."""

    def made(base: dict[str, Any] | None = None, **settings: Any) -> Sweep:
        content = {"base": {**BASE, **(base or {})}, "space": SPACE, "sampler": "random", "pruner": "none", **settings}
        (here / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return load_sweep("tiny.yaml")

    return made


def tries(folder: Path) -> dict[int, list[str]]:
    """The states of each trial's attempts."""
    study = opened(folder / "sweep.yaml", folder / "journal.log")
    return {index: [one.state.name for one in attempts] for index, attempts in study.attempts().items()}


def opened(sweep: Path | str, place: Path | str) -> SweepStudy:
    """The study in a journal or a database, which a test closes if it writes to it."""
    found = load_sweep(sweep)
    study = SweepStudy(found, place) if isinstance(place, str) else SweepStudy(found, None, place)
    study.open()
    return study


def values_of(result: SweepResult) -> list[dict[str, Any]]:
    return [dict(row.values) for row in result.rows]


def test_a_sweep_from_its_beginning_to_its_end(make: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the test set was read")

    monkeypatch.setattr("mnist_trainer.data.loaders.load_test", refuse)
    callback = Remembering()
    result = run_sweep(make({"report": {"plots": True}}, trials=3), callback=callback)

    assert result.complete
    assert result == callback.results[0]
    assert [row.trial for row in callback.rows] == [0, 1, 2]
    assert [row.status for row in result.rows] == ["finished"] * 3
    assert result.best == min(result.rows, key=lambda row: row.value or 0)
    assert callback.best[-1] == result.best.trial
    assert callback.best[0] == 0

    folder = result.folder
    assert folder.name.endswith("-tiny-sweep")
    record = json.loads((folder / "run.json").read_text())
    assert (record["kind"], record["status"], record["counts"]) == ("sweep", "finished", {"finished": 3})
    assert record["best"]["value"] == result.best.value
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [row.val_loss for row in result.rows]
    assert [row["model.hidden"] for row in rows] == [str(row.values["model.hidden"]) for row in result.rows]
    curves = (folder / "curves.csv").read_text().splitlines()
    assert curves[0] == "trial,epoch,val_loss"
    assert len(curves) == 1 + 3 * 2
    assert set(result.plots) == {
        f"plots/{name}.png" for name in ("history", "curves", "slice", "parallel", "importance")
    }
    assert all((folder / plot).read_bytes().startswith(b"\x89PNG") for plot in result.plots)


def test_the_best_config_can_be_trained_and_gives_the_same_figures(make: Making, here: Path) -> None:
    result = run_sweep(make(trials=2))
    assert result.best is not None
    run = train(result.folder / "best.yaml", run_dir=here / "again")
    (best,) = [record for record in run.records if record.epoch == result.best.epoch]
    assert (best.val_loss, best.val_accuracy) == (result.best.val_loss, result.best.val_accuracy)
    assert {record.epoch: record.val_loss for record in run.records} == result.best.curve


def test_a_grid_covers_all_and_the_written_sweep_is_the_same(make: Making, here: Path) -> None:
    space = {"model.hidden": {"choice": [[8], [16]]}, "optimizer": {"choice": [{"name": "sgd", "lr": 0.1}, "adam"]}}
    result = run_sweep(make({"training": {"epochs": 1}}, sampler="grid", space=space, objective="val_accuracy"))
    found = [(row.values["model.hidden"], row.values["optimizer"]) for row in result.rows]
    assert found == [
        (hidden, optimizer) for hidden in ([8], [16]) for optimizer in ({"name": "sgd", "lr": 0.1}, "adam")
    ]
    assert result.best is not None
    assert result.best.value == max(row.val_accuracy or 0 for row in result.rows)
    again = load_sweep(result.folder / "sweep.yaml")
    assert (again.base, again.space) == (load_sweep("tiny.yaml").base, load_sweep("tiny.yaml").space)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_equal_seeds_give_equal_trials(make: Making, sampler: str) -> None:
    base = {"training": {"epochs": 1}}
    first, second = (run_sweep(make(base, sampler=sampler, trials=12)) for _ in range(2))
    assert values_of(first) == values_of(second)
    assert [row.value for row in first.rows] == [row.value for row in second.rows]
    other = run_sweep(make(base, sampler=sampler, trials=2, seed=1))
    assert values_of(other) != values_of(first)[:2]


def test_pruning_ends_trials_that_fall_behind(make: Making) -> None:
    """The first five are good; a median pruner ends the bad ones after them in their first epoch."""
    space = {"optimizer.lr": {"choice": [0.01, 0.011, 0.012, 0.013, 0.014, 1e-9, 2e-9]}}
    result = run_sweep(make({"training": {"epochs": 3}}, sampler="grid", pruner="median", space=space))
    assert [row.status for row in result.rows] == ["finished"] * 5 + ["pruned"] * 2
    assert [len(row.curve) for row in result.rows] == [3] * 5 + [1] * 2
    assert result.best is not None
    assert result.best.trial < 5


def test_hyperband_prunes_as_well(make: Making) -> None:
    space = {"optimizer.lr": {"choice": [0.02, *(index * 1e-9 for index in range(1, 12))]}}
    result = run_sweep(make({"training": {"epochs": 4}}, sampler="grid", pruner="hyperband", space=space))
    counts = Counter(row.status for row in result.rows)
    assert counts["pruned"] > 0
    assert counts["finished"] > 0
    assert counts["failed"] == 0


def test_a_failed_trial_is_not_the_end(make: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: Any, *arguments: Any, **options: Any) -> Any:
        if config.model.hidden == (9,):
            raise torch.OutOfMemoryError("CUDA out of memory")
        if config.model.hidden == (10,):
            raise RuntimeError("a bug")
        return prepare(config, *arguments, **options)

    prepare = module.prepare_training
    monkeypatch.setattr(module, "prepare_training", build)
    space = {
        "optimizer.name": {"choice": ["sgd", "adam"]},
        "optimizer.momentum": {"choice": [0.5]},
        "model.hidden": {"choice": [[8], [9], [10]]},
        "optimizer.lr": {"choice": [0.01, 1e30]},
    }
    result = run_sweep(make({"training": {"epochs": 1}}, sampler="grid", space=space))
    reasons = {(*map(str, row.values.values()),): row.reason for row in result.rows}
    assert len(reasons) == 12
    assert reasons["sgd", "0.5", "[8]", "0.01"] == ""
    assert "became" in reasons["sgd", "0.5", "[8]", "1e+30"]
    assert "memory is not enough" in reasons["sgd", "0.5", "[9]", "0.01"]
    assert reasons["sgd", "0.5", "[10]", "0.01"] == "RuntimeError: a bug"
    adam = [reason for values, reason in reasons.items() if values[0] == "adam"]
    assert all("optimizer.momentum: unknown key here; it belongs to sgd, rmsprop" in reason for reason in adam)
    assert [row.status for row in result.rows].count("finished") == 1
    assert result.complete
    result.raise_failure()


def test_when_all_fail_the_exit_code_is_the_commonest(make: Making) -> None:
    sweep = make(trials=2, space={"optimizer.lr": {"uniform": [1e30, 2e30]}}, base={"optimizer": "sgd"})
    result = run_sweep(sweep)
    assert json.loads((result.folder / "run.json").read_text())["status"] == "failed"
    assert not (result.folder / "best.yaml").exists()
    with pytest.raises(
        TrainerError, match=r"No trial was completed; 2 of 2 failed.*trial 0: The loss became"
    ) as caught:
        result.raise_failure()
    assert caught.value.exit_code == 6


def test_without_an_option_trials_take_turns_on_the_gpus(make: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, one_after_another = [], module.run_tasks

    def run_tasks(function: Any, scheduler: Any, jobs: int, gpus: list[str]) -> None:
        asked.append((jobs, gpus))
        one_after_another(function, scheduler, 1)

    monkeypatch.setattr(module, "run_tasks", run_tasks)
    monkeypatch.setattr(module, "visible_gpus", lambda device: ["4", "7"])
    result = run_sweep(make(trials=2))
    assert asked == [(2, ["4", "7"])]
    assert result.complete and "--jobs" not in result.resume


def test_a_stopped_sweep_goes_on_and_has_the_same_trials_in_the_end(make: Making, here: Path) -> None:
    whole = run_sweep(make(trials=4))
    with pytest.raises(InterruptedRunError, match=r"2 of 4 trials are done. Resume with:\nmnist-sweep mine/sweep.yaml"):
        run_sweep(make(trials=4), run_dir=Path("mine"), callback=Remembering(stop_at=2))
    assert json.loads((here / "mine" / "run.json").read_text())["status"] == "interrupted"
    callback = Remembering()
    result = run_sweep(load_sweep("mine/sweep.yaml"), run_dir=here / "mine", callback=callback)
    assert len(callback.headers[0].rows) == 2
    assert [row.trial for row in callback.rows] == [2, 3]
    assert values_of(result) == values_of(whole)
    assert [row.value for row in result.rows] == [row.value for row in whole.rows]
    more = run_sweep(make(trials=5), run_dir=here / "mine")
    assert values_of(more)[:4] == values_of(whole)
    assert len(more.rows) == 5


def test_a_stop_in_a_trial_lets_it_be_repeated(make: Making, here: Path) -> None:
    """At the first step of the second trial; the attempt is lost, and another one makes the same trial."""

    class AtOnce(Remembering):
        steps = 0

        @property
        def should_stop(self) -> bool:  # type: ignore[override]
            AtOnce.steps += bool(self.rows)
            return AtOnce.steps > 3

        @should_stop.setter
        def should_stop(self, value: bool) -> None:
            """It is not asked for."""

    whole = run_sweep(make(trials=3))
    with pytest.raises(InterruptedRunError, match="1 of 3"):
        run_sweep(make(trials=3), run_dir=here / "mine", callback=AtOnce())
    assert tries(here / "mine") == {0: ["COMPLETE"], 1: ["FAIL", "WAITING"]}  # others may take it up at once
    result = run_sweep(make(trials=3), run_dir=here / "mine")
    assert (values_of(result), result.complete) == (values_of(whole), True)
    assert tries(here / "mine") == {0: ["COMPLETE"], 1: ["FAIL", "COMPLETE"], 2: ["COMPLETE"]}


def test_trials_of_a_dead_command_are_repeated(make: Making, here: Path) -> None:
    """One that was asked for, and one that had its values: what a killed command leaves behind."""
    run_sweep(make(trials=2), run_dir=here / "mine")
    study = opened("tiny.yaml", here / "mine" / "journal.log")
    study.study.ask()
    study.study.ask().suggest_float("optimizer.lr", 0.001, 0.1, log=True)
    lr = study.study.trials[3].params["optimizer.lr"]
    study.close()
    result = run_sweep(make(trials=4), run_dir=here / "mine")
    assert [row.status for row in result.rows] == ["finished"] * 4
    assert result.rows[3].values["optimizer.lr"] == lr
    assert result.rows[2].values == run_sweep(make(trials=3)).rows[2].values


def test_the_time_may_be_over(make: Making) -> None:
    result = run_sweep(make(trials=50), minutes=0.0)
    assert (result.rows, result.complete, result.best) == ((), False, None)
    record = json.loads((result.folder / "run.json").read_text())
    assert (record["status"], record["stop_reason"]) == ("interrupted", "minutes")
    result.raise_failure()


@pytest.mark.parametrize(
    "change", [{"space": {"seed": {"int": [1, 2]}}}, {"objective": "val_accuracy"}, {"base": {"seed": 4}}]
)
def test_a_folder_with_another_sweep_is_refused(make: Making, here: Path, change: dict[str, Any]) -> None:
    run_sweep(make(trials=1), run_dir=here / "mine")
    before = (here / "mine" / "journal.log").read_bytes()
    name = {"base": r"base\.seed is 0 there and 4 here", "space": r"space\.seed is not set there"}.get(
        next(iter(change)), "objective"
    )
    with pytest.raises(UsageError, match=f"mine/journal.log holds a study .* about something else: .*{name}"):
        run_sweep(make(trials=1, **change), run_dir=here / "mine")
    assert (here / "mine" / "journal.log").read_bytes() == before


def test_a_sweep_does_not_go_on_with_other_images(make: Making, here: Path) -> None:
    digits = load_digits("train")
    images = zip(digits.labels[:200].tolist(), digits.images.flatten(1).tolist(), strict=False)
    rows = [",".join(map(str, [label, *pixels])) + "\n" for label, pixels in images]
    base = {"data": {"name": "folder", "path": str(here / "table.csv"), "batch_size": 32}}
    (here / "table.csv").write_text("".join(rows))
    run_sweep(make(base, trials=1), run_dir=here / "mine")
    assert len(run_sweep(make(base, trials=2), run_dir=here / "mine").rows) == 2
    (here / "table.csv").write_text("".join(rows[:-5]))
    with pytest.raises(DataError, match=r"^The images have changed since the study 'sweep' in .*journal\.log began"):
        run_sweep(make(base, trials=3), run_dir=here / "mine")


def test_a_folder_in_use_or_with_a_run_is_refused(make: Making, here: Path) -> None:
    (here / "used").mkdir()
    with folder_lock(here / "used"), pytest.raises(StorageError, match="used is in use by process"):
        run_sweep(make(trials=1), run_dir=here / "used")
    (here / "run").mkdir()
    (here / "run" / "best.pt").touch()
    with pytest.raises(UsageError, match="already holds a run"):
        run_sweep(make(trials=1), run_dir=here / "run")


def test_a_database_holds_a_study_that_goes_on_from_another_folder(make: Making, here: Path) -> None:
    url = f"sqlite:///{here}/study.db"
    first = run_sweep(make(trials=2), storage=url, run_dir=here / "a")
    second = run_sweep(make(trials=3), storage=url, run_dir=here / "b")
    assert values_of(second)[:2] == values_of(first)
    assert len(second.rows) == 3
    assert not (here / "a" / "journal.log").exists()
    with pytest.raises(UsageError, match=r"study.db holds a study of the name 'tiny' that is about something else"):
        run_sweep(make({"seed": 7}, trials=3), storage=url, run_dir=here / "c")
    assert not (here / "c").exists()


class CuttingOff(Remembering):
    """When it is told that attempt 0 is waited for, that one fails without a reason, as at a second Ctrl-C."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.study = opened("tiny.yaml", url).study
        with pytest.warns(UserWarning, match="Heartbeat"):
            self.study.ask()

    def on_message(self, text: str) -> None:
        self.study.tell(0, state=optuna.trial.TrialState.FAIL)


def test_a_trial_that_is_cut_off_elsewhere_is_made_here(
    make: Making, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the last one: a command that finds nothing to begin waits for it, and takes it up."""
    monkeypatch.setattr("mnist_trainer.studies.sweep_search.WAIT_SECONDS", 0.0)
    url = f"sqlite:///{here}/study.db"
    result = run_sweep(make(trials=1), storage=url, callback=CuttingOff(url))
    assert [row.status for row in result.rows] == ["finished"]
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"


def test_minutes_are_the_reason_only_if_they_are_over(
    make: Making, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.studies.sweep_search.WAIT_SECONDS", 0.0)
    monkeypatch.setattr(SweepStudy, "requeue_abandoned", lambda study: None)
    url = f"sqlite:///{here}/study.db"
    result = run_sweep(make(trials=1), storage=url, minutes=9e9, callback=CuttingOff(url))
    record = json.loads((result.folder / "run.json").read_text())
    assert (result.complete, record["stop_reason"]) == (False, "trials are left")


@pytest.mark.slow
def test_others_are_waited_for_only_if_they_make_trials_of_this_sweep(make: Making, here: Path) -> None:
    """Trial 1 is in work elsewhere, and here one is wanted."""
    url = f"sqlite:///{here}/study.db"
    run_sweep(make(trials=1), storage=url)
    callback = CuttingOff(url)
    assert run_sweep(make(trials=1), storage=url, callback=callback).complete
    study = opened("tiny.yaml", url)
    assert [one.state.name for one in study.study.trials] == ["COMPLETE", "RUNNING"]
    study.close()


def test_a_line_that_was_torn_off_costs_no_more_than_itself(make: Making, here: Path) -> None:
    run_sweep(make(trials=1), run_dir=here / "mine")
    with (here / "mine" / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":4,"wor')
    result = run_sweep(make(trials=2), run_dir=here / "mine")
    assert [row.status for row in result.rows] == ["finished"] * 2
    assert result == run_sweep(make(trials=2), run_dir=here / "mine")


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b'{"op_code":4,"wor{"op_code":4}\n', b"\xff\n"])
def test_a_damaged_journal_is_told(make: Making, here: Path, damage: bytes) -> None:
    run_sweep(make(trials=1), run_dir=here / "mine")
    journal = here / "mine" / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
    with pytest.raises(StorageError, match=r"mine/journal\.log: the study can't be read .* is it undamaged\?"):
        run_sweep(make(trials=2), run_dir=here / "mine")
    journal.write_bytes(b"".join(lines[:3]))
    assert run_sweep(make(trials=1), run_dir=here / "mine").complete


def test_a_journal_that_breaks_while_it_is_in_use_is_no_mistake_of_ours(make: Making) -> None:
    study = SweepStudy(make(), None, Path("journal.log"))
    with pytest.raises(StorageError, match=r"journal\.log: the study can't be read or written"), study.storage_errors():
        json.loads('{"op_code":4,"wor{"op_code":4}')


def test_bad_data_leaves_no_study(make: Making, here: Path) -> None:
    sweep = make({"data": {"name": "folder", "path": "/no/such/folder", "validation": 40}})
    with pytest.raises(DataError):
        run_sweep(sweep, storage=f"sqlite:///{here}/study.db")
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


def test_a_pruned_trial_has_the_figures_of_its_best_epoch(make: Making) -> None:
    study = optuna.create_study()
    attempt = study.ask()
    for epoch, loss in enumerate((0.7, 0.5, 0.9), start=1):
        attempt.report(loss, epoch)
    attempt.set_user_attr("best", {"epoch": 2, "val_loss": 0.5, "val_accuracy": 0.75})
    study.tell(attempt, state=optuna.trial.TrialState.PRUNED)
    for objective, value in (("val_loss", 0.5), ("val_accuracy", 0.75)):
        found = SweepStudy(make(objective=objective, trials=1))
        found.study = study
        (row,) = found.rows()
        assert (row.status, row.value, row.epoch, row.val_loss) == ("pruned", value, 2, 0.5)


def test_a_running_trial_is_reported_to_a_database(make: Making, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_trainer.studies.sweep_study.HEARTBEAT_SECONDS", 0.01)
    study = SweepStudy(make(), f"sqlite:///{here}/study.db")
    with study.opened("images"), closing(sqlite3.connect(here / "study.db", isolation_level=None)) as database:
        study.start()
        database.execute("update trial_heartbeats set heartbeat = '2000-01-01 00:00:00'")
        until = monotonic() + 60
        while "2000" in database.execute("select heartbeat from trial_heartbeats").fetchone()[0][:4]:
            assert monotonic() < until
            sleep(0.01)


@pytest.mark.slow
def test_a_silent_process_on_a_database_counts_as_dead(
    make: Making, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.studies.sweep_search.WAIT_SECONDS", 0.1)
    url = f"sqlite:///{here}/study.db"
    for name in ("HEARTBEAT_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(f"mnist_trainer.studies.sweep_study.{name}", 1)
    sweep = make(trials=2)
    study = opened("tiny.yaml", url)
    study.start()
    study.close()
    result = run_sweep(sweep, storage=url)
    assert [row.status for row in result.rows] == ["finished"] * 2


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("mysql://a:b@c/d", UsageError, "--storage takes sqlite:///FILE or postgresql"),
        ("nonsense", UsageError, "--storage takes sqlite:///FILE or postgresql"),
        ("sqlite://", UsageError, "--storage takes sqlite:///FILE or postgresql"),
        ("sqlite:////no/such/folder/a.db", StorageError, "unable to open database file"),
        ("postgresql+psycopg2://me:hidden@127.0.0.1:1/a", StorageError, "postgresql://me:.*refused"),
        ("postgresql://me:hidden@127.0.0.1:1/a", StorageError, "postgresql://me:\\*\\*\\*@127.0.0.1:1/a.*refused"),
        (
            "postgres://me@127.0.0.1:1/a?password=hidden",
            StorageError,
            "postgresql://me:\\*\\*\\*@127.0.0.1:1/a.*refused",
        ),
    ],
)
def test_a_database_that_is_not_there(make: Making, here: Path, url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        run_sweep(make(trials=1), storage=url)
    assert "hidden" not in str(caught.value)
    assert not (here / "runs").exists()


def test_a_password_is_hidden_whatever_a_database_says(make: Making) -> None:
    study = SweepStudy(make(), "postgresql://me:hidden@host/db")
    message = r"me:\*\*\*@host/db: .* no entry for me \*\*\*\. Is"
    with pytest.raises(StorageError, match=message), study.storage_errors():
        raise OSError("no entry for me hidden")


def test_without_optuna_it_says_what_to_install(make: Making, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'mnist-trainer\[sweep\]'"):
        run_sweep(make(trials=1))
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_no_matplotlib_state_is_left(make: Making) -> None:
    from matplotlib import pyplot as plt
    from matplotlib import rcParams

    before = dict(rcParams)
    mine = plt.figure()
    result = run_sweep(make({"report": {"plots": True, "format": "svg"}}, trials=2))
    assert "plots/importance.svg" in result.plots
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)
    assert {key: value for key, value in rcParams.items() if value != before[key] and key != "backend"} == {}


def test_a_trial_that_kills_its_process_again_and_again_fails(make: Making, here: Path) -> None:
    run_sweep(make(trials=1), run_dir=here / "mine")
    study = opened("tiny.yaml", here / "mine" / "journal.log")
    study.study.enqueue_trial({}, user_attrs={"trial": 1, "deaths": 3})
    study.close()
    result = run_sweep(make(trials=2), run_dir=here / "mine")
    assert [row.status for row in result.rows] == ["finished", "failed"]
    assert "process died 3 times" in result.rows[1].reason
    assert result.rows[1].code == 5


def test_the_extra_is_there() -> None:
    require_optuna()
    assert load_config("mlp").name == "mlp"
