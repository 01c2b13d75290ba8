"""`mnist-sweep`: a YAML file that says what to vary in, the best config out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.arguments import ConfigCommand, find_config
from mnist_trainer.cli.common import Debug, Version, handle_errors, handle_signals, list_sweeps, new_app

if TYPE_CHECKING:
    from mnist_trainer.config.sweep import Sweep
    from mnist_trainer.studies.sweep_search import SweepOptions

app = new_app()

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SWEEP [KEY=VALUE]",
        help="A YAML file or the name of a sweep that comes with the package; then keys to change in its base config: "
        "training.epochs=3",
    ),
]
SweepFile = Annotated[
    str | None, typer.Option("--config", "-c", metavar="SWEEP", help="The same as SWEEP without an option.")
]


@app.command(cls=ConfigCommand)
def sweep(  # noqa: PLR0913, PLR0917 - one for each option
    arguments: Arguments = None,
    config: SweepFile = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, help="Total number of trials, with those of earlier sessions."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="J", min=1, help="Trials at the same time; they share the cores.")
    ] = 1,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", min=0, help="Stop after M minutes.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Keep the study in a database: sqlite:///FILE or postgresql://USER@HOST/DB.",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Write to this folder, or continue the sweep in it.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result, and warnings.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; accuracies are fractions from 0 to 1.")
    ] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Search for the best config: train it many times with other values, and compare by the validation images.

    The same command on several machines with one --storage works on one study. Continue a sweep that was stopped with
    its --run-dir, or its --storage. Without SWEEP the sweeps that come with the package are listed.
    """
    with handle_errors(debug):
        from mnist_trainer.config.sweep import load_sweep

        source, overrides = find_config(arguments, config)
        if source is None:
            list_sweeps(overrides)
            return
        loaded = load_sweep(source, overrides, {} if trials is None else {"trials": trials})
        from mnist_trainer.studies.sweep_search import SweepOptions

        _sweep(loaded, SweepOptions(jobs, minutes, storage, run_dir), quiet, as_json)


def _sweep(loaded: Sweep, manner: SweepOptions, quiet: bool, as_json: bool) -> None:
    from mnist_trainer.reports.sweep_console import choose_sweep_console
    from mnist_trainer.studies.sweep_search import run_sweep

    console = choose_sweep_console(quiet, as_json)
    handle_signals(console)
    try:
        result = run_sweep(loaded, manner, console)
    finally:
        console.close()
    result.raise_failure()


def main() -> None:
    """The console script."""
    app(prog_name="mnist-sweep")


if __name__ == "__main__":
    main()
