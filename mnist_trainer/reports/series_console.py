"""The console of a series: a row for each run that ends, then what all of them say together."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mnist_trainer.errors import InterruptedRunError, shell_quote
from mnist_trainer.inference.metrics import Spread
from mnist_trainer.reports.console import PlainConsole, RichConsole, choose_console
from mnist_trainer.reports.series import SeriesCallback_, SeriesInfo, SeriesResult, SubRun, Summary, primary_split
from mnist_trainer.reports.text import header_lines, interval, loss_text, percent
from mnist_trainer.training.loop import EpochRecord

SERIES_COLUMNS = ("seed", "test accuracy", "errors", "val accuracy", "val loss", "best epoch", "seconds")


class SeriesConsole(SeriesCallback_):
    """Prints a row for each run that ends; on a terminal, what is in work stands below."""

    def __init__(self, console: PlainConsole | RichConsole) -> None:
        self.console = console
        self.count = self.ended = self.epochs = 0
        self.at: dict[int, int] = {}

    def on_warning(self, path: str, reason: str) -> None:
        """As for a single run."""
        self.console.on_warning(path, reason)

    def loading(self, what: str, done: int, total: int | None) -> None:
        """As for a single run."""
        self.console.loading(what, done, total)

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


class QuietSeriesConsole(SeriesCallback_):
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
            percent(run.loss_text("test", "accuracy")),
            _count(run.loss_text("test", "errors"), 0),
            percent(run.loss_text("validation", "accuracy")),
            loss_text(run.loss_text("validation", "loss")),
            str(run.record.get("best_epoch")),
            f"{run.loss_text('timings', 'training_seconds') or 0:.1f}",
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
