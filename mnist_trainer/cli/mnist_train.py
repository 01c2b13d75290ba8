"""`mnist-train --resume`: a stopped run, or a series of them, goes on.

`mnist-train`: one YAML file in, a run folder out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_trainer.cli.arguments import ConfigCommand, find_config
from mnist_trainer.cli.common import (
    CopyConfig,
    Debug,
    Version,
    handle_errors,
    handle_signals,
    list_configs,
    new_app,
    print_safe,
    problems_at_options,
)
from mnist_trainer.cli.completion import Completion
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Config
    from mnist_trainer.reports.listener import Listener
    from mnist_trainer.reports.series_console import QuietSeriesConsole, SeriesConsole


def _check_resume_options(options: Mapping[str, object]) -> None:
    """Raises `UsageError` if one of `options` is given: not None."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"--resume takes all that from the run itself: leave {' and '.join(given)} out.")


def _resume_run(
    place: str, overrides: Sequence[str], jobs: int | None, take_over: bool, on_interrupt: str, quiet: bool
) -> None:
    """Trains the run, or the series of runs, at `place` to its end."""
    from mnist_trainer.pipeline.resuming import find_begun
    from mnist_trainer.storage.run_folder import is_series

    folder = find_begun(place).path
    if is_series(folder):
        if take_over or on_interrupt != "stop":
            raise UsageError(f"{folder} is a series of runs: leave --take-over and --on-interrupt out.")
        _resume_series(folder, overrides, jobs, quiet)
        return
    if jobs is not None:
        raise UsageError("--jobs is how many runs of a series are trained at a time.")
    from mnist_trainer.pipeline import training

    with training_console(on_interrupt, quiet) as console:
        training.resume(folder, *overrides, take_over=take_over, listener=console)


def _resume_series(place: Path, overrides: Sequence[str], jobs: int | None, quiet: bool) -> None:
    """Makes what is missing of the series in the folder `place`."""
    from mnist_trainer.studies.seed_series import resume_seeds

    with series_console(quiet) as console:
        series = resume_seeds(place, *overrides, jobs=jobs, listener=console)
    series.raise_failures()


@contextmanager
def series_console(quiet: bool) -> Iterator[SeriesConsole | QuietSeriesConsole]:
    """The console that fits where stdout goes; it hears of signals, and the bar is gone afterwards."""
    from mnist_trainer.reports.series_console import choose_series_console

    console = choose_series_console(quiet)
    handle_signals(console)
    try:
        yield console
    finally:
        console.close()


@contextmanager
def training_console(on_interrupt: str, quiet: bool) -> Iterator[Listener]:
    """The console that fits where stdout goes; it hears of signals, and the bar is gone afterwards."""
    from mnist_trainer.reports.console import RichConsole, choose_console

    console = choose_console(quiet)
    console.finishes = on_interrupt == "finish"
    handle_signals(console)
    try:
        yield console
    finally:
        if isinstance(console, RichConsole):
            console.close()


app = new_app()


Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG [KEY=VALUE]",
        help="A YAML file or the name of a config that comes with the package; then keys to change: optimizer.lr=0.01",
    ),
]
ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", metavar="CONFIG", help="The same as CONFIG without an option.")
]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="Write to this folder instead of runs/<time>-<name>.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="Device: cpu, cuda, cuda:1, mps or auto.")]
Seed = Annotated[str | None, typer.Option("--seed", metavar="N", help="Random seed for weights, order and dropout.")]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="N", help="Train a series of runs, with seeds 0 to N-1 (or a list: 4,7,9)."),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", metavar="J", help="Runs of a series at the same time; they share the cores.")
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="RUN", help="Continue a run that was stopped: its folder, its last.pt, or latest."
    ),
]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="With --resume: also if a process on another host had locked the run. Make sure that it is dead.",
    ),
]
OnInterrupt = Annotated[
    Literal["stop", "finish"],
    typer.Option(
        "--on-interrupt",
        metavar="HOW",
        show_default=False,
        help="What Ctrl-C does: stop and save, or finish (test and report the best epoch).",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Check the config, show the layers and the memory needed; train nothing.")
]
ShowBatch = Annotated[
    Path | None,
    typer.Option(
        "--show-batch",
        metavar="FILE",
        help="Write a PNG of the first training batch, with its augmentation; train nothing.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the result, and warnings.")]


@app.command(cls=ConfigCommand)
def train(  # noqa: PLR0913, PLR0917 - an option each
    arguments: Arguments = None,
    config: ConfigFile = None,
    run_dir: RunDir = None,
    device: Device = None,
    seed: Seed = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    resume: Resume = None,
    take_over: TakeOver = False,
    on_interrupt: OnInterrupt = "stop",
    check: Check = False,
    show_batch: ShowBatch = None,
    quiet: Quiet = False,
    _copy_config: CopyConfig = None,
    _completion: Completion = None,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Train a model for handwritten digits as a YAML file says, measure it, and write everything to runs/.

    Without CONFIG the configs that come with the package are listed.
    """
    with handle_errors(debug):
        if resume is not None:
            own = {"--config": config, "--run-dir": run_dir, "--seed": seed, "--seeds": seeds, "--check": check or None}
            _check_resume_options({**own, "--show-batch": show_batch})
            changes = [*(arguments or []), *([] if device is None else [f"device={device}"])]
            _resume_run(resume, changes, jobs, take_over, on_interrupt, quiet)
            return
        source, overrides = find_config(arguments, config)
        if source is None:
            list_configs(overrides)
            return
        series = _read_series(seeds, jobs, seed, overrides)
        if take_over:
            raise UsageError("--take-over goes with --resume.")
        if series is not None and on_interrupt != "stop":
            raise UsageError("--on-interrupt is for a single run: a series keeps what is finished, and goes on later.")
        if show_batch is not None and (check or series is not None or run_dir is not None):
            raise UsageError("--show-batch draws and trains nothing: leave --check, --seeds and --run-dir out.")
        loaded = _load_config(source, overrides, {"device": device, "seed": seed})
        if check:
            _show_plan(loaded, run_dir)
        elif show_batch is not None:
            _show_batch(loaded, show_batch)
        elif series is not None:
            _train_series(loaded, series, 1 if jobs is None else jobs, run_dir, quiet)
        else:
            _train(loaded, run_dir, on_interrupt, quiet)


def _read_series(
    seeds: str | None, jobs: int | None, seed: str | None, overrides: Sequence[str]
) -> tuple[int, ...] | None:
    """The seeds of a series; None if a single run is meant. Raises `UsageError` for what does not go together."""
    from mnist_trainer.seeds import parse_seeds

    if seeds is None:
        if jobs is not None:
            raise UsageError("--jobs is how many runs of a series are trained at a time; it needs --seeds.")
        return None
    own = [override for override in overrides if override.partition("=")[0].strip() == "seed"]
    if seed is not None or own:
        raise UsageError(f"--seeds names the seeds of a series; leave {own[0] if own else '--seed'} out.")
    return parse_seeds(seeds)


def _load_config(source: str, overrides: Sequence[str], keys: Mapping[str, str | None]) -> Config:
    from mnist_trainer.config.load import load_config

    options = {key: value for key, value in keys.items() if value is not None}
    with problems_at_options(overrides, list(options)):
        return load_config(source, [*overrides, *(f"{key}={value}" for key, value in options.items())])


def _show_plan(config: Config, run_dir: Path | None) -> None:
    from mnist_trainer.model.device import passed_over
    from mnist_trainer.model.memory import human_bytes
    from mnist_trainer.pipeline.checking import plan
    from mnist_trainer.pipeline.preparation import warnings_of
    from mnist_trainer.reports.text import layer_lines
    from mnist_trainer.storage.run_folder import refuse_file

    refuse_file(run_dir)
    made = plan(config)
    print(f"{'layer':<36}{'output':<20}{'parameters':>12}")
    for line in layer_lines(made.layers):
        print(line)
    needed = made.footprint
    print(f"\n{needed.parameters:,} parameters; besides torch itself, training needs at least")
    print(f"{human_bytes(needed.total)} on {made.device}:")
    print(f"{human_bytes(needed.weights)} for weights, gradients, optimizer and best epoch,")
    print(f"{human_bytes(needed.activations)} for what the layers make of a batch of {config.data.batch}.")
    for note in made.notes:
        print(note)
    if reason := passed_over(config.device):
        print(f"warning: device: {reason}", file=sys.stderr)
    for key, reason in warnings_of(config):
        print_safe(f"warning: {key}: {reason}", err=True)


def _show_batch(config: Config, file: Path) -> None:
    from mnist_trainer.files import make_folder, write_bytes
    from mnist_trainer.pipeline.checking import first_batch

    png = first_batch(config)
    make_folder(file.parent)
    write_bytes(file, png)
    print(f"The first batch of {config.name} is drawn in {file}; nothing was trained.")


def _train(config: Config, run_dir: Path | None, on_interrupt: str, quiet: bool) -> None:
    from mnist_trainer.reports.painting import painter_beside

    with painter_beside(config.report.plots or config.report.gallery):  # first: it loads while torch does
        from mnist_trainer.pipeline import training

        with training_console(on_interrupt, quiet) as console:
            training.train(config, run_dir=run_dir, listener=console)


def _train_series(config: Config, seeds: tuple[int, ...], jobs: int, run_dir: Path | None, quiet: bool) -> None:
    from mnist_trainer.studies.seed_series import train_seeds

    with series_console(quiet) as console:
        series = train_seeds(config, seeds, jobs=jobs, run_dir=run_dir, listener=console)
    series.raise_failures()


def main() -> None:
    """The console script."""
    app(prog_name="mnist-train")


if __name__ == "__main__":
    main()
