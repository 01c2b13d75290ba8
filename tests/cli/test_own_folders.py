"""What the commands say of own folders: what is passed over in them, and a file in the place of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mnist_trainer.data.digits import load_digits
from tests.cli.conftest import Command

CONFIG = """\
name: own
device: cpu
threads: 1
data: {name: folder, path: ., batch_size: 32}
model: {architecture: mlp, hidden: [8]}
training: {epochs: 1}
report: {plots: false, gallery: false}
"""


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of threes and sevens with what a system and a user leave in it; the present folder."""
    known = load_digits("train")
    for digit in (3, 7):
        folder = tmp_path / "digits" / str(digit)
        (folder / "@eaDir").mkdir(parents=True)
        (folder / "labels.csv").write_text("a,3\n")
        for index, image in enumerate(known.images[known.labels == digit][:20]):
            Image.fromarray(image.numpy()).save(folder / f"{index}.png")
    (tmp_path / "digits" / "__MACOSX").mkdir()
    (tmp_path / "own.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path / "digits")
    return tmp_path / "digits"


NOTE = "warning: data.path: {}: ignored, because they are not pictures of a class: "


def test_runs_in_the_folder_are_no_classes_and_each_command_has_one_note(command: Command, digits: Path) -> None:
    here = digits
    for arguments in (("--check",), (), ("--seeds", "2"), ("--run-dir", "r"), ("--check",)):
        done = command("train", "--config", "../own.yaml", *arguments)
        assert done.code == 0, done.err
        assert done.err.count("ignored, because they are not pictures") == 1, done.err
        assert "3/@eaDir/" in done.err
    assert "r/" in done.err and "runs" not in command("train", "--config", "../own.yaml", "--check").out
    done = command("eval", "r", "data.name=folder", f"data.path={here}")
    assert done.code == 0 and done.err.startswith(NOTE.format(here)), done.err
    assert done.err.count("\n") == 1


def test_predict_passes_over_the_same(command: Command, digits: Path) -> None:
    here = digits
    (here / "3" / "runs" / "x").mkdir(parents=True)
    (here / "3" / "runs" / "x" / "run.json").write_text("{}")
    done = command("predict", here / "3")
    assert done.code == 0 and "labels.csv" in done.err
    assert "@eaDir" not in done.err and "runs" not in done.err


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("train", "--config own --check", 2, "is a folder, and a config is a file"),
        ("sweep", "own", 2, "is a folder, and a config is a file"),
        ("train", "--config quickstart --run-dir text.txt", 7, "text.txt: a file is where a folder is needed"),
        ("train", "--config quickstart --check --run-dir text.txt", 7, "a file is where a folder is needed"),
        ("train", "--config quickstart --seeds 2 --run-dir text.txt", 7, "a file is where a folder is needed"),
        ("train", "--resume text.txt", 4, "text.txt: it is a file, but no last.pt"),
        (
            "train",
            "--config quickstart data.name=folder data.path=x.png",
            3,
            "x.png is a file; it must name a folder",
        ),
        ("train", "--config quickstart model.init_from=text.txt", 4, "text.txt is no checkpoint: it is a text file"),
        ("eval", "text.txt", 4, "text.txt is no checkpoint: it is a text file"),
        ("eval", "x.png", 4, "x.png is no checkpoint: it is a picture"),
        ("eval", "own", 4, "own holds no best.pt: it is no run folder"),
        ("eval", "runs", 4, "runs holds no best.pt: it is a folder of runs; name one of them"),
        ("eval", "bundled --calibrate own data.name=digits", 2, "own is a folder. Name a file to write to"),
        ("predict", "x.png --checkpoint text.txt", 4, "text.txt is no checkpoint: it is a text file"),
        ("runs", "text.txt", 2, "text.txt is a file. Name the folder that holds the runs"),
        ("runs", "nothing --diff text.txt own", 2, "text.txt is a file. Name the folder of a run"),
    ],
)
def test_a_file_and_a_folder_are_called_what_they_are(
    name: str,
    arguments: str,
    code: int,
    message: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/run.json").write_text("{}")
    Path("text.txt").write_text("hello\n")
    Image.new("L", (28, 28), 255).save("x.png")
    done = command(name, *arguments.split())
    assert (done.code, message in done.err) == (code, True), done.err
