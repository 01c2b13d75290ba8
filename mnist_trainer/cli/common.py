"""What the commands share: how errors end them, and their common options."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.errors import ConfigError, InterruptedRunError, TrainerError, visible

if TYPE_CHECKING:
    from mnist_trainer.reports.listener import Listener


def new_app() -> typer.Typer:
    """An app that starts fast: without rich markup, pretty tracebacks and shell completion."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mnist_trainer.config.shipped import package_version

        print(f"mnist-trainer {package_version()}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
]


@contextmanager
def handle_errors(debug: bool) -> Iterator[None]:
    """Ends the command with one red paragraph and the error's exit code; with `debug` behind its traceback."""
    from mnist_trainer.data.places import shelter_caches

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without × must not end a command
    _received_signals.clear()  # a test calls several commands in one process
    try:
        shelter_caches()
        yield
    except (InterruptedRunError, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        print_error("\n".join([str(error) or "Stopped.", *getattr(error, "__notes__", ())]))
        raise typer.Exit(_exit_code()) from None
    except TrainerError as error:
        if debug:
            traceback.print_exc()
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        print_error(
            f"This is a mistake in mnist-trainer itself, not yours: {type(error).__name__}: {error}\n"
            "Please report it, with what the same command prints with --debug."
        )
        raise typer.Exit(1) from None


@contextmanager
def problems_at_options(overrides: Sequence[str], options: Sequence[str]) -> Iterator[None]:
    """Inside it a config's problems are placed at the `options` that caused them, which stand behind `overrides`."""
    try:
        yield
    except ConfigError as error:
        places = {f"override {len(overrides) + number}": f"--{key}" for number, key in enumerate(options, start=1)}
        problems = [replace(found, place=places.get(found.place, found.place)) for found in error.problems]
        raise ConfigError(problems) from error


def handle_signals(listener: Listener) -> None:
    """Makes the first Ctrl-C end the training after its present step, and a second one at once.

    SIGTERM (batch systems) and SIGHUP (closed terminals) are taken in the same way. A SIGHUP that is ignored already,
    as `nohup` has it, stays so; shells ignore SIGINT for what they start in the background, and still it can be sent.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        _received_signals.append(name)
        if name == "SIGHUP":
            _redirect_to_devnull(terminals)
        if not listener.can_stop or listener.wants_stop:
            listener.stopped_by = name
            raise KeyboardInterrupt
        listener.wants_stop, listener.stopped_by = True, name

    terminals = [stream for stream in (1, 2) if os.isatty(stream)]  # later a closed one is none any more
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, stop)


_received_signals: list[str] = []
"""The signals that this command received."""


def _exit_code() -> int:
    """Of a command that was stopped: 130 by Ctrl-C, 143 by any other signal."""
    return 130 if set(_received_signals) <= {"SIGINT"} else InterruptedRunError.terminated_exit_code


def _redirect_to_devnull(streams: Sequence[int]) -> None:
    """Makes these file descriptors take whatever is printed: a closed terminal would take nothing more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)


def print_safe(text: str, err: bool = False) -> None:
    """Print lines in which there may be names from strangers: nothing in them moves the terminal.

    On stderr they are sentences, which are wrapped between words if it is a terminal.
    """
    print(_format_for_stderr(text) if err else visible(text), file=sys.stderr if err else sys.stdout, flush=True)


def print_error(text: str) -> None:
    """Print to stderr; on a terminal in red, and wrapped between words, but never within a command."""
    typer.secho(_format_for_stderr(text), fg="red" if sys.stderr.isatty() else None, err=True)


def _format_for_stderr(text: str) -> str:
    from mnist_trainer.reports.text import wrapped

    return wrapped(visible(text), shutil.get_terminal_size().columns) if sys.stderr.isatty() else visible(text)
