"""The configs and sweeps that come with the package: lists of them, and copies to edit."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mnist_trainer.cli.common import handle_errors, print_safe
from mnist_trainer.errors import UsageError, quoted


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
        raise UsageError(f"No {kind} is named. Name one: {command} {quoted(*overrides)}")


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
    from mnist_trainer.config.shipped import shipped, shipped_path
    from mnist_trainer.config.wording import nearest
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
