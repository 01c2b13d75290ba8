"""Listeners that print: with colours and a progress bar on a terminal, plain lines into a pipe, one line if quiet."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from mnist_trainer.errors import visible
from mnist_trainer.model.memory import human_bytes
from mnist_trainer.reports.listener import Header, Listener, Outcome
from mnist_trainer.reports.text import (
    COLUMNS,
    epoch_cells,
    finished_lines,
    header_lines,
    outcome_lines,
    refit_line,
    wrapped,
)
from mnist_trainer.training.loop import EpochRecord

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

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
            print(visible(text), file=self.stream, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def warned(self, path: str, reason: str) -> None:
        """A warning goes to stderr."""
        print(visible(f"warning: {path}: {reason}"), file=sys.stderr, flush=True)

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
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.drawn = 0.0
        self.epochs = 0

    def say(self, text: str, style: str = "", indent: int = 0) -> None:
        """Prints a line, above the bar if there is one; long ones break between words, with `indent` below."""
        shown = wrapped(visible(text), self.console.width, indent)
        self.console.print(shown, style=style, markup=False, soft_wrap=True)

    def warned(self, path: str, reason: str) -> None:
        """A warning, in yellow on stderr."""
        self._end_bar()
        shown = wrapped(visible(f"warning: {path}: {reason}"), self.errors.width)
        self.errors.print(shown, style="yellow", markup=False, soft_wrap=True)

    def loading(self, what: str, done: int, total: int | None) -> None:
        """A bar that fills."""
        is_over = done == total
        self.bar(what, done, total, human_bytes(done), throttled=not is_over)

    def started(self, header: Header) -> None:
        """The header, and the table's first row."""
        self._end_bar()
        self.epochs = header.epochs
        self.say(header.name, "bold")
        for word, text in header_lines(header):
            self.say(f"  {word:<7}{text}", indent=9)
        self.say(table_row(COLUMNS), "bold")

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """The bar, redrawn at most ten times a second."""
        self.bar(f"epoch {epoch} of {self.epochs}", step, steps, f"{step}/{steps}", throttled=True)

    def epoch_ended(self, record: EpochRecord) -> None:
        """A row of the table, green if it is the best so far."""
        self._end_bar()
        self.say(table_row(epoch_cells(record)), "green" if record.best else "")

    def refitting(self, epochs: int, images: int) -> None:
        """A line between the two fits."""
        self._end_bar()
        self.epochs = epochs
        self.say(refit_line(epochs, images), "bold")

    def drawing(self) -> None:
        """Says what it waits for."""
        self.bar("testing and drawing", 0, None, "", throttled=False)

    def finished(self, outcome: Outcome) -> None:
        """The result, in bold, and where it lies."""
        self._end_bar()
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
        self._end_bar()

    def bar(self, text: str, done: int, total: int | None, amount: str, throttled: bool) -> None:
        """Shows how much is done below all lines; if `throttled`, at most ten times a second."""
        now = monotonic()
        if throttled and now - self.drawn < 0.1:
            return
        self.drawn = now
        if self.progress is None:
            self.progress = _new_progress(self)
            self.task = self.progress.add_task(text, total=total, amount=amount)
            self.progress.start()
        assert self.task is not None
        self.progress.update(self.task, description=text, completed=done, total=total, amount=amount, refresh=True)

    def _end_bar(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _new_progress(console: RichConsole) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    return Progress(*columns, console=console.console, transient=True, auto_refresh=False)


def table_row(cells: tuple[str, ...]) -> str:
    """The cells at their columns' widths."""
    *figures, mark = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return "  ".join([*figures, mark.strip()]).rstrip()


def choose_console(quiet: bool) -> PlainConsole | RichConsole:
    """The console that fits where stdout goes."""
    if quiet:
        return QuietConsole()
    return RichConsole() if sys.stdout.isatty() else PlainConsole()
