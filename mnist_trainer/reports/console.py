"""Listeners that print: colours and a progress bar on a terminal or in a notebook, plain lines into a pipe, one line if
quiet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from mnist_trainer.errors import UsageError, escape_controls, one_line
from mnist_trainer.model.memory import human_bytes
from mnist_trainer.reports.bar import ProgressBar
from mnist_trainer.reports.listener import Callback, RunInfo, RunResult, both
from mnist_trainer.reports.text import (
    EPOCH_COLUMNS,
    epoch_cells,
    finished_lines,
    header_lines,
    progress_text,
    refit_line,
    run_result_lines,
    wrap_text,
)
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from pathlib import Path

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

    def loading(self, what: str, done: int, total: int | None) -> None:
        """A line when it begins."""
        if what != self.announced:
            self.announced = what
            self.print_line(what)

    def started(self, info: RunInfo) -> None:
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

    def finished(self, result: RunResult) -> None:
        """The result and where it lies."""
        for line in run_result_lines(result):
            self.print_line(line)

    def on_already_finished(self, folder: Path) -> None:
        """That there is nothing to do, and what could be done."""
        for line in finished_lines(folder):
            self.print_line(line)


class QuietConsole(PlainConsole):
    """The result alone; warnings go to stderr all the same."""

    def loading(self, what: str, done: int, total: int | None) -> None:
        """Not a word."""

    def started(self, info: RunInfo) -> None:
        """Not a word."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Not a word."""

    def on_refit_start(self, epochs: int, images: int) -> None:
        """Not a word."""

    def finished(self, result: RunResult) -> None:
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

    def loading(self, what: str, done: int, total: int | None) -> None:
        """A bar that fills."""
        if done == total or self.bar.is_due():
            self.bar.show(what, done, total, human_bytes(done))

    def started(self, info: RunInfo) -> None:
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

    def drawing(self) -> None:
        """Says what it waits for."""
        self.bar.show("testing and drawing", 0, None, "")

    def finished(self, result: RunResult) -> None:
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
    """Yield the listener of a training, which also prints if there is `progress`. Raises `UsageError` if it is none."""
    if not isinstance(callback, Callback | None):
        raise UsageError(f"listener= takes a mnist_trainer.Callback object, not {one_line(repr(callback))}.")
    if not progress:
        yield callback or Callback()
        return
    console = choose_console(quiet=False)
    try:
        yield console if callback is None else both(callback, console)
    finally:
        if isinstance(console, RichConsole):
            console.close()
