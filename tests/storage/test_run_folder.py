from __future__ import annotations

import csv
import errno
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_trainer.errors import CheckpointError, StorageError, UsageError
from mnist_trainer.storage import run_folder
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import (
    COLUMNS,
    RunFolder,
    create_run_folder,
    find_checkpoint,
    find_path,
    latest_run,
)

ROW: dict[str, Any] = {
    "epoch": 1,
    "phase": "train",
    "train_loss": 0.1 + 0.2,
    "train_accuracy": 1.0,
    "val_loss": None,
    "val_accuracy": None,
    "lr": 1e-5,
    "gradient_norm": 0.25,
    "seconds": 2.5,
    "images_per_second": 1234.5,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still."""
    monkeypatch.setattr(run_folder, "datetime", SimpleNamespace(now=lambda: datetime(2026, 3, 14, 15, 9, 26)))


def make_run(path: Path, status: str = "finished", ended: str | None = "2026-01-01T00:00:00.000+00:00") -> RunFolder:
    path.mkdir(parents=True)
    (path / "best.pt").write_bytes(b"")
    folder = RunFolder(path)
    folder.write_record({"status": status, "finished_at": ended})
    return folder


@pytest.mark.usefixtures("here", "clock")
def test_runs_are_named_by_time_and_name_and_counted_within_a_second() -> None:
    made = [create_run_folder("mlp").path for _ in range(3)]
    stem = "2026-03-14_15-09-26-mlp"
    assert made == [Path("runs") / stem, Path("runs") / f"{stem}-2", Path("runs") / f"{stem}-3"]
    assert all(path.is_dir() for path in made)


@pytest.mark.usefixtures("here", "clock")
def test_a_hundred_runs_that_start_in_one_second_get_folders_of_their_own() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create_run_folder, ["mlp"] * 100))
    assert len({folder.path for folder in made}) == 100
    assert {folder.path for folder in made} == set(Path("runs").iterdir())


STARTS = """
import sys
from datetime import datetime
from types import SimpleNamespace
from mnist_trainer.storage import run_folder
run_folder.datetime = SimpleNamespace(now=lambda: datetime(2026, 3, 14, 15, 9, 26))
sys.stdin.read(1)
print(*(run_folder.create_run_folder("mlp").path for _ in range(25)))
"""


def test_processes_that_start_runs_at_once_get_folders_of_their_own(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(run_folder.__file__).parents[2])}
    command = [sys.executable, "-c", STARTS]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command, cwd=here, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("!")
            process.stdin.flush()
        made = [path for process in processes for path in process.communicate()[0].split()]
    assert len(set(made)) == len(made) == len(list((here / "runs").iterdir())) == 100


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_simulated_a_disk_that_refuses_a_folder_is_told(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    for place in (None, Path("mine")):
        with pytest.raises(StorageError, match=rf"can't be written: {os.strerror(number)}\. "):
            create_run_folder("mlp", place)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("target", ["nowhere", "runs"])
def test_a_link_that_leads_nowhere_in_the_place_of_runs_is_told(here: Path, target: str) -> None:
    (here / "runs").symlink_to(target)
    for place in (None, Path("runs"), Path("runs/mine")):
        with pytest.raises(StorageError, match=r"^runs: a broken link is where a folder is needed"):
            create_run_folder("mlp", place)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_runs_may_be_a_link_to_another_disk(here: Path) -> None:
    (here / "scratch").mkdir()
    (here / "runs").symlink_to("scratch")
    assert create_run_folder("mlp").path.parent == Path("runs")
    assert len(list((here / "scratch").iterdir())) == 1


def test_a_name_that_is_too_long_is_told_for_a_run_and_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"File name too long\. Choose a shorter name"):
        create_run_folder("mlp", tmp_path / ("x" * 300))
    with pytest.raises(CheckpointError, match="there is no such file"):
        find_checkpoint("x" * 300)


def test_a_lock_alone_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text('{"host": "", "pid": 0}')  # left by a process that was killed
    with pytest.raises(StorageError, match="--take-over"):
        create_run_folder("mlp", tmp_path)
    (tmp_path / ".lock").write_text("")
    assert create_run_folder("mlp", tmp_path).path == tmp_path


@pytest.mark.usefixtures("here")
def test_names_are_possible_on_every_system() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-a\.b_c", create_run_folder("a.b_c").path.name)


def test_a_named_place_is_taken_as_it_is(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("stays")
    assert create_run_folder("mlp", Path("mine")).path == Path("mine")
    assert create_run_folder("mlp", Path("a/b/c")).path.is_dir()
    assert (here / "mine" / "notes.txt").read_text() == "stays"
    assert not (here / "runs").exists()


@pytest.mark.parametrize("mark", ["config.yaml", "run.json", "metrics.csv", "best.pt", "last.pt"])
def test_a_place_that_holds_a_run_is_refused(tmp_path: Path, mark: str) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / mark).write_text("")
    with pytest.raises(UsageError) as caught:
        create_run_folder("mlp", place)
    assert str(caught.value) == f"{place} already holds a run. Choose another --run-dir, or remove it first."
    assert caught.value.exit_code == 2


def test_a_file_in_the_place_of_a_run_is_told(here: Path) -> None:
    (here / "runs").write_text("")
    with pytest.raises(StorageError):
        create_run_folder("mlp")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        create_run_folder("mlp", here / "runs")


def test_rows_are_appended_behind_one_header(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add_metrics(ROW)
    folder.add_metrics({**ROW, "epoch": 2, "val_loss": 0.5})
    header = "epoch,phase,train_loss,train_accuracy,val_loss,val_accuracy,lr,gradient_norm,seconds,images_per_second"
    assert folder.metrics.read_bytes().decode() == (
        f"{header}\n"
        "1,train,0.30000000000000004,1.0,,,1e-05,0.25,2.5,1234.5\n"
        "2,train,0.30000000000000004,1.0,0.5,,1e-05,0.25,2.5,1234.5\n"
    )
    with folder.metrics.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert float(first["train_loss"]) == ROW["train_loss"]
    assert tuple(header.split(",")) == COLUMNS


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_record({"status": "running", "name": "größe", "test": None})
    folder.write_record({"status": "finished", "name": "größe", "test": {"accuracy": 0.1}})
    assert folder.read_record() == {"status": "finished", "name": "größe", "test": {"accuracy": 0.1}}
    assert "größe" in (tmp_path / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe", b"3", b"[" * 10**5])
def test_a_record_that_is_missing_or_damaged_is_empty(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    assert RunFolder(tmp_path).read_record() == {}


@pytest.mark.usefixtures("clock")
def test_the_log_tells_the_time_of_each_line(tmp_path: Path) -> None:
    RunFolder(tmp_path).log("one")
    RunFolder(tmp_path).log("two")
    assert (tmp_path / "log.txt").read_text() == "2026-03-14 15:09:26  one\n2026-03-14 15:09:26  two\n"


def test_plots_lie_in_their_folder(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_plot("a.png", b"png")
    RunFolder(tmp_path).write_plot("a.png", b"new")
    assert (tmp_path / "plots" / "a.png").read_bytes() == b"new"


def test_the_latest_run_is_the_finished_one_that_ended_last(tmp_path: Path) -> None:
    make_run(tmp_path / "2026-01-03", ended="2026-01-04T00:00:00.000+00:00")
    make_run(tmp_path / "2026-01-02", ended="2026-01-05T00:00:00.000+00:00")  # began earlier, ended later
    make_run(tmp_path / "2026-01-06", "failed", "2026-01-06T00:00:00.000+00:00")
    make_run(tmp_path / "2026-01-07", "interrupted", "2026-01-07T00:00:00.000+00:00")
    make_run(tmp_path / "2026-01-08", "running", None)
    make_run(tmp_path / "2026-01-09", ended="2026-01-09T00:00:00.000+00:00").best.unlink()
    make_run(tmp_path / "2026-01-10")
    (tmp_path / "2026-01-10" / "run.json").write_text("{")
    (tmp_path / "notes.txt").write_text("no run")
    assert latest_run(tmp_path).path == tmp_path / "2026-01-02"


def test_of_runs_that_ended_together_the_later_name_is_the_latest(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        make_run(tmp_path / name)
    assert latest_run(tmp_path).path == tmp_path / "c"


def test_a_record_without_an_end_does_not_stop_the_search(tmp_path: Path) -> None:
    make_run(tmp_path / "a", ended=None)
    (make_run(tmp_path / "b").path / "run.json").write_text(json.dumps({"status": "finished", "finished_at": 3}))
    assert latest_run(tmp_path).path.name in ("a", "b")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("unfinished", [False, True])
def test_without_a_finished_run_it_says_what_to_do(unfinished: bool) -> None:
    if unfinished:
        make_run(Path("runs/one"), "interrupted")
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("latest")
    assert str(caught.value) == (
        "There is no finished run under runs. Train one (mnist-train --config quickstart) or name a checkpoint."
    )
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("here")
def test_a_checkpoint_is_found_in_every_form() -> None:
    make_run(Path("runs/one"))
    assert find_checkpoint("latest") == Path("runs/one/best.pt")
    assert find_checkpoint("runs/one") == Path("runs/one/best.pt")
    assert find_checkpoint("runs/one/") == Path("runs/one/best.pt")
    assert find_checkpoint("runs/one/best.pt") == Path("runs/one/best.pt")
    make_run(Path("latest"))
    assert find_checkpoint("latest") == Path("latest/best.pt")


@pytest.mark.usefixtures("here")
def test_the_bundled_model_comes_with_the_package() -> None:
    """Whatever is called so in the present folder; that is ./bundled."""
    place = find_checkpoint("bundled")
    assert place == Path(run_folder.__file__).parents[1] / "bundled.pt"
    both = place, place.with_name(run_folder.BUNDLED_ROWS)
    assert sum(path.stat().st_size for path in both) < 1_550_000
    assert load_checkpoint(place).classes == tuple("0123456789")
    make_run(Path("bundled"))
    assert find_checkpoint("bundled") == place
    assert find_checkpoint("./bundled") == Path("bundled/best.pt")


@pytest.mark.usefixtures("here")
def test_what_is_no_checkpoint_is_told() -> None:
    Path("empty").mkdir()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("empty")
    assert str(caught.value) == "empty holds no best.pt: it is no run folder."
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("nowhere.pt")
    advice = "Name a .pt file, a run folder, latest or bundled."
    assert str(caught.value) == f"nowhere.pt: there is no such file, here or in runs. {advice}"
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("runs/nowhere.pt")
    assert str(caught.value) == f"runs/nowhere.pt: there is no such file. {advice}"


@pytest.mark.usefixtures("here")
def test_a_name_below_runs_stands_for_what_is_there_unless_there_is_one_here() -> None:
    make_run(Path("runs/second"))
    assert find_checkpoint("second") == Path("runs/second/best.pt")
    assert find_checkpoint("second/best.pt") == Path("runs/second/best.pt")
    make_run(Path("second"))
    assert find_checkpoint("second") == Path("second/best.pt")
    assert find_path("runs") == Path("runs")
    assert find_path("") == Path()


@pytest.mark.usefixtures("here")
def test_a_series_is_no_model_but_its_runs_are_named() -> None:
    series = RunFolder(make_run(Path("runs/many/seed-0")).path.parent)
    series.write_record({"kind": "seeds", "status": "finished", "finished_at": "2027-01-01T00:00:00.000+00:00"})
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("runs/many")
    runs = Path("runs/many/seed-*")
    assert str(caught.value) == (
        f"{Path('runs/many')} is a series: its models are in {runs}. Name one of these folders, or all."
    )
    assert find_checkpoint("runs/many/seed-0") == Path("runs/many/seed-0/best.pt")
    make_run(Path("runs/one"))
    assert find_checkpoint("latest") == Path("runs/one/best.pt")
