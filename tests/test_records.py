"""`benchmarks/records/`: the plan and its configs, the rules of reading the test set, and the figures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from mnist_trainer import Run
from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.pipeline import evaluate as pipeline
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "records").glob("*.yaml"))


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "records"))
    import records

    return records


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_on_all_images_and_keeps_the_last_epoch(path: Path) -> None:
    config = load_config(path)
    assert (config.data.validation, config.training.keep) == (0, "last")
    assert config.training.early_stopping is None and not config.training.refit


def test_the_plan_trains_every_config_for_its_epochs(records: Any) -> None:
    plan = records.load_plan()
    trained = {ROOT / record.config: record.epochs for record in plan.values() if record.config}
    assert trained == {path: load_config(path).training.epochs for path in CONFIGS}
    assert all(bool(record.config) != bool(record.members) and record.runs for record in plan.values())


def test_the_interval_of_a_mean_has_the_outer_limits(records: Any) -> None:
    low, high = (binomtest(errors, 10_000).proportion_ci(method="exact") for errors in (24, 25))
    assert records.interval_of_mean(24.3, 10_000) == pytest.approx((low.low, high.high), abs=1e-9)
    assert records.interval_of_mean(24, 10_000) == pytest.approx((low.low, low.high), abs=1e-9)


def test_the_page_has_the_figures_of_the_stored_answers(records: Any) -> None:
    assert records.write_report(check=True) == 0


def test_the_commit_of_the_plan_is_the_one_that_changed_it_last(
    records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(records, "PLAN", tmp_path / "benchmarks" / "plan.yaml")
    records.PLAN.parent.mkdir()
    records.git("init", "--quiet")
    commits = []
    for path in (records.PLAN, tmp_path / "other"):
        path.touch()
        records.git("add", str(path))
        records.git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message=A file")
        commits.append(records.git("rev-parse", "HEAD"))
    assert records.plan_commit() == commits[0] != commits[1]


PLAN = """\
one: {config: config.yaml, epochs: 1, seeds: [0, 1], views: 2}
fast: {config: config.yaml, epochs: 1, seeds: [0], timed: true}
both: {members: {one: [0, 1], fast: [0]}}
"""
CONFIG = """\
data: {name: digits, limit: 20, validation: 0, augment: {rotate: 5}}
model: {architecture: mlp, hidden: 8}
training: {epochs: 1, keep: last}
"""


@pytest.fixture
def here(records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan of tiny runs, which counts as committed."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "records.md").write_text(f"# Records\n\n{records.BEGIN}{records.END}\nThe end.\n")
    names = {
        "ROOT": "",
        "HERE": "",
        "PLAN": "plan.yaml",
        "ANSWERS": "answers",
        "PAGE": "records.md",
        "PICTURE": "shared.png",
    }
    for name, file in names.items():
        monkeypatch.setattr(records, name, tmp_path / file)
    monkeypatch.setattr(records, "git", lambda *arguments: "abc" if "log" in arguments else "")
    monkeypatch.setattr(records, "draw_shared", lambda: None)
    return tmp_path


@pytest.fixture
def answer(records: Any, here: Path) -> Callable[..., None]:
    """`answer("one", 0, [3, 1], [3, 2], seconds=60)`: stored answers to images with these labels."""

    def store(name: str, seed: int, answers: list[int], labels: list[int], **facts: float) -> None:
        records.ANSWERS.mkdir(exist_ok=True)
        probabilities = np.full((len(answers), 10), 100, np.uint16)
        probabilities[range(len(answers)), answers] = records.SCALE - 900
        np.savez(
            records.answers_path(name, seed),
            probabilities=probabilities,
            answers=np.array(answers, np.uint8),
            labels=np.array(labels, np.uint8),
            facts=np.array(json.dumps({"training_seconds": 7200} | facts)),
        )

    return store


def test_the_figures_come_from_the_stored_answers(records: Any, here: Path, answer: Callable[..., None]) -> None:
    labels = [1, 2, 3, 4]
    answer("one", 0, [1, 2, 3, 9], labels)
    answer("one", 1, [1, 2, 5, 9], labels)
    assert records.write_report(check=False) == 0
    page = (here / "records.md").read_text()
    assert "| one | 2 seeds | 1, 2 | 37.500 % | 17.678 % | 0.63 to 93.24 % | 2.00 h a run |" in page
    assert "| fast | 1 seed, not complete |" in page and "| both | 3 members, not complete |" in page
    assert "Wrong in all 2 runs and ensembles (label → most frequent answer): 3 (4 → 9)." in page
    assert page.endswith("\nThe end.\n") and records.write_report(check=True) == 0

    answer("fast", 0, [1, 2, 3, 4], labels, command_seconds=58.4)
    assert records.write_report(check=True) == 1
    text = records.report()
    assert "| both | 3 members | 1 | 25.000 % |  |" in text  # two of three say 9
    assert "| 58 s, whole command |" in text
    assert "| one, fast | 0 | 1 | 1 |" in text
    assert text.endswith("most frequent answer): none.\n")


def test_the_test_set_is_not_read_before_a_record_is_complete(
    records: Any, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = records.load_plan()
    (here / "one-0").mkdir()
    (here / "one-0" / "run.json").write_text('{"status": "finished"}')
    assert records.test([plan["one"]], here) == 2
    assert "These runs are not finished: one-1\n" in capsys.readouterr().out
    monkeypatch.setattr(records, "git", lambda *arguments: " M plan.yaml")
    assert records.test([plan["one"]], here) == 2
    assert "must be committed" in capsys.readouterr().out
    assert not records.ANSWERS.exists()
    assert records.pack([plan["one"]], here) == 2
    assert "These runs are not finished: one-1\n" in capsys.readouterr().out


def test_a_run_that_was_killed_before_its_time_was_written_is_trained_again(
    records: Any, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, folder = records.load_plan()["fast"], here / "fast-0"
    folder.mkdir()
    (folder / "run.json").write_text('{"status": "finished"}')
    (folder / "config.yaml").touch()
    assert records.test([fast], here) == 2
    assert "These runs are not finished: fast-0\n" in capsys.readouterr().out

    def train(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert "--resume" not in command and not folder.exists()
        folder.mkdir()
        (folder / "run.json").write_text('{"status": "finished"}')
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(records.subprocess, "run", train)
    assert records.train([fast], 1, here) == 0
    assert records.run_facts(fast, 0, here)["command_seconds"] >= 0
    monkeypatch.setattr(records.subprocess, "run", None)
    assert records.train([fast], 1, here) == 0  # nothing is left to do


@pytest.mark.parametrize("factor", [1, 1e9])
def test_float16_is_chosen_by_training_images(
    records: Any, here: Path, digits_run: Run, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    checkpoint = load_checkpoint(digits_run.folder / "best.pt")
    weights = {name: value * factor for name, value in checkpoint.weights.items()}  # times 10⁹ infinite in float16
    save_checkpoint(here / "run.pt", replace(checkpoint, members=(replace(checkpoint.only, weights=weights),)))
    read = []
    evaluate = pipeline.run_evaluation
    monkeypatch.setattr(pipeline, "run_evaluation", lambda *a, split: read.append(split) or evaluate(*a, split=split))
    changed = records.write_half(here / "packed.pt", [here / "run.pt"])
    assert bool(changed) == (factor > 1) and read == ["train", "train"]
    packed, whole = ((here / name).stat().st_size for name in ("packed.pt", "run.pt"))
    assert (packed < 0.7 * whole) == (factor == 1)


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_saved_a_state_starts_over(records: Any, here: Path) -> None:
    record, folder = records.load_plan()["one"], here / "one-0"
    config = load_config(here / "config.yaml", records.overrides(record, 0, here))
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(config))
    (folder / "run.json").write_text('{"status": "running"}')
    assert records.train_run(record, 0, here) == 0
    assert records.run_facts(record, 0, here)


@pytest.mark.slow
def test_a_plan_from_trainings_to_figures(records: Any, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, runs = records.load_plan(), here / "runs"
    assert records.train(list(plan.values()), 2, runs) == 0
    tested = [records.run_facts(plan[name], seed, runs)["test"] for name, seed in plan["both"].runs]
    assert tested == [None] * 3
    assert records.train(list(plan.values()), 2, runs) == 0  # nothing is left to do
    assert capsys.readouterr().out.count("started") == 3
    assert records.test([plan["both"]], runs) == 0
    assert "| both | 3 members |" in records.report() and "not complete" not in records.report()
    capsys.readouterr()
    assert records.pack([plan["one"], plan["both"]], runs) == 0
    assert capsys.readouterr().out.count("MB, float16\n") == 2 and (here / "both.pt").exists()
    config = (runs / "one-0" / "config.yaml").read_text()
    (runs / "one-0" / "config.yaml").write_text(config.replace("rotate: 5", "rotate: 6"))
    records.answers_path("one", 0).unlink()
    with pytest.raises(SystemExit, match="was not trained with"):
        records.test([plan["one"]], runs)
