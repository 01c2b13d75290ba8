"""The console of a sweep: a row for each trial that ends, then the best one and what to do with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mnist_trainer.config.sweep import label
from mnist_trainer.errors import shell_quote
from mnist_trainer.reports.console import PlainConsole, RichConsole, choose_console
from mnist_trainer.reports.sweep import SweepCallback_, SweepInfo, SweepResult, TrialRow
from mnist_trainer.reports.text import loss_text, percent

_TRIAL_HEAD = f"{'trial':>5}  {'':<8}  {'val loss':>8}  {'val accuracy':>12}  {'epochs':>6}  {'seconds':>7}"


class SweepConsole(SweepCallback_):
    """Prints a row for each trial that ends, and below it the values it was made with."""

    def __init__(self, console: PlainConsole | RichConsole) -> None:
        self.console = console

    def on_warning(self, path: str, reason: str) -> None:
        """As for a run."""
        self.console.on_warning(path, reason)

    def loading(self, what: str, done: int, total: int | None) -> None:
        """As for a run."""
        self.console.loading(what, done, total)

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


class QuietSweepConsole(SweepCallback_):
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
