"""What the README and docs/ show is what happens: their commands and their Python are taken from them and run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mnist_trainer.data.digits import load_digits

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README = PAGES["README.md"]
OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md", "runs/README.md", "benchmarks/README.md", "benchmarks/RESULTS.md")
"""Pages whose links are checked, too."""

SMALL = "data.name=digits data.validation=100 training.epochs=1"
SMALLER = {
    "--config configs/mlp.yaml": f"--config configs/mlp.yaml {SMALL}",
    "--config cnn-deformed": "--config quickstart training.epochs=1 data.augment.rotate=5",
    "--config cnn ": "--config quickstart training.epochs=1 ",
    "--config bundled-rows": "--config quickstart training.epochs=1",
    "--config bundled ": "--config quickstart training.epochs=1 ",
    "model.init_from=bundled ": "",
    "mnist-sweep mlp --trials 20": "mnist-sweep sweep.yaml --trials 2",
    "--robustness": "--robustness --count 1",
    "mnist-lab all --quick": "mnist-lab exercises --quick",
}
"""What takes minutes and MNIST in the documentation, and what is run instead."""
SWEEP = """\
base: quickstart
space:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
"""

ONE_AFTER_THE_OTHER = """
import shlex, signal, sys
from glob import glob
from mnist_trainer.cli.options import run_app

for command in sys.argv[1:]:
    sys.argv = [part for word in shlex.split(command) for part in (sorted(glob(word)) if "*" in word else [word])]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_app(sys.argv[0].removeprefix("mnist-"))
    except SystemExit as end:
        print(command, "=>", end.code or 0, flush=True)
        if end.code:
            raise
"""
"""Calls the commands it is given as their console scripts would, until one fails."""


def blocks(language: str, *pages: str) -> list[str]:
    """The code blocks in one language, of these pages or of all."""
    texts = [PAGES[page] for page in pages or PAGES]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)]


def unrolled(line: str) -> list[str]:
    """The commands of a shell's `for` loop in one line, one after the other."""
    loop = re.fullmatch(r"for (\w+) in ([^;]+); do (.*); done", line)
    return [line] if loop is None else [loop[3].replace(f"${loop[1]}", value) for value in loop[2].split()]


def commands(page: str) -> list[str]:
    """The mnist-* commands of a page, in its order, without their comments; what would take long is replaced."""
    texts = [re.sub(r" *\\\n *", " ", block) for block in blocks("bash", page)]
    lines = [re.split(r" {2,}#", line)[0].strip() for text in texts for line in text.splitlines()]
    lines = [each for line in lines for each in unrolled(line)]
    lines = [line.split("&& ")[-1] for line in lines]
    wanted = [line for line in lines if re.match(r"mnist-(train|eval|predict|runs|sweep|lab|export)\b", line)]
    for shown, smaller in SMALLER.items():
        wanted = [f"{line} ".replace(shown, smaller).strip() for line in wanted]
    return wanted


def pages_with(language: str) -> list[str]:
    return [page for page in PAGES if (commands(page) if language == "bash" else blocks(language, page))]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder like a fresh clone's, with a picture of a one and two tables of digits."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    image = Image.new("L", (120, 160), 235)
    ImageDraw.Draw(image).line((60, 25, 58, 135), fill=20, width=14)
    image.save(tmp_path / "picture.png")
    for folder in ("scans", "mine/1"):
        (tmp_path / folder).mkdir(parents=True)
        image.save(tmp_path / folder / "1.png")
    (tmp_path / "mnist_trainer").mkdir()
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    digits = load_digits("train")
    rows = np.column_stack((digits.labels[:300], digits.images[:300].reshape(-1, 784)))
    np.savetxt(tmp_path / "train.csv", rows, "%d", ",")
    np.savetxt(tmp_path / "test.csv", rows[:5, 1:], "%d", ",")
    return tmp_path


def run(arguments: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MNIST_TRAINER_DATA": str(place / "no-data"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False, env=environment)


def test_the_commands_of_a_newcomer_stand_at_the_top() -> None:
    top = README[: README.index("## ")]
    assert "pip install . && mnist-train --config configs/quickstart.yaml" in top
    assert "pip install '.[dev]' && pytest" in top


def test_all_replacements_are_needed() -> None:
    lines = [f"{line} " for page in PAGES for block in blocks("bash", page) for line in block.splitlines()]
    assert [shown for shown in SMALLER if not any(shown in line for line in lines)] == []
    assert sum(len(commands(page)) for page in PAGES) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("bash"))
def test_every_command_works_in_its_order(page: str, place: Path) -> None:
    # In one process: each command alone would import torch anew.
    shown = commands(page)
    done = run([sys.executable, "-c", ONE_AFTER_THE_OTHER, *shown], place)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stdout.count("=> 0") == len(shown)


@pytest.mark.slow
def test_every_python_example_works(place: Path) -> None:
    examples = [block for block in blocks("python") if not block.startswith("def train_step")]
    assert len(examples) >= 5
    for example in examples:
        if "torch.load" in example or "127.0.0.1" in example:  # see below, and tests/serve/test_server.py
            continue
        done = run([sys.executable, "-c", example], place)
        assert done.returncode == 0, f"{example}\n{done.stderr}"


@pytest.mark.slow
def test_pytorch_alone_reads_a_checkpoint(tmp_path: Path) -> None:
    (example,) = (block for block in blocks("python") if "torch.load" in block)
    (command,) = (line for line in commands("docs/python.md") if "runs/plain" in line)
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
    from mnist_trainer.config.sweep import load_sweep

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
    done = run([sys.executable, "-m", "mnist_trainer", "train", "--config", "configs/mine.yaml"], place)
    (shown,) = (block for block in blocks("text") if block.startswith("configs/mine.yaml"))
    assert done.returncode == 2
    assert done.stderr == shown


def test_every_file_of_the_tree_exists() -> None:
    (tree,) = (block for block in blocks("text", "README.md") if block.startswith("mnist_trainer/"))
    names = [line.split()[0] for line in tree.splitlines()]

    for line, name in zip(tree.splitlines(), names, strict=True):
        assert (ROOT / "mnist_trainer" / name if line.startswith(" ") else ROOT / name).exists(), line
        assert len(line.split()) > 2, f"{name}: what is it?"
    stages = {path.parent.name for path in (ROOT / "mnist_trainer").glob("*/__init__.py")}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    tops = {name.partition("/")[0] for name in tracked.splitlines() if "/" in name}
    assert {f"{name}/" for name in stages | tops} - set(names) == set()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_generated_parts_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    loader = SourceFileLoader("reference", str(ROOT / "scripts" / "reference"))
    spec = importlib.util.spec_from_loader("reference", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    stale = [name for name, text in module.contents().items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run scripts/reference"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_files_that_are_named_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`((?:mnist_trainer|tests|benchmarks|scripts|configs|docs|[a-z]+)/[\w/.-]+\.\w+)`", text))
    roots = (ROOT, ROOT / "mnist_trainer", (ROOT / page).parent)
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_the_places_of_extensions_exist() -> None:
    rows = [line for line in PAGES["docs/extending.md"].splitlines() if line.startswith("| ")]
    named = [found for row in rows for found in re.findall(r"\]\(([^)]+)\): (`\w+`(?:, `\w+`)*)", row)]
    assert len(named) >= 15
    for target, names in named:
        text = (ROOT / "docs" / target).read_text(encoding="utf-8")
        assert [name for name in re.findall(r"\w+", names) if not re.search(rf"\b{name}\b", text)] == [], target
