"""Shell completion with typer. The shell starts the command for each Tab; it takes 0.1 s, without importing torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from mnist_trainer.cli.start import COMMANDS

Shell = Literal["bash", "zsh", "fish"]


def complete(*words: str) -> Callable[[str], list[str]]:
    """Return a completion function that suggests `words`."""
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
    """Register typer's shells if the shell started this process for a completion."""
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
    """Return typer's completion module. Its functions are undocumented; tests/cli/test_completion.py uses them."""
    return import_module("typer.completion")
