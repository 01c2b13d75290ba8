"""Functions that all commands share: errors and exit codes, signals, and printing."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOWrapper
from math import inf
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from mnist_trainer.errors import (
    ConfigError,
    InterruptedRunError,
    TrainerError,
    UsageError,
    escape_controls,
    shell_quote,
)

if TYPE_CHECKING:
    from mnist_trainer.reports.callbacks import Callback


# --- errors and signals ---


@contextmanager
def handle_errors(debug: bool) -> Iterator[None]:
    """Print an error as one red paragraph and exit with its exit code; with `debug`, print its traceback first."""
    from mnist_trainer.data.paths import set_cache_variables

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without × must not end a command
    _received_signals.clear()  # a test calls several commands in one process
    try:
        set_cache_variables()
        yield
    except (InterruptedRunError, KeyboardInterrupt) as error:
        only_ctrl_c = set(_received_signals) <= {"SIGINT"}
        code = getattr(error, "exit_code", InterruptedRunError.exit_code)
        code = code if only_ctrl_c else InterruptedRunError.terminated_exit_code
        error.exit_code = code  # type: ignore[union-attr]  # the other processes raise the same error
        _end(error, "\n".join([str(error) or "Stopped.", *getattr(error, "__notes__", ())]), code, debug)
    except TrainerError as error:
        _end(error, str(error), error.exit_code, debug)
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        text = (
            f"This is a bug in mnist-trainer, not a mistake of yours: {type(error).__name__}: {error}\n"
            "Please report it, with what the same command prints with --debug."
        )
        _end(error, text, TrainerError.exit_code, debug)


def _end(error: BaseException, text: str, code: int, debug: bool) -> NoReturn:
    """Print `text`, and the traceback before it if `debug` is true; exit with `code`."""
    if debug:
        traceback.print_exception(error)
    if is_first_process() or getattr(error, "is_cut_off", False):
        print_error(text)
    raise typer.Exit(code) from error


RANK_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` sets in each process, by which the processes find each other."""


def world_size() -> int:
    """Return the number of processes that were started to train a model together; 1 for a process alone."""
    is_together = all(os.environ.get(name) for name in RANK_VARIABLES)
    return int(os.environ["WORLD_SIZE"]) if is_together else 1


def is_first_process() -> bool:
    """Return whether this process prints: it is alone, or the first of those that train a model together."""
    return world_size() == 1 or os.environ["RANK"] == "0"


@contextmanager
def problems_at_options(overrides: Sequence[str], options: Sequence[str]) -> Iterator[None]:
    """Report problems of a config at the `options` that caused them; options are applied after the `overrides`."""
    try:
        yield
    except ConfigError as error:
        names = {f"override {len(overrides) + number}": f"--{key}" for number, key in enumerate(options, start=1)}
        problems = [replace(found, location=names.get(found.location, found.location)) for found in error.problems]
        raise ConfigError(problems) from error


def require(rules: Mapping[str, object]) -> None:
    """Raise `UsageError` with the first text whose condition is false."""
    for text, is_met in rules.items():
        if not is_met:
            raise UsageError(text)


STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""The signals that stop a training: Ctrl-C, batch systems, closed terminals, and Slurm before the end of the time."""

REPEAT_SECONDS = 5
"""A signal that comes again within this time is the same one: a batch system and a launcher may both send it."""

_received_signals: list[str] = []
"""The signals that this command received."""


def handle_signals(callback: Callback) -> None:
    """Handle `STOP_SIGNALS`: the first signal ends the training after the current step, the second one immediately.

    One other than Ctrl-C that comes again within `REPEAT_SECONDS` counts once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        """Ask the training to stop; at the second signal, interrupt it."""
        name, now = signal.Signals(number).name, monotonic()
        _received_signals.append(name)
        before, times[name] = times.get(name, -inf), now
        if name != "SIGINT" and now - before < REPEAT_SECONDS:
            return
        if name == "SIGHUP":
            _redirect_to_devnull(terminals)
        if not callback.can_stop or callback.should_stop:
            callback.stopped_by = name
            raise KeyboardInterrupt
        callback.should_stop, callback.stopped_by = True, name

    times: dict[str, float] = {}
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]  # isatty is false once the terminal is closed
    on_stop_signals(stop)


def on_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Install `handler` for all `STOP_SIGNALS`.

    A SIGHUP that is already ignored, as by `nohup`, stays ignored; SIGINT does not, because shells ignore it for
    background processes.
    """
    for name in STOP_SIGNALS:
        number = getattr(signal, name, None)  # Windows has neither SIGHUP nor SIGUSR1
        if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, handler)


@contextmanager
def open_console(quiet: bool, *, as_json: bool = False, on_interrupt: str = "stop") -> Iterator[Callback]:
    """Yield a console whose training stops on signals, and close it after the block. Only the first process prints."""
    from mnist_trainer.reports.callbacks import Callback
    from mnist_trainer.reports.console import Console

    console = Console(quiet=quiet, as_json=as_json) if is_first_process() else Callback()
    console.finish_on_stop = on_interrupt == "finish"
    handle_signals(console)
    try:
        yield console
    finally:
        if isinstance(console, Console):
            console.close()


def _redirect_to_devnull(streams: Sequence[int]) -> None:
    """Discard what is printed to these file descriptors: writing to a closed terminal would raise."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(devnull, stream)


# --- printing ---


def print_safe(text: str, err: bool = False) -> None:
    """Print text with control characters escaped, because it may contain names from other people."""
    print(_wrap_for_stderr(text) if err else escape_controls(text), file=sys.stderr if err else sys.stdout, flush=True)


def print_error(text: str) -> None:
    """Print to stderr; on a terminal, in red and wrapped between words."""
    typer.secho(_wrap_for_stderr(text), fg="red" if sys.stderr.isatty() else None, err=True)


def _wrap_for_stderr(text: str) -> str:
    """Escape control characters, and wrap lines if stderr is a terminal."""
    from mnist_trainer.reports.text import wrap_text

    text = escape_controls(text)
    return wrap_text(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else text


def show_progress(what: str, done: int, total: int | None) -> None:
    """Show on a terminal (stderr) what is being computed, in place of what was shown before."""
    if sys.stderr.isatty():
        text = f"{what} {100 * done // total} %" if total else what
        print(f"\r\x1b[K{text}\r", end="", file=sys.stderr, flush=True)


def terminal_width() -> int | None:
    """Return the number of columns of the terminal, or None if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def list_shipped(phrases: Mapping[str, str], text: str, command: str, overrides: Sequence[str]) -> None:
    """Print `text`, with `{}` replaced by a table of names and `phrases`.

    Raises `UsageError` if there are `overrides`, because then a name is missing; `command` is an example with one.
    """
    from mnist_trainer.reports.text import wrap_text

    kind = "sweep" if "sweep" in command else "config"
    require({f"No {kind} is given. For example: {command} {shell_quote(*overrides)}": not overrides})
    width = max(map(len, phrases)) + 4
    lines = (f"  {name:<{width - 4}}  {phrase}" for name, phrase in phrases.items())
    print(text.format("\n".join(wrap_text(line, terminal_width() or sys.maxsize, indent=width) for line in lines)))
