"""`mnist-train --resume`: a stopped run, or a series of them, goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_trainer.cli.common import handle_signals
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.reports.listener import Listener
    from mnist_trainer.reports.series_console import QuietSeriesConsole, SeriesConsole


def _check_resume_options(options: Mapping[str, object]) -> None:
    """Raises `UsageError` if one of `options` is given: not None."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"--resume takes all that from the run itself: leave {' and '.join(given)} out.")


def _resume_run(
    place: str, overrides: Sequence[str], jobs: int | None, take_over: bool, on_interrupt: str, quiet: bool
) -> None:
    """Trains the run, or the series of runs, at `place` to its end."""
    from mnist_trainer.pipeline.resuming import find_begun
    from mnist_trainer.storage.run_folder import is_series

    folder = find_begun(place).path
    if is_series(folder):
        if take_over or on_interrupt != "stop":
            raise UsageError(f"{folder} is a series of runs: leave --take-over and --on-interrupt out.")
        _resume_series(folder, overrides, jobs, quiet)
        return
    if jobs is not None:
        raise UsageError("--jobs is how many runs of a series are trained at a time.")
    from mnist_trainer.pipeline import training

    with training_console(on_interrupt, quiet) as console:
        training.resume(folder, *overrides, take_over=take_over, listener=console)


def _resume_series(place: Path, overrides: Sequence[str], jobs: int | None, quiet: bool) -> None:
    """Makes what is missing of the series in the folder `place`."""
    from mnist_trainer.studies.seeds.training import resume_seeds

    with series_console(quiet) as console:
        series = resume_seeds(place, *overrides, jobs=jobs, listener=console)
    series.raise_failures()


@contextmanager
def series_console(quiet: bool) -> Iterator[SeriesConsole | QuietSeriesConsole]:
    """The console that fits where stdout goes; it hears of signals, and the bar is gone afterwards."""
    from mnist_trainer.reports.series_console import choose_series_console

    console = choose_series_console(quiet)
    handle_signals(console)
    try:
        yield console
    finally:
        console.close()


@contextmanager
def training_console(on_interrupt: str, quiet: bool) -> Iterator[Listener]:
    """The console that fits where stdout goes; it hears of signals, and the bar is gone afterwards."""
    from mnist_trainer.reports.console import RichConsole, choose_console

    console = choose_console(quiet)
    console.finishes = on_interrupt == "finish"
    handle_signals(console)
    try:
        yield console
    finally:
        if isinstance(console, RichConsole):
            console.close()
