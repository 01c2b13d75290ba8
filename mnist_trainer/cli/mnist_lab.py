"""`mnist-lab`: run the statements of the lectures as experiments, draw and check them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_safe, require, terminal_width
from mnist_trainer.cli.options import Debug, Version, flag, new_app, option

app = new_app()

ALL = "all"


def _complete(incomplete: str) -> list[str]:
    """Return the experiments that begin with `incomplete`."""
    from mnist_trainer.lab.run import names

    return [name for name in (*names(), ALL) if name.startswith(incomplete)]


USAGE = """
Run one:                     mnist-lab perceptron
Run all of them:             mnist-lab all
Change a parameter:          mnist-lab perceptron rate=0.5"""

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME | all] [KEY=VALUE]",
        help="An experiment, or all; then parameters of the experiment to change: rate=0.5",
        autocompletion=_complete,
    ),
]
Quick = Annotated[bool, flag("--quick", "Take less data, to be faster.")]
RunDir = Annotated[Path, option("--run-dir", "DIR", "Write to folders below DIR.")]


@app.command(cls=Command)
def lab(
    arguments: Arguments = None,
    quick: Quick = False,
    run_dir: RunDir = Path("runs/lab"),
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Run an experiment: check the statements of the lecture, draw a picture, and write both to runs/lab/NAME.

    Exits with 1 if a statement did not hold. Without NAME the experiments are listed.
    """
    with handle_errors(debug):
        from mnist_trainer.lab.run import names

        given = [argument for argument in arguments or [] if "=" not in argument]
        parameters = dict(argument.split("=", 1) for argument in arguments or [] if "=" in argument)
        if not given:
            require({"No experiment is given. For example: mnist-lab perceptron": not parameters})
            _list_experiments()
            return
        require(
            {
                f"One experiment at a time, or all; not {' and '.join(given)}.": len(given) == 1,
                "Parameters belong to one experiment, not to all.": given != [ALL] or not parameters,
            }
        )
        chosen = names() if given == [ALL] else given
        held = [_run(name, quick, run_dir, parameters) for name in chosen]
    raise typer.Exit(0 if all(held) else 1)


def _list_experiments() -> None:
    """Print the experiments with their phrases, lesson by lesson."""
    from mnist_trainer.lab.run import LESSONS, phrase
    from mnist_trainer.reports.text import wrap_text

    print("Experiments of mnist-lab, in the order of a lesson:")
    width = max(len(name) for lesson in LESSONS.values() for name in lesson)
    for lesson, experiments in LESSONS.items():
        print(f"\n{lesson}")
        for name in experiments:
            line = f"  {name:<{width}}  {phrase(name)}"
            print(wrap_text(line, terminal_width() or sys.maxsize, indent=width + 4))
    print(USAGE)


def _run(name: str, quick: bool, run_dir: Path, parameters: Mapping[str, str]) -> bool:
    """Run an experiment, print its statements, write its files, and return whether all statements held."""
    from mnist_trainer.lab.run import phrase, run_experiment

    experiment = run_experiment(name, quick=quick, **parameters)
    print_safe(f"{name}: {phrase(name)}")
    for statement in experiment.statements:
        print_safe(str(statement))
    print_safe(f"picture  {experiment.write(run_dir / name)}  ({experiment.seconds:.1f} s)\n")
    return experiment.held
