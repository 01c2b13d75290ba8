from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import DivergedError, InterruptedRunError
from mnist_trainer.inference.metrics import spread
from mnist_trainer.reports.callbacks import RunInfo, SeriesResult, SubRun
from mnist_trainer.reports.console import Console, seeds_text, series_lines, spread_sentence
from mnist_trainer.training.loop import EpochRecord

FOLDER = Path("runs/many")
Begun = tuple[RunInfo, tuple[int, ...], int]


def run_of(seed: int, errors: int) -> SubRun:
    test = {"accuracy": 1 - errors / 10_000, "errors": errors, "loss": 0.05, "count": 10_000}
    record: dict[str, Any] = {
        "status": "finished",
        "best_epoch": 2,
        "test": test,
        "validation": {"accuracy": 0.98, "loss": 0.0612},
        "timings": {"training_seconds": 12.34},
    }
    return SubRun(seed, FOLDER / f"seed-{seed}", record)


RUNS = (run_of(0, 158), run_of(1, 156), run_of(2, 145))
RESULT = (
    "many: test accuracy mean 98.47 % (95 % interval of the mean 98.30 to 98.64 %), sd 0.07, 98.42 to 98.55, 3 seeds"
)


def series_of(*runs: SubRun, plots: bool = True) -> SeriesResult:
    config = load_config({"model": {"architecture": "mlp", "hidden": [8]}, "report": {"plots": plots}})
    finished = [run for run in runs if run.status == "finished"]
    figures = {"test": ("accuracy", "errors"), "validation": ("accuracy", "loss"), "timings": ("training_seconds",)}
    summary = {
        part: {name: spread([run.metric(part, name) or 0 for run in finished]) for name in names}
        for part, names in figures.items()
        if finished
    }
    return SeriesResult(FOLDER, config, runs, summary, {})


@pytest.fixture
def begun(info: RunInfo) -> Begun:
    return replace(info, folder=FOLDER), (0, 1, 2), 2


def test_a_pipe_gets_a_row_a_run_and_the_whole(begun: Begun, record: EpochRecord) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.on_series_start(*begun, ())
    console.on_run_epoch_end(1, record)
    console.on_run_end(RUNS[1], None)
    console.on_run_end(RUNS[0], None)
    console.on_run_end(RUNS[2], None)
    console.on_series_end(series_of(*RUNS))
    assert stream.getvalue() == (
        "data   mnist: 55,000 images to train, 5,000 to validate\n"
        "model  mlp 784-512-256-10, relu, 535,818 parameters\n"
        "device cpu, float32, 2 threads\n"
        "seeds  0, 1, 2; 2 at a time\n"
        f"folder {FOLDER}\n"
        " seed  test accuracy  errors  val accuracy  val loss  best epoch  seconds\n"
        "    1        98.44 %     156       98.00 %    0.0612           2     12.3\n"
        "    0        98.42 %     158       98.00 %    0.0612           2     12.3\n"
        "    2        98.55 %     145       98.00 %    0.0612           2     12.3\n"
        " mean        98.47 %   153.0       98.00 %    0.0612                 12.3\n"
        "   sd         0.07 %     7.0        0.00 %    0.0000                  0.0\n"
        f"Written to {FOLDER}: config.yaml, run.json, plots/seeds.png, seed-*/\n"
        "The interval of the mean covers what the seed changes, on these same images.\n"
        "What other images would change is in the interval of each run's own accuracy.\n"
        f"Try next: mnist-eval {FOLDER / 'seed-*'}\n"
        f"{RESULT}\n"
    )


def test_what_was_there_already_is_shown_at_once(begun: Begun) -> None:
    stream = io.StringIO()
    Console(stream).on_series_start(*begun, RUNS[:1])
    lines = stream.getvalue().splitlines()
    assert lines[5] == "1 of 3 are finished already."
    assert lines[7] == "    0        98.42 %     158       98.00 %    0.0612           2     12.3"


def test_runs_that_end_badly_say_why(begun: Begun) -> None:
    stream = io.StringIO()
    console = Console(stream)
    failed = SubRun(1, FOLDER / "seed-1", {"status": "failed"})
    console.on_run_end(failed, DivergedError("The loss became nan."))
    console.on_run_end(SubRun(2, FOLDER / "seed-2", {"status": "interrupted"}), InterruptedRunError("Stopped in …"))
    assert stream.getvalue() == "    1  failed: The loss became nan.\n    2  interrupted\n"


def test_quiet_prints_one_line_and_warnings(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.on_warning("model.output", "works against the loss")
    console.on_loading("mnist", 1, 2)
    console.on_series_start(*begun, ())
    console.on_run_end(RUNS[0], None)
    console.on_series_end(series_of(*RUNS))
    console.close()
    assert capsys.readouterr() == (f"{RESULT}\n", "warning: model.output: works against the loss\n")


def test_a_single_run_claims_no_spread() -> None:
    lines = series_lines(series_of(RUNS[0], plots=False))
    assert lines == [
        f"Written to {FOLDER}: config.yaml, run.json, seed-*/",
        f"Try next: mnist-eval {FOLDER / 'seed-*'}",
        "many: test accuracy 98.42 %, 1 seed: no deviation, no interval of the mean",
    ]


def test_without_a_finished_run_there_is_no_figure() -> None:
    assert series_lines(series_of(SubRun(0, FOLDER / "seed-0", {"status": "failed"}))) == [
        f"Written to {FOLDER}: config.yaml, run.json, seed-*/",
        "many: no run is finished",
    ]


def test_no_interval_goes_beyond_all_images() -> None:
    assert "95.57 to 100.00 %" in spread_sentence(spread([0.99, 0.985]))
    assert "(95 % interval of the mean 0.00 to 100.00 %)" in spread_sentence(spread([0.1, 0.5]))


@pytest.mark.parametrize(
    ("seeds", "text"),
    [((0,), "0"), ((0, 1, 2, 3), "0, 1, 2, 3"), (tuple(range(3, 103)), "3 to 102"), ((4, 0, 1, 2, 3), "4, 0, 1, 2, 3")],
)
def test_many_seeds_are_told_in_short(seeds: tuple[int, ...], text: str) -> None:
    assert seeds_text(seeds) == text


def test_a_terminal_shows_what_is_in_work_and_is_left_as_it_was(
    begun: Begun, record: EpochRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    console = Console(terminal=True)
    console.on_series_start(*begun, ())
    out = capsys.readouterr().out
    assert "starting" in out and "0 of 3 runs" in out
    console.on_run_epoch_end(1, record)
    console.on_run_epoch_end(0, record)
    out = capsys.readouterr().out
    assert "seed 0: epoch 3, seed 1: epoch 3 of 12" in out
    console.on_run_end(RUNS[1], None)
    out = capsys.readouterr().out
    assert "98.44 %" in out and "seed 0: epoch 3 of 12" in out and "1 of 3 runs" in out
    console.on_series_end(series_of(*RUNS))
    out += capsys.readouterr().out
    console.close()
    assert RESULT in out
    assert out.count("\x1b[?25h") == 1  # the cursor is shown again
