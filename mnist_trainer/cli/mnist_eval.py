"""`mnist-eval`: compute the metrics of checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_trainer.cli.arguments import DataCommand
from mnist_trainer.cli.common import (
    handle_errors,
    print_safe,
    problems_at_options,
    require,
    show_progress,
    terminal_width,
)
from mnist_trainer.cli.options import Debug, Device, Json, Version, complete, flag, new_app, option

if TYPE_CHECKING:
    from mnist_trainer.data.image_dataset import Split
    from mnist_trainer.inference.influence import NetworkExplanation
    from mnist_trainer.inference.robustness import RobustnessRow
    from mnist_trainer.pipeline.evaluate import EvalResult

    Report = tuple[EvalResult, list[str], dict[str, Any]]
    """The (first) evaluation, the lines to print, and the object that `--json` prints instead."""

app = new_app()

NO_CHECKPOINT = """\
Name what to evaluate: a run folder, a .pt file, or latest, the newest finished run. For example:
  mnist-eval latest
mnist-eval --help lists all options."""

SplitName = Literal["test", "validation", "train", "test50k", "hsf04", "hsf1"]
"""The parts of a data set; the last three are QMNIST's."""

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CHECKPOINT [KEY=VALUE]",
        help="A run folder, a .pt or .onnx file, or latest (the newest finished run); several are evaluated as an "
        "ensemble. Then keys of other data: data.name=qmnist",
        autocompletion=complete("latest"),
    ),
]
SPLIT = (
    "Which images: test, validation, train; with data.name=qmnist also test50k, the 50,000 that are not part of MNIST, "
    "and its parts hsf04 and hsf1, by series of forms."
)
OUT = "Write confusion.png, mistakes.png and predictions.csv to this folder."
VIEWS = "Average the predictions for each image and N - 1 deformed copies of it (test-time augmentation)."
CALIBRATE = "Save a copy whose probabilities are calibrated on the validation images."
ROBUSTNESS = "Evaluate on rotated, noisy, …, attacked (FGSM, PGD) and simulated images; with --out also as files."
COUNT = 1000
COUNTED = f"With --robustness: the number of attacked images, of photographs and of non-digits (default {COUNT})."
EXPLAIN = "Show what each hidden unit contributes; with --out also as files."
SUSPICIOUS = "Find wrong training labels, by the runs of all folds (data.fold); with --out also as files."
COMPARE = "Compare two checkpoints: is one significantly better? (McNemar's test)"


@app.command(name="eval", cls=DataCommand)
def evaluate(  # noqa: PLR0913, PLR0917 - one an option
    arguments: Arguments = None,
    split: Annotated[SplitName, option("--split", "PART", SPLIT)] = "test",
    out: Annotated[Path | None, option("--out", "DIR", OUT)] = None,
    save: Annotated[Path | None, option("--save", "FILE", "Save the ensemble as one checkpoint.")] = None,
    views: Annotated[int, option("--views", "N", VIEWS)] = 1,
    calibrate: Annotated[Path | None, option("--calibrate", "FILE", CALIBRATE)] = None,
    compare: Annotated[bool, flag("--compare", COMPARE)] = False,
    explain: Annotated[bool, flag("--explain", EXPLAIN)] = False,
    suspicious: Annotated[bool, flag("--suspicious", SUSPICIOUS)] = False,
    robustness: Annotated[bool, flag("--robustness", ROBUSTNESS)] = False,
    count: Annotated[int | None, option("--count", "N", COUNTED)] = None,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Evaluate a trained model, or several as an ensemble: accuracy, errors, loss, each digit, calibration."""
    with handle_errors(debug):
        # An argument that exists as a path is a checkpoint, even with a "=" in it.
        checkpoints = [argument for argument in arguments or [] if "=" not in argument or os.path.lexists(argument)]
        overrides = [argument for argument in arguments or [] if argument not in checkpoints]
        _check_options(len(checkpoints), out, save, views, calibrate, compare)
        if explain:
            _check_explain(len(checkpoints), views, compare or calibrate is not None)
        if suspicious:
            _check_suspicious(split, views, compare or calibrate is not None or save is not None or explain)
        _check_robustness(robustness, count, views, compare or calibrate is not None or suspicious)
        changes = [*overrides, *([] if device is None else [f"device={device}"])]
        with problems_at_options(overrides, ["device"]):
            if compare:
                report = _compare(checkpoints, changes, split, views)
            elif suspicious:
                report = _find_suspicious(checkpoints, changes, out)
            elif calibrate is not None:
                report = _calibrate(checkpoints, changes, split, calibrate, out)
            else:
                made = (count or COUNT) if robustness else None
                report = _evaluate(checkpoints, changes, split, views, save, out, explain, made)
        _print_report(*report, as_json)


def _check_options(
    count: int, out: Path | None, save: Path | None, views: int, calibrate: Path | None, compare: bool
) -> None:
    """Raise `UsageError` for options that do not go together with `count` checkpoints, before anything is loaded."""
    plain = "as a checkpoint stores no views: leave out --views."
    require(
        {
            NO_CHECKPOINT: count,
            f"--views must be 1 or more, got {views}; 1 means without deformed copies.": views >= 1,
            f"--compare takes exactly two checkpoints, got {count}. An ensemble is one with --save.": (
                not compare or count == 2
            ),
            "--compare only prints: leave out --out, --save and --calibrate.": not (
                compare and (out or save or calibrate)
            ),
            "--save writes an ensemble, so it takes two checkpoints or more; got 1.": not save or count > 1,
            "--calibrate writes the ensemble itself: leave out --save.": not (calibrate and save),
            f"--save writes the ensemble without views, {plain}": not save or views == 1,
            f"--calibrate works without views, {plain}": not calibrate or views == 1,
        }
    )


def _check_explain(count: int, views: int, has_other_task: bool) -> None:
    """Raise `UsageError` for options that do not go together with --explain."""
    require(
        {
            f"--explain takes one checkpoint, got {count}: explain the members of an ensemble one by one.": count == 1,
            "--explain works without views: leave out --views.": views == 1,
            "--explain can't be combined with --compare or --calibrate: leave one out.": not has_other_task,
        }
    )


def _check_suspicious(split: Split, views: int, has_other_task: bool) -> None:
    """Raise `UsageError` for options that do not go together with --suspicious."""
    require(
        {
            "--suspicious is about the training set, which its runs validated: leave out --split.": split == "test",
            "--suspicious works without views: leave out --views.": views == 1,
            "--suspicious can't be combined with --compare, --calibrate, --save or --explain: leave one out.": (
                not has_other_task
            ),
        }
    )


def _check_robustness(robustness: bool, count: int | None, views: int, has_other_task: bool) -> None:
    """Raise `UsageError` for options that do not go together with --robustness, and for --count without it."""
    require(
        {
            "--count is for --robustness: add it, or leave out --count.": robustness or count is None,
            f"--count must be 1 or more, got {count}.": count is None or count > 0,
            "--robustness works without views: leave out --views.": not robustness or views == 1,
            "--robustness can't be combined with --compare, --calibrate or --suspicious: leave one out.": not (
                robustness and has_other_task
            ),
        }
    )


def _make_output_folders(checkpoints: list[str], file: Path | None, out: Path | None) -> None:
    """Create the folders of the output files. Raises `UsageError` if a file would overwrite a checkpoint."""
    from mnist_trainer.files import make_folder
    from mnist_trainer.pipeline.evaluate import find_checkpoints
    from mnist_trainer.storage.run_folder import check_output_file

    sources = find_checkpoints(checkpoints)
    if file is not None:
        check_output_file(file, sources)
        make_folder(file.parent)
    if out is not None:
        make_folder(out)


def _evaluate(
    checkpoints: list[str],
    overrides: list[str],
    split: Split,
    views: int,
    save: Path | None,
    out: Path | None,
    explain: bool,
    count: int | None,
) -> Report:
    """Measure a checkpoint or an ensemble; save the ensemble to `save`, and pictures and a table to `out`.

    `count` is that of --robustness, None without it.
    """
    from mnist_trainer.pipeline.evaluate import explain_result, measure_robustness, run_evaluation
    from mnist_trainer.reports.explanations import network_lines
    from mnist_trainer.reports.results import evaluation_lines, robustness_lines
    from mnist_trainer.storage.checkpoint import save_checkpoint

    _make_output_folders(checkpoints, save, out)
    result = run_evaluation(checkpoints, *overrides, split=split, views=views)
    lines = evaluation_lines(result.evaluation, result.target.name, terminal_width())
    explanation, content = explain_result(result) if explain else None, result.evaluation.to_json()
    if explanation is not None:
        lines += ["", *network_lines(explanation, split)]
        content["explanation"] = explanation.to_json()
    rows = measure_robustness(result, count, show_progress) if count is not None else ()
    if rows:
        lines += ["", *robustness_lines(rows, terminal_width())]
        content["robustness"] = [row.to_json() for row in rows]
    if save is not None:
        save_checkpoint(save, result.target.checkpoint)
        lines += ["", f"Written to {save}: the ensemble as one checkpoint"]
    if out is not None:
        lines += ["", _write_report(result, out)]
        if explanation is not None:
            lines.append(_write_explanation(result, explanation, out))
        if rows:
            lines.append(_write_robustness(result, rows, out))
    return result, lines, content


def _compare(checkpoints: list[str], overrides: list[str], split: Split, views: int) -> Report:
    """Compare two checkpoints by McNemar's test."""
    from mnist_trainer.pipeline.evaluate import compare
    from mnist_trainer.reports.results import comparison_lines

    first, second = checkpoints
    compared = compare(first, second, *overrides, split=split, views=views)
    evaluations = [compared.first.evaluation, compared.second.evaluation]
    return compared.first, comparison_lines(evaluations, compared.names, compared.comparison), compared.to_json()


def _find_suspicious(checkpoints: list[str], overrides: list[str], out: Path | None) -> Report:
    """List the labels of the training set that out-of-fold predictions doubt; write them to `out`."""
    from mnist_trainer.files import write_bytes, write_text
    from mnist_trainer.pipeline.out_of_fold import find_suspicious_labels
    from mnist_trainer.reports.results import accuracy_lines, evaluation_lines, suspicious_lines
    from mnist_trainer.reports.run_plots import draw_suspicious, suspicious_csv

    _make_output_folders(checkpoints, None, out)
    found = find_suspicious_labels(checkpoints, *overrides)
    result = found.result
    count = len(result.target.checkpoint.members)
    model = f"{count} models, each on the images that validated it," if count > 1 else result.target.name
    lines = evaluation_lines(result.evaluation, model, terminal_width())
    lines += ["", *suspicious_lines(found.labels, result.evaluation.count)]
    if found.test is not None:
        lines += ["", f"{result.target.name} on the test set:", *accuracy_lines(found.test.evaluation)]
    if out is not None:
        name, picture = draw_suspicious(result.dataset, found.labels, found.positions)
        write_bytes(out / name, picture())
        write_text(out / "suspicious.csv", suspicious_csv(found.labels))
        lines += ["", f"Written to {out}: {name}, suspicious.csv"]
    return result, lines, found.to_json()


def _calibrate(checkpoints: list[str], overrides: list[str], split: Split, file: Path, out: Path | None) -> Report:
    """Write a calibrated copy to `file`, and a reliability diagram."""
    from mnist_trainer.files import write_bytes
    from mnist_trainer.pipeline.evaluate import calibrate
    from mnist_trainer.reports.results import calibration_lines, evaluation_lines, refusal_line
    from mnist_trainer.reports.run_plots import draw_reliability
    from mnist_trainer.storage.checkpoint import save_checkpoint

    _make_output_folders(checkpoints, file, out)
    done = calibrate(checkpoints, *overrides, split=split)
    result, after = done.before[split], done.after[split]
    lines = evaluation_lines(result.evaluation, result.target.name, terminal_width())
    lines += ["", *calibration_lines(done.temperature, done.calibration_metrics())]
    lines += [refusal_line(*done.refusal)] if done.refusal else []
    picture = file.with_name(f"{file.stem}-reliability.png") if out is None else out / "reliability.png"
    if out is not None:
        lines += ["", _write_report(result, out)]
    write_bytes(
        picture, draw_reliability(result.predictions, after.predictions, result.evaluation, done.temperature)[1]()
    )
    save_checkpoint(file, done.checkpoint)
    lines += ["", f"Written to {file}: the calibrated copy; to {picture}: its reliability"]
    files = {"path": str(file), "picture": str(picture)}
    return result, lines, {**result.evaluation.to_json(), "calibration": {**files, **done.to_json()}}


def _print_report(result: EvalResult, lines: list[str], content: dict[str, Any], as_json: bool) -> None:
    """Print warnings, such as files that were ignored in a folder of pictures, and the report."""
    from mnist_trainer.data.folder import notes

    found = [f"data.path: {note}" for note in notes(result.target.config.data)]
    for note in (*found, *content.get("notes", ())):
        print_safe(f"warning: {note}", err=True)
    print_safe(json.dumps(content) if as_json else "\n".join(lines))


def _write_report(result: EvalResult, out: Path) -> str:
    """Write the pictures and the table of `--out`. Return the message to print."""
    from mnist_trainer.files import write_bytes, write_text
    from mnist_trainer.reports.run_plots import draw_confusion, draw_mistakes, predictions_csv

    classes, evaluation = result.target.checkpoint.classes, result.evaluation
    mistakes = draw_mistakes(result.predictions, result.dataset, evaluation, classes)
    for name, picture in (draw_confusion(evaluation, classes), mistakes):
        write_bytes(out / name, picture())
    table = predictions_csv(result.predictions, result.dataset, classes, evaluation.ece is not None)
    write_text(out / "predictions.csv", table)
    return f"Written to {out}: confusion.png, mistakes.png, predictions.csv"


def _write_robustness(result: EvalResult, rows: Sequence[RobustnessRow], out: Path) -> str:
    """Write the files of `--robustness`. Return the message to print."""
    from mnist_trainer.files import write_bytes, write_text
    from mnist_trainer.reports.plots import robustness
    from mnist_trainer.reports.results import robustness_csv

    images = f"{result.evaluation.count:,} {result.evaluation.split} images of {result.evaluation.dataset}"
    title = f"{result.target.name}: accuracy on {images}, changed, and the most confident errors"
    write_bytes(out / "robustness.png", robustness(rows, title))
    write_text(out / "robustness.csv", robustness_csv(rows))
    return f"Written to {out}: robustness.png, robustness.csv"


def _write_explanation(result: EvalResult, explanation: NetworkExplanation, out: Path) -> str:
    """Write the files of `--explain`. Return the message to print."""
    from mnist_trainer.files import write_bytes, write_text
    from mnist_trainer.reports.explanations import embedding, influence

    name, images = result.target.name, f"{result.evaluation.split} images of {result.evaluation.dataset}"
    write_bytes(
        out / "influence.png", influence(explanation, f"{name}: each unit switched off, {explanation.count:,} {images}")
    )
    points, classes = explanation.embedding, result.target.checkpoint.classes
    title = f"{name}: {len(points.labels):,} {images} as the output layer sees them"
    write_bytes(out / "embedding.png", embedding(points, classes, title))
    write_text(out / "explanation.json", json.dumps(explanation.to_json()))
    return f"Written to {out}: influence.png, embedding.png, explanation.json"
