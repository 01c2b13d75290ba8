from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.layers import expand, infer_shapes
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import shell_quote
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.reports.callbacks import Run
from mnist_trainer.reports.console import EPOCH_COLUMNS, epoch_cells, run_lines
from mnist_trainer.reports.diagnosis import Diagnosis, Finding
from mnist_trainer.reports.text import STOP_REASONS, clip_to_range, interval, layer_lines, percent, wrap_text
from mnist_trainer.training.loop import EpochRecord


@pytest.mark.parametrize(("fraction", "text"), [(0.98214, "98.21 %"), (1.0, "100.00 %"), (0, "0.00 %"), (None, "-")])
def test_people_read_percent(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((0.9525, 0.98664), "95.25 to 98.66 %"),
        ((-1.93, 2.5), "0.00 to 100.00 %"),
        ((-0.1, 0.5), "0.00 to 50.00 %"),
        (None, "-"),
    ],
)
def test_no_interval_leaves_what_an_accuracy_can_be(bounds: tuple[float, float] | None, text: str) -> None:
    assert interval(bounds) == text


def test_an_interval_is_cut_at_both_ends() -> None:
    assert clip_to_range((-1.93, 2.5)) == (0.0, 1.0)
    assert clip_to_range((0.25, 0.75)) == (0.25, 0.75)


def test_an_epoch_has_a_cell_for_each_column(record: EpochRecord) -> None:
    assert epoch_cells(record) == ("3", "0.1234", "0.0877", "97.40 %", "0.0012", "2.3", "* best so far")
    assert len(EPOCH_COLUMNS) == len(epoch_cells(record))
    bare = replace(record, val_loss=None, val_accuracy=None, best=False, lr=1e-5)
    assert epoch_cells(bare) == ("3", "0.1234", "-", "-", "1e-05", "2.3", "")


def test_an_accuracy_comes_with_its_interval(evaluation: Evaluation) -> None:
    sentence = "test accuracy 99.85 % (3 errors of 2,000; 95 % interval 99.56 to 99.95 %)"
    assert evaluation.sentence == sentence
    assert "(1 error of 2,000;" in replace(evaluation, errors=1).sentence
    assert repr(evaluation) == f"{sentence}\ndata mnist, loss 0.0123, expected calibration error 0.46 %"
    assert repr(replace(evaluation, loss=None, ece=None)) == f"{sentence}\ndata mnist"


@pytest.mark.parametrize("reason", sorted(STOP_REASONS))
def test_the_end_says_why_where_and_what_next(result: Run, reason: str) -> None:
    folder = Path("runs") / "one"
    assert run_lines(replace(result, stop_reason=reason)) == [
        f"{STOP_REASONS[reason]} Kept: best epoch 3. 31.3 s of training.",
        f"Written to {folder}: best.pt, last.pt, metrics.csv, run.json, config.yaml, plots/curves.png, "
        "plots/confusion.png",
        f"Try next: mnist-eval {folder}",
        "one: test accuracy 99.85 % (3 errors of 2,000; 95 % interval 99.56 to 99.95 %)",
    ]


def test_the_end_says_which_epoch_was_kept(result: Run) -> None:
    last = load_config(result.config, ("training.keep=last",))
    assert run_lines(replace(result, config=last))[0] == "All epochs are done. Kept: last epoch 3. 31.3 s of training."
    unvalidated = [replace(record, best=False) for record in result.records]
    assert "Kept: last epoch 3." in run_lines(replace(result, records=tuple(unvalidated)))[0]


def test_what_to_try_next_can_be_pasted(result: Run) -> None:
    folder = Path("my runs") / "one"
    lines = run_lines(replace(result, folder=folder, plots=("plots/sample.png",)))
    sample = folder / "plots" / "sample.png"
    assert lines[2] == f"Try next: mnist-eval {shell_quote(folder)}"
    assert lines[3] == f"          mnist-predict {shell_quote(sample)} --checkpoint {shell_quote(folder)}"
    assert [line.strip() for line in wrap_text("\n".join(lines[2:4]), 30).splitlines()] == [
        "Try next:",
        lines[2].removeprefix("Try next: "),
        lines[3].strip(),
    ]


def test_a_model_that_only_guesses_is_told_so(result: Run, evaluation: Evaluation) -> None:
    """1,990 of the 2,000 images are of class 0; being right as often as that is no achievement."""
    guessing = replace(evaluation, accuracy=1990 / 2000, errors=10)
    told = replace(
        result,
        test=guessing,
        diagnosis=Diagnosis((Finding("not_learning", "The loss does not fall. Try optimizer.lr=0.1"),)),
    )
    *_, sentence, heading, advice, _result = run_lines(told)
    name = evaluation.per_class[0].label
    assert sentence == f"It is no better than guessing: always predicting {name} has an accuracy of 99.50 %."
    assert (heading, advice) == ("Diagnosis:", "  The loss does not fall. Try optimizer.lr=0.1")


def test_one_class_read_without_an_error_is_no_guessing(result: Run, evaluation: Evaluation) -> None:
    faultless = replace(evaluation, accuracy=1.0, errors=0, count=1990)
    assert len(run_lines(replace(result, test=faultless))) == len(run_lines(result))


def test_a_loss_that_exploded_fits_its_column(record: EpochRecord) -> None:
    assert epoch_cells(replace(record, train_loss=5.5462e24))[1] == "5.55e+24"


def layer_table(model: dict[str, Any]) -> list[str]:
    return layer_lines(infer_shapes(expand(load_config({"model": model}).model), 10))


def test_the_table_of_layers_of_an_mlp() -> None:
    assert layer_table({"architecture": "mlp", "hidden": [64, 64], "residual": True, "output": "softmax"}) == [
        "0  flatten                          [B, 784]                       0",
        "1  linear                           [B, 64]                   50,240",
        "2  activation relu                  [B, 64]                        0",
        "3  residual                         [B, 64]                    4,160",
        "  0  linear                         [B, 64]                    4,160",
        "  1  activation relu                [B, 64]                        0",
        "4  linear                           [B, 10]                      650",
        "5  output softmax                   [B, 10]                        0",
    ]


def test_the_table_of_layers_names_what_tells_layers_apart() -> None:
    layers: list[Any] = [
        {"conv": {"channels": 4, "kernel": 5}},
        {"conv": {"channels": 4, "stride": 2, "padding": 1}},
        {"squeeze_excite": 8},
        {"pool": {"kind": "average"}},
        {"dropout": 0.25},
        {"pool": {"size": "global"}},
        "flatten",
        {"linear": "classes"},
    ]
    names = [line[:36].rstrip() for line in layer_table({"architecture": "layers", "layers": layers})]
    assert names == [
        "0  conv 5×5",
        "1  conv 3×3, stride 2",
        "2  squeeze_excite 8",
        "  0  pool average global",
        "  1  flatten",
        "  2  linear",
        "  3  activation relu",
        "  4  linear",
        "  5  activation sigmoid",
        "3  pool average 2×2",
        "4  dropout 0.25",
        "5  pool max global",
        "6  flatten",
        "7  linear",
    ]


def test_texts_break_between_words_and_never_within_a_command() -> None:
    text = "It was stopped. Resume with: mnist-train --resume runs/2026-01-01-a-long-name training.epochs=40"
    assert wrap_text(text, 40).splitlines() == [
        "It was stopped. Resume with:",
        "mnist-train --resume runs/2026-01-01-a-long-name training.epochs=40",
    ]
    text = "There is none. Train one (mnist-train --config quickstart) or name one."
    assert wrap_text(text, 30).splitlines() == [
        "There is none. Train one",
        "(mnist-train --config quickstart)",
        "or name one.",
    ]
    assert wrap_text("folder runs/one/a-name", 12, indent=2) == "folder\n  runs/one/a-name"
    assert wrap_text("a  table's   row\n\nb", 16) == "a  table's   row\n\nb"
