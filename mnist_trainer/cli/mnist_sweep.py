"""`mnist-sweep`: search for the best config, with the keys to vary from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_trainer.cli.arguments import ConfigCommand, find_config
from mnist_trainer.cli.common import handle_errors, list_shipped, open_console
from mnist_trainer.cli.options import Debug, Json, Quiet, Version, complete_sweep, flag, new_app, option
from mnist_trainer.cli.slurm import print_sweep_script

app = new_app()

SWEEPS = """\
Sweeps that come with mnist-sweep:

{}

Run one:                     mnist-sweep mlp --trials 20
Change keys of its config:   mnist-sweep mlp training.epochs=3"""

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SWEEP [KEY=VALUE]",
        help="A YAML file or the name of a sweep that comes with the package; then keys to change in its base config: "
        "training.epochs=3",
        autocompletion=complete_sweep,
    ),
]
SweepFile = Annotated[
    str | None, option("--config -c", "SWEEP", "The same as SWEEP without an option.", autocompletion=complete_sweep)
]
TRIALS = "Total number of trials, with those of earlier sessions."
STORAGE = "Keep the study in a database: sqlite:///FILE or postgresql://USER@HOST/DB."
JOBS = "Trials at the same time, sharing the cores (default: one for each GPU, or 1)."
SLURM = "Print a batch script for Slurm (sbatch): J jobs with one study in PostgreSQL; run nothing."
RUN_DIR = "Write to this folder, or continue the sweep in it."


@app.command(cls=ConfigCommand)
def sweep(  # noqa: PLR0913, PLR0917 - one for each option
    arguments: Arguments = None,
    config: SweepFile = None,
    trials: Annotated[int | None, option("--trials", "N", TRIALS, min=1)] = None,
    jobs: Annotated[int | None, option("--jobs", "J", JOBS, min=1)] = None,
    minutes: Annotated[float | None, option("--minutes", "M", "Stop after M minutes.", min=0)] = None,
    storage: Annotated[str | None, option("--storage", "URL", STORAGE)] = None,
    run_dir: Annotated[Path | None, option("--run-dir", "DIR", RUN_DIR)] = None,
    slurm: Annotated[bool, flag("--slurm", SLURM)] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Search for better settings: train a config many times with other values, and compare the validation results.

    The same command on several machines with one --storage works on one study. Continue a sweep that was stopped with
    its --run-dir, or its --storage. Without SWEEP the sweeps that come with the package are listed.
    """
    with handle_errors(debug):
        from mnist_trainer.config.shipped import sweeps
        from mnist_trainer.config.sweep import load_sweep

        source, overrides = find_config(arguments, config)
        if source is None:
            list_shipped(sweeps(), SWEEPS, "mnist-sweep mlp", overrides)
            return
        loaded = load_sweep(source, overrides, {} if trials is None else {"trials": trials})
        if slurm:
            limits = {"--trials": trials, "--minutes": minutes}
            words = [source, *overrides, *(f"{name}={value}" for name, value in limits.items() if value is not None)]
            print_sweep_script(words, loaded, workers=jobs, storage=storage, run_dir=run_dir)
            return
        from mnist_trainer.studies.sweep_search import run_sweep

        with open_console(quiet, as_json=as_json) as console:
            result = run_sweep(loaded, jobs=jobs, minutes=minutes, storage=storage, run_dir=run_dir, callback=console)
        result.raise_failure()
