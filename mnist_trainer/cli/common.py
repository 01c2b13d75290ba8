"""What the commands share: how errors end them, and their common options.

The configs and sweeps that come with the package: lists of them, and copies to edit.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

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
    from mnist_trainer.data.paths import set_cache_variables

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without × must not end a command
    _received_signals.clear()  # a test calls several commands in one process
    try:
        set_cache_variables()
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
        problems = [replace(found, location=places.get(found.location, found.location)) for found in error.problems]
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
    print(
        _format_for_stderr(text) if err else escape_controls(text), file=sys.stderr if err else sys.stdout, flush=True
    )


def print_error(text: str) -> None:
    """Print to stderr; on a terminal in red, and wrapped between words, but never within a command."""
    typer.secho(_format_for_stderr(text), fg="red" if sys.stderr.isatty() else None, err=True)


def _format_for_stderr(text: str) -> str:
    from mnist_trainer.reports.text import wrapped

    return (
        wrapped(escape_controls(text), shutil.get_terminal_size().columns)
        if sys.stderr.isatty()
        else escape_controls(text)
    )


def list_configs(overrides: Sequence[str]) -> None:
    """Print the shipped configs. Raises `UsageError` if there are `overrides`: then no config was named."""
    from mnist_trainer.config.shipped import shipped

    _require_none(overrides, "config", "mnist-train quickstart")
    print("Configs that come with mnist-train, in the order of a lesson:\n")
    _print_phrases(shipped())
    print("\nTrain one:         mnist-train quickstart")
    print("Change its keys:   mnist-train quickstart training.epochs=3 optimizer.lr=0.01")
    print("Copy one to edit:  mnist-train --copy-config mlp")


def list_sweeps(overrides: Sequence[str]) -> None:
    """Print the shipped sweeps. Raises `UsageError` if there are `overrides`: then no sweep was named."""
    from mnist_trainer.config.shipped import sweeps

    _require_none(overrides, "sweep", "mnist-sweep mlp")
    print("Sweeps that come with mnist-sweep:\n")
    _print_phrases(sweeps())
    print("\nRun one:                     mnist-sweep mlp --trials 20")
    print("Change keys of its config:   mnist-sweep mlp training.epochs=3")


def _require_none(overrides: Sequence[str], kind: str, command: str) -> None:
    if overrides:
        raise UsageError(f"No {kind} is named. Name one: {command} {shell_quote(*overrides)}")


def _print_phrases(phrases: Mapping[str, str]) -> None:
    """Print names and their descriptions as a table; on a terminal, long descriptions are wrapped."""
    from mnist_trainer.reports.text import wrapped

    width = max(map(len, phrases)) + 4
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for name, phrase in phrases.items():
        print(wrapped(f"  {name:<{width - 4}}  {phrase}", columns, indent=width))


def _copy_config(name: str | None) -> None:
    if name is None:
        return
    from mnist_trainer.config.messages import nearest
    from mnist_trainer.config.shipped import shipped, shipped_path
    from mnist_trainer.files import write_text

    with handle_errors(debug=False):
        if name not in shipped():
            near = nearest(name, shipped())
            hint = f"Did you mean {near}?" if near else "mnist-train lists those that do."
            raise UsageError(f"No config called {name} comes with the package. {hint}")
        source, target = shipped_path(name), Path(f"{name}.yaml")
        if os.path.lexists(target):
            raise UsageError(
                f"{target} is there already, and is not overwritten. Rename it, or copy in another folder."
            )
        schema = source.with_name("schema.json").as_uri()  # editors look it up beside the copy otherwise
        write_text(target, source.read_text(encoding="utf-8").replace("$schema=schema.json", f"$schema={schema}", 1))
        print_safe(f"Written to {target}. Edit it, then train it: mnist-train {target}")
    raise typer.Exit


CopyConfig = Annotated[
    str | None,
    typer.Option(
        "--copy-config",
        metavar="NAME",
        callback=_copy_config,
        is_eager=True,
        help="Write a copy of a config that comes with the package to NAME.yaml, to edit it.",
    ),
]
