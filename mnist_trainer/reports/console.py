"""The console: a callback that prints a run, a series or a sweep.

On a terminal or in a notebook it prints colours and a progress bar, into a pipe plain lines, with `quiet` the result.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from mnist_trainer.config.sweep import label
from mnist_trainer.errors import InterruptedRunError, UsageError, escape_controls, one_line, shell_quote
from mnist_trainer.inference.metrics import Evaluation, Spread
from mnist_trainer.model.device import human_bytes
from mnist_trainer.reports.callbacks import (
    Callback,
    Run,
    RunInfo,
    SeriesResult,
    SubRun,
    Summary,
    SweepInfo,
    SweepResult,
    TrialRow,
    both,
    primary_split,
)
from mnist_trainer.reports.text import SAMPLE_FILE, STOP_REASONS, interval, loss_text, percent, plural, wrap_text
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_DRAWINGS = 0.1
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 4, 40
EPOCH_COLUMNS = ("epoch", "train loss", "val loss", "val accuracy", "      lr", "seconds", "")
SERIES_COLUMNS = (" seed", "test accuracy", "errors", "val accuracy", "val loss", "best epoch", "seconds")
TRIAL_COLUMNS = ("trial", "        ", "val loss", "val accuracy", "epochs", "seconds", "")
TRIAL_STYLES = {"failed": "red", "pruned": "dim"}


class Console(Callback):
    """Prints to `stream`, by default stdout. `terminal` says whether that is a terminal; None: it is detected."""

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, as_json: bool = False, terminal: bool | None = None
    ) -> None:
        self.stream, self.quiet, self.as_json = stream or sys.stdout, quiet or as_json, as_json
        self.is_terminal = (stream is None and _stdout_is_terminal()) if terminal is None else terminal
        self.is_terminal = self.is_terminal and not self.quiet
        if self.is_terminal:
            from rich.console import Console as RichConsole

            self.rich = RichConsole(file=stream, highlight=False)
            self.errors = RichConsole(stderr=True, highlight=False)
        self.bar: Progress | None = None
        self.bar_drawn = 0.0
        self.announced = ""
        self.epochs = self.runs = self.runs_ended = 0
        self.state: TrainingState | None = None
        self.epochs_by_seed: dict[int, int] = {}

    # --- lines and the bar below them ---

    def print_line(
        self, text: str, style: str = "", *, indent: int = 0, wrap: bool = True, always: bool = False
    ) -> None:
        """Print a line, unless it is `quiet`; on a terminal long lines are wrapped between words, with `indent`.

        A broken pipe is ignored: after `| head` the training continues in silence.
        """
        if self.quiet and not always:
            return
        text = escape_controls(text)
        if self.is_terminal:
            text = wrap_text(text, self.rich.width, indent) if wrap else text
            self.rich.print(text, style=style, markup=False, soft_wrap=True)
            return
        try:
            print(text, file=self.stream, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def print_result(self, lines: Sequence[str]) -> None:
        """Print `lines`, of which the last one is the result; `quiet` prints only that."""
        for line in lines[:-1]:
            self.print_line(line)
        self.print_line(lines[-1], "bold green", always=True)

    def show_bar(self, text: str, done: int, total: int | None, amount: str) -> None:
        """Draw the bar between `text` and `amount`; on a narrow line the last parts of `amount` are left out."""
        if not self.is_terminal or (self.rich.is_jupyter and find_spec("ipywidgets") is None):
            return
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        while self.rich.width < len(text) + MIN_BAR_WIDTH + len(amount) + 2 and "  " in amount:
            amount = amount.rpartition("  ")[0]
        if self.bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(None, table_column=Column(min_width=MIN_BAR_WIDTH, max_width=MAX_BAR_WIDTH)),
                TextColumn("{task.fields[amount]}", markup=False),
            )
            self.bar = Progress(*columns, console=self.rich, transient=True, auto_refresh=False)
            self.bar.add_task(text, total=total, amount=amount)
        self.bar.update(self.bar.task_ids[0], description=text, completed=done, total=total, amount=amount)
        self.bar.start()
        self.bar.refresh()

    def bar_is_due(self) -> bool:
        """Return whether the bar is drawn and `SECONDS_BETWEEN_DRAWINGS` have passed since this was last true."""
        if not self.is_terminal or (now := monotonic()) - self.bar_drawn < SECONDS_BETWEEN_DRAWINGS:
            return False
        self.bar_drawn = now
        return True

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    # --- a run ---

    def on_message(self, text: str) -> None:
        self.close()
        self.print_line(text)

    def on_warning(self, key: str, reason: str) -> None:
        self.close()
        text = escape_controls(f"warning: {key}: {reason}")
        if self.is_terminal:
            self.errors.print(wrap_text(text, self.errors.width), style="yellow", markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        if not self.is_terminal and what != self.announced:
            self.print_line(what)
        self.announced = what
        if done == total or self.bar_is_due():
            self.show_bar(what, done, total, human_bytes(done))

    def on_train_start(self, info: RunInfo) -> None:
        self.epochs = info.epochs
        self._print_info(info, "seed", str(info.seed))
        self._print_row(EPOCH_COLUMNS, EPOCH_COLUMNS, "bold")

    def on_fit_start(self, state: TrainingState) -> None:
        self.state = state

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        if self.bar_is_due():  # reading the loss waits for an accelerator
            metrics = "" if self.state is None else f"  {progress_text(self.state)}"
            self.show_bar(f"epoch {epoch}/{self.epochs}", step, steps, f"{step}/{steps}{metrics}")

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.close()
        self._print_row(epoch_cells(record), EPOCH_COLUMNS, "green" if record.best else "")

    def on_refit_start(self, epochs: int, images: int) -> None:
        self.close()
        self.epochs = epochs
        fit = f"refit: {plural(epochs, 'epoch')} from the initial weights on all {images:,} images"
        self.print_line(f"{fit}, as the one kept above", "bold")

    def on_test_start(self) -> None:
        self.show_bar("testing and drawing", 0, None, "")

    def on_train_end(self, run: Run) -> None:
        self.close()
        self.print_result(run_lines(run))

    def on_already_finished(self, folder: Path) -> None:
        longer = f"mnist-train --resume {shell_quote(folder)} training.epochs=N"
        self.print_line(f"{folder} is finished: there is nothing to resume.\nLonger: {longer}", always=True)

    def _print_info(self, info: RunInfo, seed_word: str, seeds: str) -> None:
        facts = {"data": info.data, "model": info.model, "device": info.device, seed_word: seeds}
        resumed = {"resume": info.resumed} if info.resumed else {}
        self._print_header(info.name, {**facts, "folder": str(info.folder), **resumed})

    def _print_header(self, name: str, facts: Mapping[str, str]) -> None:
        self.close()
        margin = "  " if self.is_terminal else ""
        if self.is_terminal:
            self.print_line(name, "bold")
        for word, text in facts.items():
            self.print_line(f"{margin}{word:<7}{text}", indent=9, wrap=word != "folder")

    def _print_row(self, cells: Sequence[str], columns: Sequence[str], style: str = "") -> None:
        self.print_line(table_row(cells, columns), style, wrap=False)

    # --- a series ---

    def on_series_start(self, info: RunInfo, seeds: tuple[int, ...], jobs: int, finished: tuple[SubRun, ...]) -> None:
        self.runs, self.runs_ended, self.epochs = len(seeds), len(finished), info.epochs
        self._print_info(info, "seeds", f"{seeds_text(seeds)}; {jobs} at a time")
        if finished:
            self.print_line(f"{self.runs_ended} of {self.runs} are finished already.")
        self._print_row(SERIES_COLUMNS, SERIES_COLUMNS, "bold")
        for run in finished:
            self._print_row(run_cells(run), SERIES_COLUMNS)
        self._show_series_bar()

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        self.epochs_by_seed[seed] = record.epoch
        self._show_series_bar()

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        if isinstance(error, InterruptedRunError):
            self.print_line(f"{run.seed:>5}  {run.status}")
            return
        self.epochs_by_seed.pop(run.seed, None)
        self.runs_ended += 1
        if error is None:
            self._print_row(run_cells(run), SERIES_COLUMNS)
        else:
            self.print_line(f"{run.seed:>5}  failed: {error}", "red")
        self._show_series_bar()

    def on_series_end(self, series: SeriesResult) -> None:
        self.close()
        self.print_result(series_lines(series))

    def _show_series_bar(self) -> None:
        epochs = ", ".join(f"seed {seed}: epoch {epoch}" for seed, epoch in sorted(self.epochs_by_seed.items())[:3])
        done = self.runs_ended * self.epochs + sum(self.epochs_by_seed.values())
        text = f"{epochs} of {self.epochs}" if epochs else "starting"
        self.show_bar(text, done, self.runs * self.epochs, f"{self.runs_ended} of {self.runs} runs")

    # --- a sweep ---

    def on_sweep_start(self, info: SweepInfo) -> None:
        sweep = info.sweep
        facts = {
            "sweep": f"{sweep.name}: {sweep.trials} trials, {sweep.search}, by {sweep.objective}",
            "space": ", ".join(sweep.space),
            "jobs": f"{info.jobs} at a time, {plural(info.threads, 'thread')} each",
            "study": info.storage,
            "folder": str(info.folder),
        }
        self._print_header(sweep.name, facts)
        if ended := sum(row.has_ended for row in info.rows):
            self.print_line(f"{ended} of {sweep.trials} trials exist already.")
        self._print_row(TRIAL_COLUMNS, TRIAL_COLUMNS, "bold")

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        for line in trial_lines(row, is_best):
            self.print_line(line, "green" if is_best else TRIAL_STYLES.get(row.status, ""))

    def on_sweep_end(self, result: SweepResult) -> None:
        if self.as_json:
            self.print_line(json.dumps(result.to_json(), ensure_ascii=False), always=True)
        else:
            self.print_result(sweep_result_lines(result))


def _stdout_is_terminal() -> bool:
    """Return whether stdout is a terminal or the output of a notebook's cell."""
    if sys.stdout.isatty() or "IPython" not in sys.modules:
        return sys.stdout.isatty()
    from rich.console import Console as RichConsole

    return RichConsole().is_jupyter


@contextmanager
def with_console(callback: Callback | None, progress: bool) -> Iterator[Callback]:
    """Yield `callback`, which also prints with `progress`. Raises `UsageError` if it is not a `Callback`."""
    if not isinstance(callback, Callback | None):
        raise UsageError(f"callback= takes a mnist_trainer.Callback object, not {one_line(repr(callback))}.")
    if not progress:
        yield callback or Callback()
        return
    console = Console()
    try:
        yield console if callback is None else both(callback, console)
    finally:
        console.close()


# --- rows of the tables, and what is printed at the end ---


def table_row(cells: Sequence[str], columns: Sequence[str]) -> str:
    """Return a row of a table with these heads, which give the widths; the last cell may be longer."""
    return "  ".join(cell.rjust(len(head)) for cell, head in zip(cells, columns, strict=True)).rstrip()


def epoch_cells(record: EpochRecord) -> tuple[str, ...]:
    """Return a row of the table of epochs, a cell for each of `EPOCH_COLUMNS`."""
    return (
        str(record.epoch),
        loss_text(record.train_loss),
        loss_text(record.val_loss),
        percent(record.val_accuracy),
        f"{record.lr:.2g}",
        f"{record.seconds:.1f}",
        "* best so far" if record.best else "",
    )


def progress_text(state: TrainingState) -> str:
    """Return `loss 0.0877  12,345 img/s  epoch 0:05, run 1:20 left`: loss and speed of the epoch so far, time left.

    Reading the loss synchronizes with the device.
    """
    training, steps = state.setup.config.training, state.setup.steps_per_epoch
    elapsed = max(state.epoch_seconds, 1e-9)
    epoch = elapsed * (steps - state.step) / state.step
    whole = state.seconds / state.epoch if state.epoch else elapsed + epoch
    run = epoch + whole * (training.epochs - state.epoch - 1)
    if training.max_minutes is not None:
        run = max(0.0, min(run, 60 * training.max_minutes - state.seconds - elapsed))
    loss, *_ = state.totals.averages()
    left = f"epoch {duration_text(min(epoch, run))}, run {duration_text(run)} left"
    return f"loss {loss_text(loss)}  {state.totals.images / elapsed:,.0f} img/s  {left}"


def duration_text(seconds: float) -> str:
    """Return `0:05`, or `1:02:03` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def run_lines(run: Run) -> list[str]:
    """Return why a run stopped, what was written, and what to try next; the last line is the result."""
    shown = run.test or run.validation
    metrics = [] if shown is None else [shown.sentence]
    metrics += ["not tested"] if run.test is None else []
    samples = [run.folder / plot for plot in run.plots if Path(plot).name == SAMPLE_FILE]
    written = ["best.pt", "last.pt", "metrics.csv", "run.json", "config.yaml", *run.plots]
    return [
        f"{STOP_REASONS[run.stop_reason]} Kept: {run.epoch_text}. {run.seconds:.1f} s of training.",
        f"Written to {run.folder}: {', '.join(written)}",
        f"Try next: mnist-eval {shell_quote(run.folder)}",
        *(f"          mnist-predict {shell_quote(picture, '--checkpoint', run.folder)}" for picture in samples),
        *([] if shown is None else _guessing_lines(shown)),
        *([] if run.diagnosis is None else ["Diagnosis:", *(f"  {line}" for line in run.diagnosis.lines)]),
        f"{run.folder.name}: {'; '.join(metrics)}",
    ]


def _guessing_lines(evaluation: Evaluation) -> list[str]:
    """Return a warning if a model is no better than always predicting the most frequent class."""
    if not evaluation.is_guessing:
        return []
    majority = evaluation.majority_class
    share = percent(majority.count / evaluation.count)
    always = f"always predicting {majority.label} has an accuracy of {share}"
    return [f"It is no better than guessing: {always}."]


def seeds_text(seeds: Sequence[int]) -> str:
    """Return `0, 1, 2`, or `0 to 99` for many in a row."""
    if len(seeds) > 4 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def run_cells(run: SubRun) -> tuple[str, ...]:
    """Return the row of a finished run of a series, a cell for each of `SERIES_COLUMNS`."""
    return _metrics_cells(str(run.seed), str(run.record.get("best_epoch")), run.metric, error_digits=0)


def _metrics_cells(head: str, best_epoch: str, metric: Any, error_digits: int) -> tuple[str, ...]:
    """Return a row of a series from `metric(split, name)`."""
    errors = metric("test", "errors")
    return (
        head,
        percent(metric("test", "accuracy")),
        "-" if errors is None else f"{errors:,.{error_digits}f}",
        percent(metric("validation", "accuracy")),
        loss_text(metric("validation", "loss")),
        best_epoch,
        f"{metric('timings', 'training_seconds') or 0:.1f}",
    )


def _spread_row(summary: Summary, kind: str) -> str:
    """Return a row with the `mean` or the `sd` of each column."""

    def metric(split: str, name: str) -> float | None:
        return getattr(summary.get(split, {}).get(name), kind, None)

    return table_row(_metrics_cells(kind, "", metric, error_digits=1), SERIES_COLUMNS)


def series_lines(series: SeriesResult) -> list[str]:
    """Return what is printed at the end of a series: mean and deviation, files, notes; the last line is the result."""
    name, split = series.folder.name, primary_split(series.summary)
    plot = ", plots/seeds.png" if split and series.config.report.plots else ""
    lines = [f"Written to {series.folder}: config.yaml, run.json{plot}, seed-*/"]
    if split is None:
        reason = "not tested, and without validation images" if series.summary else "no run is finished"
        return [*lines, f"{name}: {reason}"]
    accuracy = series.summary[split]["accuracy"]
    if accuracy.sd is not None:
        lines = [_spread_row(series.summary, "mean"), _spread_row(series.summary, "sd"), *lines]
        lines.append("The interval of the mean covers what the seed changes, on these same images.")
        lines.append("What other images would change is in the interval of each run's own accuracy.")
    lines.append(f"Try next: mnist-eval {shell_quote(series.folder)}{os.sep}seed-*")
    return [*lines, f"{name}: {split} accuracy {spread_sentence(accuracy)}{'' if split == 'test' else '; not tested'}"]


def spread_sentence(accuracy: Spread) -> str:
    """Return `mean 98.47 % (95 % interval of the mean 98.35 to 98.59 %), sd 0.05, 98.42 to 98.55, 3 seeds`."""
    if accuracy.sd is None or accuracy.interval is None:
        return f"{percent(accuracy.mean)}, 1 seed: no deviation, no interval of the mean"
    return (
        f"mean {percent(accuracy.mean)} (95 % interval of the mean {interval(accuracy.interval)}), "
        f"sd {100 * accuracy.sd:.2f}, {100 * accuracy.min:.2f} to {100 * accuracy.max:.2f}, {accuracy.count} seeds"
    )


def trial_values_text(values: Mapping[str, Any]) -> str:
    """Return `lr=0.00213 hidden=[64]`: the last parts of keys where they differ, numbers to three digits."""
    last = [key.rpartition(".")[2] for key in values]
    names = last if len(set(last)) == len(last) else list(values)
    texts = [f"{value:.3g}" if isinstance(value, float) else label(value) for value in values.values()]
    return " ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))


def trial_lines(row: TrialRow, is_best: bool = False) -> list[str]:
    """Return the row of a trial, and on further lines its values and the reason if it failed."""
    cells = (
        str(row.trial),
        f"{row.status:<8}",
        loss_text(row.val_loss),
        percent(row.val_accuracy),
        str(max(row.curve, default=0)),
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        "* best so far" if is_best else "",
    )
    below = [trial_values_text(row.values), *row.reason.splitlines()]
    return [table_row(cells, TRIAL_COLUMNS), *(f"{'':<7}{line}" for line in below)]


def sweep_result_lines(result: SweepResult) -> list[str]:
    """Return what is printed at the end of a sweep; the last line is the result."""
    files = ["sweep.yaml", "run.json", "trials.csv", "curves.csv"]
    files += [*(["best.yaml"] if result.best else []), *(["plots/"] if result.plots else [])]
    lines = [*result.left_out, f"Written to {result.folder}: {', '.join(files)}"]
    if not result.complete:
        lines += [result.progress, f"  {result.resume}"]
    if result.best is None:
        return [*lines, f"{result.folder.name}: no trial is finished"]
    best = result.best
    return [
        *lines,
        f"Try next: mnist-train --config {shell_quote(result.folder / 'best.yaml')}",
        f"Best values: {trial_values_text(best.values)}",
        f"{result.folder.name}: best of {len(result.rows)} trials is {best.trial}, "
        f"validation loss {loss_text(best.val_loss)}, accuracy {percent(best.val_accuracy)} (epoch {best.epoch})",
    ]
