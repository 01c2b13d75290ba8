"""A progress bar in the last line of a terminal, or in a notebook.

Callbacks that print: colours and a progress bar on a terminal or in a notebook, plain lines into a pipe, one line if
quiet.

The console of a series: a row for each run that ends, then what all of them say together.

The console of a sweep: a row for each trial that ends, then the best one and what to do with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
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
    progress_text,
    refit_line,
    run_result_lines,
    wrap_text,
)
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.progress import BarColumn, Progress

INTERVAL = 0.1
"""Seconds between two drawings of the bar."""

MIN_BAR_WIDTH, MAX_WIDTH = 4, 40
"""Columns of the bar itself."""


class ProgressBar:
    """A bar below all lines, between a text and an amount; it is drawn when `show` is called."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TaskID

        self.console = console
        self.progress: Progress | None = None
        self.column, self.task = BarColumn(), TaskID(0)
        self.drawn = 0.0
        self.is_possible = not console.is_jupyter or find_spec("ipywidgets") is not None

    def is_due(self) -> bool:
        """Return whether `INTERVAL` has passed since this was last true."""
        now = monotonic()
        if now - self.drawn < INTERVAL:
            return False
        self.drawn = now
        return True

    def show(self, text: str, done: int, total: int | None, amount: str) -> None:
        """Draw the bar as wide as the line allows; on a narrow line the last parts of `amount` are left out."""
        if not self.is_possible:
            return
        while (room := self.console.width - len(text) - len(amount) - 2) < MIN_BAR_WIDTH and "  " in amount:
            amount = amount.rpartition("  ")[0]
        if self.progress is None:
            self.progress = _new_progress(self.console, self.column)
            self.task = self.progress.add_task(text, total=total, amount=amount)
        self.column.bar_width = max(MIN_BAR_WIDTH, min(MAX_WIDTH, room))
        self.progress.update(self.task, description=text, completed=done, total=total, amount=amount)
        self.progress.start()
        self.progress.refresh()

    def close(self) -> None:
        """Remove the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _new_progress(console: Console, bar: BarColumn) -> Progress:
    from rich.progress import Progress, TextColumn
    from rich.table import Column

    text, amount = (
        TextColumn(field, markup=False, table_column=Column(no_wrap=True))
        for field in ("{task.description}", "{task.fields[amount]}")
    )
    return Progress(text, bar, amount, console=console, transient=True, auto_refresh=False)


EPOCH_WIDTHS = (5, 10, 8, 12, 8, 7, 13)
"""Of the table's columns, in characters; the last one is aligned to the left."""


class PlainConsole(Callback):
    """One line a happening, for pipes and log files."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.announced = ""

    def print_line(self, text: str) -> None:
        """Prints a line, at once. Nobody need listen to the end: after `| head` the training goes on in silence."""
        try:
            print(escape_controls(text), file=self.stream, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def on_warning(self, path: str, reason: str) -> None:
        """A warning goes to stderr."""
        print(escape_controls(f"warning: {path}: {reason}"), file=sys.stderr, flush=True)

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """A line when it begins."""
        if what != self.announced:
            self.announced = what
            self.print_line(what)

    def on_train_start(self, info: RunInfo) -> None:
        """The header, and the table's first row."""
        for word, text in header_lines(info):
            self.print_line(f"{word:<7}{text}")
        self.print_line(table_row(EPOCH_COLUMNS))

    def on_epoch_end(self, record: EpochRecord) -> None:
        """A row of the table."""
        self.print_line(table_row(epoch_cells(record)))

    def on_refit_start(self, epochs: int, images: int) -> None:
        """A line between the two fits."""
        self.print_line(refit_line(epochs, images))

    def on_train_end(self, result: RunResult) -> None:
        """The result and where it lies."""
        for line in run_result_lines(result):
            self.print_line(line)

    def on_already_finished(self, folder: Path) -> None:
        """That there is nothing to do, and what could be done."""
        for line in finished_lines(folder):
            self.print_line(line)


class QuietConsole(PlainConsole):
    """The result alone; warnings go to stderr all the same."""

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """Not a word."""

    def on_train_start(self, info: RunInfo) -> None:
        """Not a word."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Not a word."""

    def on_refit_start(self, epochs: int, images: int) -> None:
        """Not a word."""

    def on_train_end(self, result: RunResult) -> None:
        """The last line."""
        self.print_line(run_result_lines(result)[-1])


class RichConsole(Callback):
    """Colours, a table that grows, and a bar for the present epoch below it."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(highlight=False)
        self.errors = Console(stderr=True, highlight=False)
        self.bar = ProgressBar(self.console)
        self.epochs = 0
        self.state: TrainingState | None = None

    def print_line(self, text: str, style: str = "", indent: int = 0, *, whole: bool = False) -> None:
        """Print a line, above the bar if there is one. Long lines are wrapped between words, with `indent`.

        A `whole` line, such as a row of a table or a path, is never wrapped.
        """
        shown = escape_controls(text) if whole else wrap_text(escape_controls(text), self.console.width, indent)
        self.console.print(shown, style=style, markup=False, soft_wrap=True)

    def on_warning(self, path: str, reason: str) -> None:
        """A warning, in yellow on stderr."""
        self.bar.close()
        shown = wrap_text(escape_controls(f"warning: {path}: {reason}"), self.errors.width)
        self.errors.print(shown, style="yellow", markup=False, soft_wrap=True)

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """A bar that fills."""
        if done == total or self.bar.is_due():
            self.bar.show(what, done, total, human_bytes(done))

    def on_train_start(self, info: RunInfo) -> None:
        """The header, and the table's first row."""
        self.bar.close()
        self.epochs = info.epochs
        self.print_line(info.name, "bold")
        for word, text in header_lines(info):
            self.print_line(f"  {word:<7}{text}", indent=9, whole=word == "folder")
        self.print_line(table_row(EPOCH_COLUMNS), "bold", whole=True)

    def on_fit_start(self, state: TrainingState) -> None:
        """The bar takes its figures from the state."""
        self.state = state

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        """The bar, redrawn at most ten times a second: an accelerator is not waited for in between."""
        if self.bar.is_due():
            figures = "" if self.state is None else f"  {progress_text(self.state)}"
            self.bar.show(f"epoch {epoch}/{self.epochs}", step, steps, f"{step}/{steps}{figures}")

    def on_epoch_end(self, record: EpochRecord) -> None:
        """A row of the table, green if it is the best so far."""
        self.bar.close()
        self.print_line(table_row(epoch_cells(record)), "green" if record.best else "", whole=True)

    def on_refit_start(self, epochs: int, images: int) -> None:
        """A line between the two fits."""
        self.bar.close()
        self.epochs = epochs
        self.print_line(refit_line(epochs, images), "bold")

    def on_test_start(self) -> None:
        """Says what it waits for."""
        self.bar.show("testing and drawing", 0, None, "")

    def on_train_end(self, result: RunResult) -> None:
        """The result, in bold, and where it lies."""
        self.bar.close()
        *others, last_line = run_result_lines(result)
        for line in others:
            self.print_line(line)
        self.print_line(last_line, "bold green")

    def on_already_finished(self, folder: Path) -> None:
        """That there is nothing to do, and what could be done."""
        for line in finished_lines(folder):
            self.print_line(line)

    def close(self) -> None:
        """Takes the bar away, whatever happened."""
        self.bar.close()


def table_row(cells: tuple[str, ...]) -> str:
    """The cells at their columns' widths."""
    *figures, mark = (cell.rjust(width) for cell, width in zip(cells, EPOCH_WIDTHS, strict=True))
    return "  ".join([*figures, mark.strip()]).rstrip()


def choose_console(quiet: bool) -> PlainConsole | RichConsole:
    """The console that fits where stdout goes."""
    if quiet:
        return QuietConsole()
    return RichConsole() if sys.stdout.isatty() or _in_notebook() else PlainConsole()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


@contextmanager
def shown(callback: Callback | None, progress: bool) -> Iterator[Callback]:
    """Yield the callback of a training, which also prints if there is `progress`. Raises `UsageError` if it is none."""
    if not isinstance(callback, Callback | None):
        raise UsageError(f"callback= takes a mnist_trainer.Callback object, not {one_line(repr(callback))}.")
    if not progress:
        yield callback or Callback()
        return
    console = choose_console(quiet=False)
    try:
        yield console if callback is None else both(callback, console)
    finally:
        if isinstance(console, RichConsole):
            console.close()


SERIES_COLUMNS = ("seed", "test accuracy", "errors", "val accuracy", "val loss", "best epoch", "seconds")


class SeriesConsole(Callback):
    """Prints a row for each run that ends; on a terminal, what is in work stands below."""

    def __init__(self, console: PlainConsole | RichConsole) -> None:
        self.console = console
        self.count = self.ended = self.epochs = 0
        self.at: dict[int, int] = {}

    def on_warning(self, path: str, reason: str) -> None:
        """As for a single run."""
        self.console.on_warning(path, reason)

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """As for a single run."""
        self.console.on_loading(what, done, total)

    def on_series_start(self, info: SeriesInfo) -> None:
        """What is common to all runs, and the table's first rows."""
        self.count, self.ended, self.epochs = len(info.seeds), len(info.finished), info.common.epochs
        for word, text in header_lines(info.common):
            seeds = f"{listed(info.seeds)}; {info.jobs} at a time"
            self._say(f"{'seeds':<7}{seeds}" if word == "seed" else f"{word:<7}{text}")
        if info.finished:
            self._say(f"{self.ended} of {self.count} are finished already.")
        self._say(_series_row(SERIES_COLUMNS), "bold", whole=True)
        for run in info.finished:
            self._say(run_row(run), whole=True)
        self._show_progress()

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        """How far the runs in work are."""
        self.at[seed] = record.epoch
        self._show_progress()

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        """A row of the table."""
        if isinstance(error, InterruptedRunError):
            self._say(f"{run.seed:>5}  {run.status}")
            return
        self.at.pop(run.seed, None)
        self.ended += 1
        if error is None:
            self._say(run_row(run), whole=True)
        else:
            self._say(f"{run.seed:>5}  failed: {error}", "red")
        self._show_progress()

    def on_series_end(self, series: SeriesResult) -> None:
        """The table's last rows, what they mean, what to try next, and the result."""
        self.close()
        *lines, result = series_lines(series)
        for line in lines:
            self._say(line)
        self._say(result, "bold green")

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if isinstance(self.console, RichConsole):
            self.console.close()

    def _say(self, text: str, style: str = "", *, whole: bool = False) -> None:
        if isinstance(self.console, RichConsole):
            self.console.print_line(text, style, whole=whole)
        else:
            self.console.print_line(text)

    def _show_progress(self) -> None:
        if not isinstance(self.console, RichConsole):
            return
        epochs = ", ".join(f"seed {seed}: epoch {epoch}" for seed, epoch in sorted(self.at.items())[:3])
        done = self.ended * self.epochs + sum(self.at.values())
        text = f"{epochs} of {self.epochs}" if epochs else "starting"
        self.console.bar.show(text, done, self.count * self.epochs, f"{self.ended} of {self.count} runs")


class QuietSeriesConsole(Callback):
    """The result alone; warnings go to stderr all the same."""

    def on_warning(self, path: str, reason: str) -> None:
        """As for a single run."""
        PlainConsole().on_warning(path, reason)

    def on_series_end(self, series: SeriesResult) -> None:
        """The last line."""
        PlainConsole().print_line(series_lines(series)[-1])

    def close(self) -> None:
        """There is nothing to leave."""


def choose_series_console(quiet: bool) -> SeriesConsole | QuietSeriesConsole:
    """The console that fits where stdout goes."""
    return QuietSeriesConsole() if quiet else SeriesConsole(choose_console(quiet))


def _series_row(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(max(5, len(head))) for cell, head in zip(cells, SERIES_COLUMNS, strict=True))


def listed(seeds: Sequence[int]) -> str:
    """`0, 1, 2`; many in a row as `0 to 99`."""
    if len(seeds) > 4 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def run_row(run: SubRun) -> str:
    """One finished run in the table."""
    return _series_row(
        (
            str(run.seed),
            percent(run.metric("test", "accuracy")),
            _count(run.metric("test", "errors"), 0),
            percent(run.metric("validation", "accuracy")),
            loss_text(run.metric("validation", "loss")),
            str(run.record.get("best_epoch")),
            f"{run.metric('timings', 'training_seconds') or 0:.1f}",
        )
    )


def _count(number: float | None, digits: int) -> str:
    return "-" if number is None else f"{number:,.{digits}f}"


def _spread_row(summary: Summary, kind: str) -> str:
    """A row with the `mean` or the `sd` of each column."""

    def of(part: str, name: str) -> float | None:
        spread = summary.get(part, {}).get(name)
        return None if spread is None else getattr(spread, kind)

    return _series_row(
        (
            kind,
            percent(of("test", "accuracy")),
            _count(of("test", "errors"), 1),
            percent(of("validation", "accuracy")),
            loss_text(of("validation", "loss")),
            "",
            f"{of('timings', 'training_seconds') or 0:.1f}",
        )
    )


def series_lines(series: SeriesResult) -> list[str]:
    """The rows of mean and deviation, and what is to be said of them; the last line is the result alone."""
    if not series.summary:
        return [f"Written to {series.folder}: config.yaml, run.json", f"{series.folder.name}: no run is finished"]
    part = primary_split(series.summary)
    if part is None:
        written = f"Written to {series.folder}: config.yaml, run.json, seed-*/"
        return [written, f"{series.folder.name}: not tested, and without validation images"]
    accuracy = series.summary[part]["accuracy"]
    lines = [] if accuracy.sd is None else [_spread_row(series.summary, "mean"), _spread_row(series.summary, "sd")]
    plots = ", plots/seeds.png" if series.config.report.plots else ""
    lines.append(f"Written to {series.folder}: config.yaml, run.json{plots}, seed-*/")
    if accuracy.sd is not None:
        lines += [
            "The interval of the mean covers what the seed changes, on these same images.",
            "What other images would change is in the interval of each run's own accuracy.",
        ]
    lines.append(f"Try next: mnist-eval {shell_quote(series.folder)}{os.sep}seed-*")
    untested = "" if part == "test" else "; not tested"
    lines.append(f"{series.folder.name}: {part} accuracy {spread_sentence(accuracy)}{untested}")
    return lines


def spread_sentence(accuracy: Spread) -> str:
    """`mean 98.47 % (95 % interval of the mean 98.35 to 98.59 %), sd 0.05, 98.42 to 98.55, 3 seeds`."""
    if accuracy.sd is None or accuracy.interval is None:
        return f"{percent(accuracy.mean)}, 1 seed: no deviation, no interval of the mean"
    return (
        f"mean {percent(accuracy.mean)} (95 % interval of the mean {interval(accuracy.interval)}), "
        f"sd {100 * accuracy.sd:.2f}, {100 * accuracy.min:.2f} to {100 * accuracy.max:.2f}, {accuracy.count} seeds"
    )


_TRIAL_HEAD = f"{'trial':>5}  {'':<8}  {'val loss':>8}  {'val accuracy':>12}  {'epochs':>6}  {'seconds':>7}"


class SweepConsole(Callback):
    """Prints a row for each trial that ends, and below it the values it was made with."""

    def __init__(self, console: PlainConsole | RichConsole) -> None:
        self.console = console

    def on_warning(self, path: str, reason: str) -> None:
        """As for a run."""
        self.console.on_warning(path, reason)

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """As for a run."""
        self.console.on_loading(what, done, total)

    def on_sweep_start(self, info: SweepInfo) -> None:
        """What is searched, and the trials that are there already."""
        self.close()  # the bar of a download
        self._say(f"{'sweep':<8}{info.name}: {info.trials} trials, {info.search}, by {info.objective}")
        self._say(f"{'space':<8}{', '.join(info.keys)}")
        self._say(f"{'jobs':<8}{info.jobs} at a time, {info.threads} thread{'' if info.threads == 1 else 's'} each")
        self._say(f"{'study':<8}{info.storage}")
        self._say(f"{'folder':<8}{info.folder}")
        ended = [row for row in info.begun if row.status not in ("running", "waiting")]
        if ended:
            self._say(f"{len(ended)} of {info.trials} trials are there already.")
        self._say(_TRIAL_HEAD, "bold")

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        """A row of the table, and the values."""
        styles = {"failed": "red", "pruned": "dim"}
        for line in trial_lines(row, is_best):
            self._say(line, "green" if is_best else styles.get(row.status, ""))

    def on_trial_retry(self, row: TrialRow) -> None:
        """A sentence."""
        self._say(f"{row.trial:>5}  its process died, as happens when the memory is full; it is repeated", "red")

    def on_wait(self, count: int) -> None:
        """A sentence."""
        self._say(f"Waiting for {count} trial{'' if count == 1 else 's'} in work elsewhere.")

    def on_sweep_end(self, result: SweepResult) -> None:
        """The best trial, what to try next, and the result."""
        *lines, last = sweep_result_lines(result)
        for line in lines:
            self._say(line)
        self._say(last, "bold green")

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if isinstance(self.console, RichConsole):
            self.console.close()

    def _say(self, text: str, style: str = "") -> None:
        if isinstance(self.console, RichConsole):
            self.console.print_line(text, style)
        else:
            self.console.print_line(text)


class QuietSweepConsole(Callback):
    """The result alone; warnings go to stderr all the same."""

    def on_warning(self, path: str, reason: str) -> None:
        """As for a run."""
        PlainConsole().on_warning(path, reason)

    def on_sweep_end(self, result: SweepResult) -> None:
        """The last line."""
        PlainConsole().print_line(sweep_result_lines(result)[-1])

    def close(self) -> None:
        """There is nothing to leave."""


class JsonSweepConsole(QuietSweepConsole):
    """The result as one JSON object."""

    def on_sweep_end(self, result: SweepResult) -> None:
        """The object."""
        PlainConsole().print_line(json.dumps(result.to_json(), ensure_ascii=False))


def choose_sweep_console(quiet: bool, as_json: bool) -> SweepConsole | QuietSweepConsole:
    """The console that fits what is asked for and where stdout goes."""
    if as_json:
        return JsonSweepConsole()
    return QuietSweepConsole() if quiet else SweepConsole(choose_console(quiet))


def trial_values_text(values: Mapping[str, Any]) -> str:
    """`lr=0.00213 hidden=[64]`: keys by their last part where that is enough, numbers to three digits."""
    last = [key.rpartition(".")[2] for key in values]
    names = last if len(set(last)) == len(last) else list(values)
    shown = [f"{value:.3g}" if isinstance(value, float) else label(value) for value in values.values()]
    return " ".join(f"{name}={text}" for name, text in zip(names, shown, strict=True))


def trial_lines(row: TrialRow, is_best: bool = False) -> list[str]:
    """One trial in the table: its figures, and on a second line its values, or the reason why it failed."""
    seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
    cells = [
        f"{row.trial:>5}",
        f"{row.status:<8}",
        f"{loss_text(row.val_loss):>8}",
        f"{percent(row.val_accuracy):>12}",
        f"{max(row.curve, default=0):>6}",
        f"{seconds:>7}",
        "* best so far" if is_best else "",
    ]
    lines = ["  ".join(cells).rstrip(), f"{'':<7}{trial_values_text(row.values)}"]
    return [*lines, *(f"{'':<7}{line}" for line in row.reason.splitlines())]


def sweep_result_lines(result: SweepResult) -> list[str]:
    """What came of it; the last line is the result alone."""
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
