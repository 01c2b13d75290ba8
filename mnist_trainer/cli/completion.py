"""Shell completion, by typer. Tab starts the command, which answers in a tenth of a second: torch is not imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from mnist_trainer.cli.start import COMMANDS

Shell = Literal["bash", "zsh", "fish"]


def complete(*words: str) -> Callable[[str], list[str]]:
    """Return the completion of a value that is often one of `words`."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def complete_config(incomplete: str) -> list[str]:
    """Return the shipped configs that begin with `incomplete`."""
    from mnist_trainer.config.shipped import shipped

    return complete(*shipped())(incomplete)


def complete_sweep(incomplete: str) -> list[str]:
    """Return the shipped sweeps that begin with `incomplete`."""
    from mnist_trainer.config.shipped import sweeps

    return complete(*sweeps())(incomplete)


def prepare_completion(name: str) -> None:
    """Register typer's shells if this process was started by Tab."""
    if _variable(name) in os.environ:
        _typer_completion().completion_init()


def _print_completion(ctx: typer.Context, shell: Shell | None) -> None:
    """Print the script that turns on completion of all commands in `shell`, and exit."""
    if shell is None or ctx.resilient_parsing:
        return
    if shell == "zsh":
        print("(( $+functions[compdef] )) || { autoload -U compinit && compinit }")
    for name in COMMANDS:
        script = _typer_completion().get_completion_script
        print(script(prog_name=f"mnist-{name}", complete_var=_variable(name), shell=shell))
    raise typer.Exit


Completion = Annotated[
    Shell | None,
    typer.Option(
        "--completion",
        metavar="SHELL",
        callback=_print_completion,
        is_eager=True,
        help="Print a script that completes all mnist-* commands in bash, zsh or fish.",
    ),
]


def _variable(name: str) -> str:
    """Return the environment variable by which the shell asks a command for completions."""
    return f"_MNIST_{name.upper()}_COMPLETE"


def _typer_completion() -> Any:
    """Return typer's module. Its functions are not documented; tests/cli/test_completion.py fails without them."""
    return import_module("typer.completion")
