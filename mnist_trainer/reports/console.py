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
from mnist_trainer.reports.bar import Bar
from mnist_trainer.reports.listener import Header, Listener, Outcome, both
from mnist_trainer.reports.text import (
    COLUMNS,
    epoch_cells,
    finished_lines,
    header_lines,
    outcome_lines,
    pace,
    refit_line,
    wrapped,
)
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (5, 10, 8, 12, 8, 7, 13)
"""Of the table's columns, in characters; the last one is aligned to the left."""


class PlainConsole(Listener):
    """One line a happening, for pipes and log files."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.announced = ""

    def say(self, text: str) -> None:
        """Prints a line, at once. Nobody need listen to the end: after `| head` the training goes on in silence."""
        try:
            print(escape_controls(text), file=self.stream, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def warned(self, path: str, reason: str) -> None:
        """A warning goes to stderr."""
        print(escape_controls(f"warning: {path}: {reason}"), file=sys.stderr, flush=True)

    def loading(self, what: str, done: int, total: int | None) -> None:
        """A line when it begins."""
        if what != self.announced:
            self.announced = what
            self.say(what)

    def started(self, header: Header) -> None:
        """The header, and the table's first row."""
        for word, text in header_lines(header):
            self.say(f"{word:<7}{text}")
        self.say(table_row(COLUMNS))

    def epoch_ended(self, record: EpochRecord) -> None:
        """A row of the table."""
        self.say(table_row(epoch_cells(record)))

    def refitting(self, epochs: int, images: int) -> None:
        """A line between the two fits."""
        self.say(refit_line(epochs, images))

    def finished(self, outcome: Outcome) -> None:
        """The result and where it lies."""
        for line in outcome_lines(outcome):
            self.say(line)

    def was_finished(self, folder: Path) -> None:
        """That there is nothing to do, and what could be done."""
        for line in finished_lines(folder):
            self.say(line)


class QuietConsole(PlainConsole):
    """The result alone; warnings go to stderr all the same."""

    def loading(self, what: str, done: int, total: int | None) -> None:
        """Not a word."""

    def started(self, header: Header) -> None:
        """Not a word."""

    def epoch_ended(self, record: EpochRecord) -> None:
        """Not a word."""

    def refitting(self, epochs: int, images: int) -> None:
        """Not a word."""

    def finished(self, outcome: Outcome) -> None:
        """The last line."""
        self.say(outcome_lines(outcome)[-1])


class RichConsole(Listener):
    """Colours, a table that grows, and a bar for the present epoch below it."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(highlight=False)
        self.errors = Console(stderr=True, highlight=False)
        self.bar = Bar(self.console)
        self.epochs = 0
        self.state: TrainingState | None = None

    def say(self, text: str, style: str = "", indent: int = 0, *, whole: bool = False) -> None:
        """Print a line, above the bar if there is one. Long lines are wrapped between words, with `indent`.

        A `whole` line, such as a row of a table or a path, is never wrapped.
        """
        shown = escape_controls(text) if whole else wrapped(escape_controls(text), self.console.width, indent)
        self.console.print(shown, style=style, markup=False, soft_wrap=True)

    def warned(self, path: str, reason: str) -> None:
        """A warning, in yellow on stderr."""
        self.bar.close()
        shown = wrapped(escape_controls(f"warning: {path}: {reason}"), self.errors.width)
        self.errors.print(shown, style="yellow", markup=False, soft_wrap=True)

    def loading(self, what: str, done: int, total: int | None) -> None:
        """A bar that fills."""
        if done == total or self.bar.is_due():
            self.bar.show(what, done, total, human_bytes(done))

    def started(self, header: Header) -> None:
        """The header, and the table's first row."""
        self.bar.close()
        self.epochs = header.epochs
        self.say(header.name, "bold")
        for word, text in header_lines(header):
            self.say(f"  {word:<7}{text}", indent=9, whole=word == "folder")
        self.say(table_row(COLUMNS), "bold", whole=True)

    def fit_started(self, state: TrainingState) -> None:
        """The bar takes its figures from the state."""
        self.state = state

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """The bar, redrawn at most ten times a second: an accelerator is not waited for in between."""
        if self.bar.is_due():
            figures = "" if self.state is None else f"  {pace(self.state)}"
            self.bar.show(f"epoch {epoch}/{self.epochs}", step, steps, f"{step}/{steps}{figures}")

    def epoch_ended(self, record: EpochRecord) -> None:
        """A row of the table, green if it is the best so far."""
        self.bar.close()
        self.say(table_row(epoch_cells(record)), "green" if record.best else "", whole=True)

    def refitting(self, epochs: int, images: int) -> None:
        """A line between the two fits."""
        self.bar.close()
        self.epochs = epochs
        self.say(refit_line(epochs, images), "bold")

    def drawing(self) -> None:
        """Says what it waits for."""
        self.bar.show("testing and drawing", 0, None, "")

    def finished(self, outcome: Outcome) -> None:
        """The result, in bold, and where it lies."""
        self.bar.close()
        *others, result = outcome_lines(outcome)
        for line in others:
            self.say(line)
        self.say(result, "bold green")

    def was_finished(self, folder: Path) -> None:
        """That there is nothing to do, and what could be done."""
        for line in finished_lines(folder):
            self.say(line)

    def close(self) -> None:
        """Takes the bar away, whatever happened."""
        self.bar.close()


def table_row(cells: tuple[str, ...]) -> str:
    """The cells at their columns' widths."""
    *figures, mark = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
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
def shown(listener: Listener | None, progress: bool) -> Iterator[Listener]:
    """Yield the listener of a training, which also prints if there is `progress`. Raises `UsageError` if it is none."""
    if not isinstance(listener, Listener | None):
        raise UsageError(f"listener= takes a mnist_trainer.Callback object, not {one_line(repr(listener))}.")
    if not progress:
        yield listener or Listener()
        return
    console = choose_console(quiet=False)
    try:
        yield console if listener is None else both(listener, console)
    finally:
        if isinstance(console, RichConsole):
            console.close()
