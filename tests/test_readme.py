"""What the README shows is what happens: its commands and its Python are taken from it and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mnist_trainer.data.bundled import load_digits

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_DOWNLOAD = ("configs/mlp.yaml",)
SMALLER = {
    "--config cnn-deformed": "--config quickstart training.epochs=1 data.augment.rotate=5",
    "--config cnn ": "--config quickstart training.epochs=1 ",
    "--config bundled": "--config quickstart training.epochs=1",
    "mnist-sweep mlp --trials 20": "mnist-sweep sweep.yaml --trials 2",
}
"""What takes minutes and MNIST in the README, and what is run instead."""

SWEEP = """\
base: quickstart
space:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
"""

ONE_AFTER_THE_OTHER = """
import shlex, signal, sys
from glob import glob
from importlib import import_module

for command in sys.argv[1:]:
    sys.argv = [part for word in shlex.split(command) for part in (sorted(glob(word)) if "*" in word else [word])]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        import_module("mnist_trainer.cli." + sys.argv[0].replace("-", "_")).main()
    except SystemExit as end:
        print(command, "=>", end.code or 0, flush=True)
        if end.code:
            raise
"""
"""Calls the commands it is given as their console scripts would, until one fails."""


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """The README's mnist-* commands that need no download, in its order, without their comments."""
    lines = [re.split(r" {2,}#", line)[0].strip() for block in blocks("bash") for line in block.splitlines()]
    lines = [line.split("&& ")[-1] for line in lines]
    wanted = [line for line in lines if re.match(r"mnist-(train|eval|predict|runs|sweep)\b", line)]
    for shown, smaller in SMALLER.items():
        assert any(shown in f"{line} " for line in wanted), shown
        wanted = [f"{line} ".replace(shown, smaller).strip() for line in wanted]
    return [line for line in wanted if not any(name in line for name in NEEDS_DOWNLOAD)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh clone's, with a picture of a one and two tables of digits."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    image = Image.new("L", (120, 160), 235)
    ImageDraw.Draw(image).line((60, 25, 58, 135), fill=20, width=14)
    image.save(folder / "picture.png")
    (folder / "scans").mkdir()
    image.save(folder / "scans" / "1.png")
    (folder / "mnist_trainer").mkdir()
    (folder / "sweep.yaml").write_text(SWEEP)
    digits = load_digits("train")
    rows = np.column_stack((digits.labels[:300], digits.images[:300].reshape(-1, 784)))
    np.savetxt(folder / "train.csv", rows, "%d", ",")
    np.savetxt(folder / "test.csv", rows[:5, 1:], "%d", ",")
    return folder


def run(arguments: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MNIST_TRAINER_DATA": str(place / "no-data"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False, env=environment)


def test_the_commands_of_a_newcomer_stand_at_the_top() -> None:
    top = README[: README.index("## ")]
    assert "pip install . && mnist-train --config configs/quickstart.yaml" in top
    assert "pip install '.[dev]' && pytest" in top


def test_every_command_works_in_its_order(place: Path) -> None:
    shown = commands()
    assert len(shown) >= 20
    # In one process: each command alone would import torch anew.
    done = run([sys.executable, "-c", ONE_AFTER_THE_OTHER, *shown], place)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stdout.count("=> 0") == len(shown)
    assert (place / "report" / "confusion.png").exists()


def test_every_python_example_works(place: Path) -> None:
    examples = blocks("python")
    assert examples
    for example in examples:
        if "torch.load" in example:  # see below
            continue
        done = run([sys.executable, "-c", example], place)
        assert done.returncode == 0, f"{example}\n{done.stderr}"


def test_pytorch_alone_reads_a_checkpoint(tmp_path: Path) -> None:
    (example,) = (block for block in blocks("python") if "torch.load" in block)
    (command,) = (line for line in commands() if "runs/plain" in line)
    done = run([sys.executable, "-c", ONE_AFTER_THE_OTHER, f"{command} training.epochs=1"], tmp_path)
    assert done.returncode == 0, done.stderr
    test = load_digits("test")
    torch.save({"images": test.images[:, None], "labels": test.labels}, tmp_path / "test.pt")
    given = example.replace("torch.randint(256, (5, 1, 28, 28))", 'torch.load("test.pt")["images"]')
    assert given != example
    alone = "import sys\nsys.modules['mnist_trainer'] = None\n"
    printed = 'print(int((outputs.argmax(1) != torch.load("test.pt")["labels"]).sum()))'
    done = run([sys.executable, "-c", f"{alone}{given}{printed}"], tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs" / "plain" / "run.json").read_text(encoding="utf-8"))
    assert int(done.stdout) == record["test"]["errors"]


def test_every_config_shown_is_valid(place: Path) -> None:
    from mnist_trainer.config.load import load_config

    texts = [text for block in blocks("yaml") for text in separate(block) if not text.startswith("base:")]
    assert len(texts) == 6
    for number, text in enumerate(texts):
        path = place / f"shown-{number}.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_config(path).name in ("mlp", f"shown-{number}")


def test_the_sweep_shown_is_valid(place: Path) -> None:
    from mnist_trainer.config.sweep_reading import load_sweep

    (text,) = (block for block in blocks("yaml") if block.startswith("base:"))
    path = place / "shown-sweep.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_sweep(path).trials == 30


def separate(block: str) -> list[str]:
    """The configs in a block: one, or one a line where each line is a model."""
    lines = block.splitlines(keepends=True)
    return lines if all(line.startswith("model:") for line in lines) else [block]


def test_the_errors_shown_are_the_errors_given(place: Path) -> None:
    lines = [
        "name: mine",
        *["# …"] * 4,
        "model:",
        "  hiden: [64]",
        "  architecture: mlp",
        "optimizer: {lr: -1, name: adam}",
    ]
    path = place / "configs" / "mine.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run([sys.executable, "-m", "mnist_trainer.cli.mnist_train", "--config", "configs/mine.yaml"], place)
    (shown,) = (block for block in blocks("text") if block.startswith("configs/mine.yaml"))
    assert done.returncode == 2
    assert done.stderr == shown


def test_every_file_of_the_tree_exists() -> None:
    (tree,) = (block for block in blocks("text") if block.startswith("mnist_trainer/"))

    for line in tree.splitlines():
        name = line.split()[0]
        assert (ROOT / "mnist_trainer" / name if line.startswith(" ") else ROOT / name).exists(), line
