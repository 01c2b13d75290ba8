"""What the commands share: how errors end them, and their common options."""

from __future__ import annotations

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

from mnist_trainer.errors import ConfigError, TrainerError

if TYPE_CHECKING:
    from mnist_trainer.reports.listener import Listener


def new_app() -> typer.Typer:
    """An app that starts fast: without rich markup, pretty tracebacks and shell completion."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"mnist-trainer {version('mnist-trainer')}")
        except PackageNotFoundError:  # a checkout that was never installed
            print("mnist-trainer, not installed")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
]


@contextmanager
def error_paragraphs(debug: bool) -> Iterator[None]:
    """Ends the command with one red paragraph and the error's exit code; with `debug` behind its traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without × must not end a command
    try:
        yield
    except TrainerError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        complain("Stopped.")
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        complain(
            f"This is a mistake in mnist-trainer itself, not yours: {type(error).__name__}: {error}\n"
            "Please report it, with what the same command prints with --debug."
        )
        raise typer.Exit(1) from None


@contextmanager
def options_named(overrides: Sequence[str], options: Sequence[str]) -> Iterator[None]:
    """Inside it a config's problems are placed at the `options` that caused them, which stand behind `overrides`."""
    try:
        yield
    except ConfigError as error:
        places = {f"override {len(overrides) + number}": f"--{key}" for number, key in enumerate(options, start=1)}
        problems = [replace(found, place=places.get(found.place, found.place)) for found in error.problems]
        raise ConfigError(problems) from error


def stop_after_step(listener: Listener) -> None:
    """Makes the first Ctrl-C end the training after its present step, and a second one at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if not listener.can_stop or listener.wants_stop:
            raise KeyboardInterrupt
        listener.wants_stop = True

    signal.signal(signal.SIGINT, stop)


def complain(text: str) -> None:
    """Prints to stderr, red on a terminal; lines are never wrapped."""
    typer.secho(text, fg="red" if sys.stderr.isatty() else None, err=True)
