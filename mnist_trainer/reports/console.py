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
from mnist_trainer.inference.metrics import Spread
from mnist_trainer.model.memory import human_bytes
from mnist_trainer.reports.callbacks import (
    Callback,
    RunInfo,
    RunResult,
    SeriesInfo,
    SeriesResult,
    SubRun,
    Summary,
    SweepInfo,
    SweepResult,
    TrialRow,
    both,
    primary_split,
)
from mnist_trainer.reports.text import (
    EPOCH_COLUMNS,
    epoch_cells,
    finished_lines,
    header_lines,
    interval,
    loss_text,
    percent,
    plural,
    progress_text,
    refit_line,
    run_result_lines,
    wrap_text,
)
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_DRAWINGS = 0.1
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 4, 40
SERIES_COLUMNS = ("seed", "test accuracy", "errors", "val accuracy", "val loss", "best epoch", "seconds")
TRIAL_COLUMNS = ("trial", "        ", "val loss", "val accuracy", "epochs", "seconds", "")
TRIAL_STYLES = {"failed": "red", "pruned": "dim"}


class Console(Callback):
    """Prints to `stream`, by default stdout. `terminal` says whether it is one; None: found out."""

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

        while (room := self.rich.width - len(text) - len(amount) - 2) < MIN_BAR_WIDTH and "  " in amount:
            amount = amount.rpartition("  ")[0]
        if self.bar is None:
            words, numbers = (
                TextColumn(f"{{task.{name}}}", markup=False, table_column=Column(no_wrap=True))
                for name in ("description", "fields[amount]")
            )
            self.bar = Progress(words, BarColumn(), numbers, console=self.rich, transient=True, auto_refresh=False)
            self.bar.add_task(text, total=total, amount=amount)
        column = self.bar.columns[1]
        assert isinstance(column, BarColumn)
        column.bar_width = max(MIN_BAR_WIDTH, min(MAX_BAR_WIDTH, room))
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
        self._print_header(info, header_lines(info))
        self.print_line(epoch_row(EPOCH_COLUMNS), "bold", wrap=False)

    def on_fit_start(self, state: TrainingState) -> None:
        self.state = state

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        if self.bar_is_due():  # reading the loss waits for an accelerator
            metrics = "" if self.state is None else f"  {progress_text(self.state)}"
            self.show_bar(f"epoch {epoch}/{self.epochs}", step, steps, f"{step}/{steps}{metrics}")

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.close()
        self.print_line(epoch_row(epoch_cells(record)), "green" if record.best else "", wrap=False)

    def on_refit_start(self, epochs: int, images: int) -> None:
        self.close()
        self.epochs = epochs
        self.print_line(refit_line(epochs, images), "bold")

    def on_test_start(self) -> None:
        self.show_bar("testing and drawing", 0, None, "")

    def on_train_end(self, result: RunResult) -> None:
        self.close()
        self.print_result(run_result_lines(result))

    def on_already_finished(self, folder: Path) -> None:
        for line in finished_lines(folder):
            self.print_line(line, always=True)

    def _print_header(self, info: RunInfo, lines: Sequence[tuple[str, str]]) -> None:
        self.close()
        margin = "  " if self.is_terminal else ""
        if self.is_terminal:
            self.print_line(info.name, "bold")
        for word, text in lines:
            self.print_line(f"{margin}{word:<7}{text}", indent=9, wrap=word != "folder")

    # --- a series ---

    def on_series_start(self, info: SeriesInfo) -> None:
        self.runs, self.runs_ended, self.epochs = len(info.seeds), len(info.finished), info.common.epochs
        seeds = ("seeds", f"{seeds_text(info.seeds)}; {info.jobs} at a time")
        self._print_header(info.common, [seeds if line[0] == "seed" else line for line in header_lines(info.common)])
        if info.finished:
            self.print_line(f"{self.runs_ended} of {self.runs} are finished already.")
        self.print_line(series_row(SERIES_COLUMNS), "bold", wrap=False)
        for run in info.finished:
            self.print_line(run_row(run), wrap=False)
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
            self.print_line(run_row(run), wrap=False)
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
        self.close()
        sweep = info.sweep
        self.print_line(f"{'sweep':<8}{sweep.name}: {sweep.trials} trials, {sweep.search}, by {sweep.objective}")
        self.print_line(f"{'space':<8}{', '.join(sweep.space)}")
        self.print_line(f"{'jobs':<8}{info.jobs} at a time, {plural(info.threads, 'thread')} each")
        self.print_line(f"{'study':<8}{info.storage}")
        self.print_line(f"{'folder':<8}{info.folder}", wrap=False)
        if ended := sum(row.has_ended for row in info.rows):
            self.print_line(f"{ended} of {sweep.trials} trials are there already.")
        self.print_line(trial_row(TRIAL_COLUMNS), "bold", wrap=False)

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


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def epoch_row(cells: Sequence[str]) -> str:
    """Return a row of the table of epochs; the last cell is aligned to the left."""
    return _row(cells, (5, 10, 8, 12, 8, 7, 0))


def series_row(cells: Sequence[str]) -> str:
    """Return a row of the table of a series."""
    return _row(cells, [max(5, len(head)) for head in SERIES_COLUMNS])


def trial_row(cells: Sequence[str]) -> str:
    """Return a row of the table of trials."""
    return _row(cells, [len(head) for head in TRIAL_COLUMNS])


def seeds_text(seeds: Sequence[int]) -> str:
    """Return `0, 1, 2`, or `0 to 99` for many in a row."""
    if len(seeds) > 4 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def run_row(run: SubRun) -> str:
    """Return the row of a finished run of a series."""
    return _metrics_row(str(run.seed), str(run.record.get("best_epoch")), run.metric, error_digits=0)


def _metrics_row(head: str, best_epoch: str, metric: Any, error_digits: int) -> str:
    """Return a row of a series from `metric(split, name)`."""
    errors = metric("test", "errors")
    return series_row(
        (
            head,
            percent(metric("test", "accuracy")),
            "-" if errors is None else f"{errors:,.{error_digits}f}",
            percent(metric("validation", "accuracy")),
            loss_text(metric("validation", "loss")),
            best_epoch,
            f"{metric('timings', 'training_seconds') or 0:.1f}",
        )
    )


def _spread_row(summary: Summary, kind: str) -> str:
    """Return a row with the `mean` or the `sd` of each column."""

    def metric(split: str, name: str) -> float | None:
        spread = summary.get(split, {}).get(name)
        return None if spread is None else getattr(spread, kind)

    return _metrics_row(kind, "", metric, error_digits=1)


def series_lines(series: SeriesResult) -> list[str]:
    """Return the rows of mean and deviation, and what is known of them; the last line is the result."""
    name, written = series.folder.name, f"Written to {series.folder}: config.yaml, run.json"
    if not series.summary:
        return [written, f"{name}: no run is finished"]
    split = primary_split(series.summary)
    if split is None:
        return [f"{written}, seed-*/", f"{name}: not tested, and without validation images"]
    accuracy = series.summary[split]["accuracy"]
    lines = [] if accuracy.sd is None else [_spread_row(series.summary, "mean"), _spread_row(series.summary, "sd")]
    lines.append(f"{written}{', plots/seeds.png' if series.config.report.plots else ''}, seed-*/")
    if accuracy.sd is not None:
        lines += [
            "The interval of the mean covers what the seed changes, on these same images.",
            "What other images would change is in the interval of each run's own accuracy.",
        ]
    lines.append(f"Try next: mnist-eval {shell_quote(series.folder)}{os.sep}seed-*")
    untested = "" if split == "test" else "; not tested"
    return [*lines, f"{name}: {split} accuracy {spread_sentence(accuracy)}{untested}"]


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
    return [trial_row(cells), *(f"{'':<7}{line}" for line in below)]


def sweep_result_lines(result: SweepResult) -> list[str]:
    """Return what came of a sweep; the last line is the result."""
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
