"""Functions to declare commands and options, and the options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mnist_trainer.cli.completion import complete, prepare_completion


def new_app() -> typer.Typer:
    """Return an app without rich markup, pretty tracebacks and completion options, so that it starts quickly."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def run_app(app: typer.Typer, name: str) -> None:
    """Run the command `mnist-<name>`, or print completions if the shell asks for them."""
    prepare_completion(name)
    app(prog_name=f"mnist-{name}")


def option(names: str, metavar: str, text: str, **settings: Any) -> Any:
    """Return an option with a value; `names` as in `"-c --config"`, `text` is its help."""
    return typer.Option(*names.split(), metavar=metavar, help=text, **settings)


def flag(name: str, text: str, **settings: Any) -> Any:
    """Return an option without a value."""
    return typer.Option(name, help=text, **settings)


def _print_version(wanted: bool) -> None:
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
