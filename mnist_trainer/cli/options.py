"""Functions to declare and run commands, the options that several commands share, and shell completion by typer.

The shell starts a command for each Tab; that takes 0.1 s and imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from mnist_trainer.cli.start import COMMANDS


def new_app() -> typer.Typer:
    """Return an app without rich markup, pretty tracebacks and completion options, so that it starts quickly."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def run_app(name: str) -> None:
    """Run the command `mnist-<name>`, or print completions if the shell asks for them."""
    if _variable(name) in os.environ:
        _typer_completion().completion_init()
    import_module(f"mnist_trainer.cli.mnist_{name}").app(prog_name=f"mnist-{name}")


def option(names: str, metavar: str, text: str, **settings: Any) -> Any:
    """Return an option with a value; `names` as in `"-c --config"`, `text` is its help."""
    return typer.Option(*names.split(), metavar=metavar, help=text, **settings)


def flag(name: str, text: str, **settings: Any) -> Any:
    """Return an option without a value."""
    return typer.Option(name, help=text, **settings)


# --- completion ---


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


def _print_completion(ctx: typer.Context, shell: str | None) -> None:
    """Print the script that turns on completion of all commands in `shell`, and exit."""
    if shell is None or ctx.resilient_parsing:
        return
    if shell == "zsh":
        print("(( $+functions[compdef] )) || { autoload -U compinit && compinit }")
    for name in COMMANDS:
        script = _typer_completion().get_completion_script
        print(script(prog_name=f"mnist-{name}", complete_var=_variable(name), shell=shell))
    raise typer.Exit


def _variable(name: str) -> str:
    """Return the environment variable by which the shell asks a command for completions."""
    return f"_MNIST_{name.upper()}_COMPLETE"


def _typer_completion() -> Any:
    """Return typer's completion module. Its functions are undocumented; tests/cli/test_completion.py uses them."""
    return import_module("typer.completion")


# --- shared options ---


def _print_version(wanted: bool) -> None:
    """Print the version and exit, if `--version` is given."""
    if wanted:
        from mnist_trainer.config.shipped import package_version

        print(f"mnist-trainer {package_version()}")
        raise typer.Exit


Debug = Annotated[bool, flag("--debug", "Show the traceback of an error.")]
Version = Annotated[bool, flag("--version", "Show the version and exit.", callback=_print_version, is_eager=True)]
Quiet = Annotated[bool, flag("--quiet", "Print only the result, and warnings.")]
DEVICES = complete("cpu", "cuda", "mps", "auto")
Device = Annotated[
    str | None, option("--device", "NAME", "Device: cpu, cuda, cuda:1, mps or auto.", autocompletion=DEVICES)
]
Json = Annotated[bool, flag("--json", "Print one JSON object; accuracies are fractions from 0 to 1.")]
SCRIPT = "Print a script that completes all mnist-* commands in bash, zsh or fish."
Completion = Annotated[
    Literal["bash", "zsh", "fish"] | None,
    option("--completion", "SHELL", SCRIPT, callback=_print_completion, is_eager=True),
]
