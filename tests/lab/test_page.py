"""docs/lab.md and docs/lab.ipynb are what the experiments say, and the notebook runs."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.lab.run import names, phrase

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def lab_page() -> Any:
    loader = SourceFileLoader("lab_page", str(ROOT / "scripts" / "lab_page"))
    spec = spec_from_loader("lab_page", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_page_and_the_notebook_follow_the_docstrings(lab_page: Any) -> None:
    stale = [name for name, text in lab_page.pages().items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], "scripts/lab_page makes them"


def test_each_experiment_has_a_picture_and_held_statements() -> None:
    page = (DOCS / "lab.md").read_text(encoding="utf-8")
    for name in names():
        assert f"### {name}\n" in page and phrase(name) in page
        assert (DOCS / "lab" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        lines = json.loads((DOCS / "lab" / f"{name}.json").read_text(encoding="utf-8"))["lines"]
        assert lines and all(line.startswith("held  ") for line in lines), name


@pytest.mark.slow
def test_the_notebook_runs_and_its_statements_hold(
    tmp_path: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(DOCS / "lab.ipynb", as_version=4)
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    )
    lines = printed.splitlines()
    assert len(lines) > 3 * len(names()) and all(line.startswith("held  ") for line in lines)
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == len(names())
