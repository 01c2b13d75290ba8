"""A progress bar in the last line of a terminal, or in a notebook."""

from __future__ import annotations

from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
