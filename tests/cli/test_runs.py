from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
FakeRun = Callable[..., Path]


@pytest.fixture
def home(here: Path, fake_run: FakeRun) -> Path:
    """The present folder, with two runs in `runs/`."""
    fake_run("runs/one", {"name": "one"})
    fake_run("runs/two", {"name": "two", "started_at": "2026-03-14T16:00:00Z"}, "loss=mse", "optimizer.lr=0.1")
    return here


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("place", [[], ["runs"]])
def test_runs_are_listed_the_newest_last(command: Command, place: list[str]) -> None:
    done = command("runs", *place)
    head, first, second, blank, note = done.out.splitlines()
    assert (done.code, done.err, blank) == (0, "", "")
    assert head.split()[:4] == ["folder", "time", "name", "model"]
    assert (first.split()[0], second.split()[0]) == ("one", "two")
    assert note.startswith("Losses with different letters")


@pytest.mark.usefixtures("home")
def test_json_is_a_list_of_objects(command: Command) -> None:
    done = command("runs", "--json", "--sort", "optimizer.lr", "--reverse")
    first, second = json.loads(done.out)
    assert (first["name"], second["name"]) == ("two", "one")
    assert (first["test_accuracy"], first["config"]["optimizer"]["lr"]) == (0.9, 0.1)


@pytest.mark.usefixtures("home")
def test_a_sorted_and_filtered_list(command: Command) -> None:
    done = command("runs", "--sort", "val_loss", "--reverse", "--filter", "status=finished", "--filter", "name=*o*")
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["one", "two"]
    assert done.err.startswith("val_loss is not the same metric in all these runs")
    done = command("runs", "--filter", "name=three", "--filter", "loss=mse")
    assert (done.code, done.out) == (0, "None of the 2 runs in runs has name=three and loss=mse.\n")
    assert command("runs", "--filter", "name=three", "--json").out == "[]\n"


@pytest.mark.usefixtures("home")
def test_several_folders_are_told_to_be_one_too_many(command: Command) -> None:
    done = command("runs", "runs/one", "runs/two")
    assert done == (2, "", "Name one folder, the one that holds the runs: mnist-runs runs\n")


@pytest.mark.usefixtures("home")
def test_two_runs_are_compared(command: Command) -> None:
    done = command("runs", "--diff", "one", "runs/two")
    assert (done.code, done.err) == (0, "")
    assert "  optimizer.lr              0.001             0.1" in done.out.splitlines()
    assert json.loads(command("runs", "--diff", "one", "two", "--json").out)["config"]["optimizer.lr"] == [0.001, 0.1]


@pytest.mark.usefixtures("home")
def test_a_name_below_runs_is_the_same_run_wherever_it_is_asked_for(command: Command) -> None:
    assert command("runs", "one").out.splitlines()[1].split()[0] == "one"
    head, *_ = command("runs", "two", "--diff", "one", "two").out.splitlines()
    assert head.split() == ["one", "two"]
    for arguments in (["eval", "one"], ["predict", "a.png", "--checkpoint", "one"]):
        assert command(*arguments).err.startswith("runs/one holds no best.pt")
    assert command("train", "--resume", "one", "--jobs", "2").err.startswith("--jobs is how many runs of a series")
    assert command("train", "--resume", "three").err.startswith("three: there is no such folder, here or in runs.")


def test_curves_are_drawn_and_what_has_none_is_named(command: Command, home: Path) -> None:
    (home / "runs" / "half").mkdir()
    done = command("runs", "--plot", "curves.png")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "Written to curves.png; left out, without an epoch: half"
    assert (home / "curves.png").read_bytes().startswith(b"\x89PNG")
    done = command("runs", "--diff", "one", "two", "--json", "--plot", "two.PNG")
    assert (done.err, len(json.loads(done.out)["runs"])) == ("Written to two.PNG\n", 2)


def test_a_report_is_written_on_what_is_listed_or_named(command: Command, home: Path) -> None:
    done = command("runs", "--filter", "name=one", "--report", "one.html")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Written to one.html")
    assert "<title>one</title>" in (home / "one.html").read_text()
    done = command("runs", "two", "runs/one", "runs/two", "--json", "--report", "both.HTM")
    assert (done.err, [run["name"] for run in json.loads(done.out)]) == ("Written to both.HTM\n", ["two", "one"])
    assert "<title>2 runs</title>" in (home / "both.HTM").read_text()
    done = command("runs", "--diff", "one", "two", "--report", "diff.html")
    assert done.out.splitlines()[-1] == "Written to diff.html"
    assert "<title>2 runs</title>" in (home / "diff.html").read_text()


def test_on_a_terminal_the_table_fits(command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_trainer.cli.mnist_runs.terminal_width", lambda: 80)
    lines = command("runs").out.splitlines()
    assert max(map(len, lines[:3])) <= 80
    assert lines[-1].startswith("Not shown, because the terminal is too narrow: ")


def test_an_empty_folder_says_what_to_do(command: Command, here: Path) -> None:
    (here / "runs").mkdir()
    text = "There are no runs in runs yet. Train one: mnist-train --config quickstart\n"
    assert command("runs") == (0, text, "")
    assert command("runs", "--json") == (0, "[]\n", "")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "nowhere: there is no such folder, here or in runs. Train a run"),
        (["tiny.yaml"], 2, "tiny.yaml is a file. Name the folder that holds the runs."),
        (["--sort", "val_los"], 2, "val_los is neither a column nor a key of a config. Did you mean val_loss?"),
        (["--filter", "adam"], 2, "--filter adam: write KEY=VALUE"),
        (
            ["--diff", "one", "three"],
            2,
            "There is no run three: neither a folder, here or in runs, nor a name in runs.",
        ),
        (["--diff", "one", "two", "--sort", "name"], 2, "--diff already names its two runs"),
        (["--diff", "one", "two", "--reverse"], 2, "--diff already names its two runs"),
        (["--diff", "one", "two", "--filter", "name=one"], 2, "--diff already names its two runs"),
        (["runs/one", "runs/two", "--diff", "one", "two", "--report", "a.html"], 2, "Name one folder"),
        (["three", "--report", "a.html"], 2, "There is no run three: neither a folder, here or in runs, nor a name"),
        (["--report", "a.pdf"], 2, "--report writes HTML; a.pdf does not end in .html."),
        (["--report", "missing/a.html"], 7, "missing/a.html can't be written: No such file or directory."),
        (["--filter", "name=three", "--report", "a.html"], 2, "Nothing to report: no run of runs is listed."),
        (["--plot", "curves.jpg"], 2, "--plot writes a PNG; curves.jpg does not end in .png."),
        (["--plot", "missing/curves.png"], 7, "missing/curves.png can't be written: No such file or directory."),
        (["--filter", "name=three", "--plot", "a.png"], 2, "Nothing to draw: no run listed of runs"),
    ],
)
def test_mistakes_are_told_in_a_line(command: Command, arguments: list[str], code: int, message: str) -> None:
    done = command("runs", *arguments)
    assert done.code == code
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1


def test_a_folder_full_of_rubbish_is_listed(command: Command, home: Path) -> None:
    runs = home / "runs"
    for number, content in enumerate([b"", b"\xff\xfe\x00", b"[[[", b'{"status": {}}', b"null\n"]):
        folder = runs / f"rubbish{number}"
        folder.mkdir()
        for name in ("config.yaml", "run.json", "metrics.csv", "best.pt"):
            (folder / name).write_bytes(content)
    shutil.copy(runs / "one" / "run.json", runs / "plain file")
    (runs / "loop").symlink_to("loop")
    if hasattr(os, "mkfifo"):
        (runs / "pipes").mkdir()
        os.mkfifo(runs / "pipes" / "run.json")
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    damaged = [line for line in done.out.splitlines() if line.endswith("  damaged")]
    assert len(damaged) == 6 + hasattr(os, "mkfifo")
    assert len(json.loads(command("runs", "--json").out)) == 8 + hasattr(os, "mkfifo")
    assert command("runs", "--report", "all.html").code == 0
    assert (home / "all.html").read_text().count("This folder is damaged: ") == len(damaged)


@pytest.mark.usefixtures("home")
def test_nothing_heavy_is_loaded_for_a_table(completed: Command) -> None:
    watched = """
import sys
command, *sys.argv[1:] = sys.argv[1:]
from mnist_trainer.cli.options import run_app
try:
    run_app("runs")
finally:
    heavy = ("torch", "torchvision", "numpy", "matplotlib", "cv2", "PIL")
    print("loaded:", *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""
    for arguments in ([], ["--sort", "val_loss", "--filter", "name=one", "--json"], ["--diff", "one", "two"]):
        done = completed("runs", *arguments, script=watched)
        assert (done.code, done.err) == (0, "loaded:\n")
    done = completed("runs", "one", "--report", "one.html", script=watched)
    assert "torch" not in done.err
