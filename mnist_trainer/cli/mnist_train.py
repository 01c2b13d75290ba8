"""`mnist-train`: train a model from a YAML file, or continue a stopped run or series with `--resume`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_trainer.cli.arguments import ConfigCommand, find_config
from mnist_trainer.cli.common import (
    handle_errors,
    list_shipped,
    open_console,
    print_safe,
    problems_at_options,
    require,
    world_size,
)
from mnist_trainer.cli.launch import (
    agreed_if_together,
    joined,
    left_together,
    restarted_run,
    start_processes,
)
from mnist_trainer.cli.options import (
    Completion,
    Debug,
    Device,
    Quiet,
    Version,
    complete,
    complete_config,
    flag,
    new_app,
    option,
)
from mnist_trainer.cli.slurm import print_train_script
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Config

app = new_app()

CONFIGS = """\
Configs that come with mnist-train, in the order of a course:

{}

Train one:         mnist-train quickstart
Change its keys:   mnist-train quickstart training.epochs=3 optimizer.lr=0.01
Copy one to edit:  mnist-train --copy-config mlp"""

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG [KEY=VALUE]",
        help="A YAML file or the name of a config that comes with the package; then keys to change: optimizer.lr=0.01",
        autocompletion=complete_config,
    ),
]
ConfigFile = Annotated[
    str | None,
    option("--config -c", "CONFIG", "The same as CONFIG without an option.", autocompletion=complete_config),
]
RunDir = Annotated[Path | None, option("--run-dir", "DIR", "Write to this folder instead of runs/<time>-<name>.")]
Seed = Annotated[str | None, option("--seed", "N", "Random seed for weights, order and dropout.")]
Seeds = Annotated[str | None, option("--seeds", "N", "Train a series of runs, with seeds 0 to N-1 (or a list: 4,7,9).")]
Jobs = Annotated[
    int | None,
    option("--jobs", "J", "Runs of a series at the same time, sharing the cores (default: one for each GPU, or 1)."),
]
PROCESSES = "Train in N processes, which share each batch (training.micro_batches); each has its own GPU, if any."
Processes = Annotated[int | None, option("--processes", "N", PROCESSES)]
RESUME = "Continue a run that was stopped: its folder, its last.pt, or latest."
Resume = Annotated[str | None, option("--resume", "RUN", RESUME, autocompletion=complete("latest"))]
TAKE_OVER = "With --resume: replace the lock of a process on another host. Make sure that the process is dead."
TakeOver = Annotated[bool, flag("--take-over", TAKE_OVER)]
ON_INTERRUPT = "What Ctrl-C does: stop and save, or finish (test and report the best epoch)."
OnInterrupt = Annotated[Literal["stop", "finish"], option("--on-interrupt", "HOW", ON_INTERRUPT, show_default=False)]
Check = Annotated[bool, flag("--check", "Check the config, show the layers and the memory needed; train nothing.")]
SHOW_BATCH = "Write a PNG of the first training batch, with its augmentation; train nothing."
ShowBatch = Annotated[Path | None, option("--show-batch", "FILE", SHOW_BATCH)]
FIND_LR = "Find a learning rate with a few steps of three seeds, and draw their losses; train nothing."
FindLr = Annotated[bool, flag("--find-lr", FIND_LR)]
SLURM = "Print a batch script for Slurm (sbatch): it is requeued, and resumes; train nothing."
Slurm = Annotated[bool, flag("--slurm", SLURM)]
COPY = "Write a copy of a config that comes with the package to NAME.yaml, to edit it."
CopyConfig = Annotated[str | None, option("--copy-config", "NAME", COPY, autocompletion=complete_config)]


@app.command(cls=ConfigCommand)
def train(  # noqa: PLR0913, PLR0917 - an option each
    arguments: Arguments = None,
    config: ConfigFile = None,
    run_dir: RunDir = None,
    device: Device = None,
    seed: Seed = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    processes: Processes = None,
    resume: Resume = None,
    take_over: TakeOver = False,
    on_interrupt: OnInterrupt = "stop",
    check: Check = False,
    show_batch: ShowBatch = None,
    find_lr: FindLr = False,
    slurm: Slurm = False,
    quiet: Quiet = False,
    copy_config: CopyConfig = None,
    completion: Completion = None,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Train a model for handwritten digits from a YAML file, evaluate it, and write everything to runs/.

    Without CONFIG the configs that come with the package are listed.
    """
    with left_together(), handle_errors(debug), joined(processes):
        source, overrides = find_config(arguments, config)
        options = {"config": config, "run-dir": run_dir, "seed": seed, "seeds": seeds, "show-batch": show_batch}
        flags = {"check": check, "find-lr": find_lr, "slurm": slurm, "on-interrupt": on_interrupt != "stop"}
        _check_options({**options, **flags, "take-over": take_over}, processes, resume)
        if copy_config is not None:
            _copy_config(copy_config)
        elif (run := resume or restarted_run(run_dir)) is not None:
            changes = [*(arguments or []), *([] if device is None else [f"device={device}"])] if resume else []
            start_processes(processes)
            _resume(run, changes, jobs, take_over or resume is None, on_interrupt, quiet)
        elif source is None:
            _list_configs(overrides)
        else:
            series = _read_series(seeds, jobs, seed, on_interrupt, overrides)
            keys = [f"{key}={value}" for key, value in (("device", device), ("seed", seed)) if value is not None]
            loaded = _load_config(source, overrides, keys)
            if slurm:
                print_train_script([source, *overrides, *keys], loaded, series, jobs, processes, run_dir)
            elif check or show_batch is not None or find_lr:
                _inspect(loaded, run_dir, check, show_batch)
            else:
                start_processes(processes, loaded)
                _train(loaded, series, jobs, run_dir, on_interrupt, quiet)


def _check_options(options: Mapping[str, object], processes: int | None, resume: str | None) -> None:
    """Raise `UsageError` if some of the `options` that were given don't go together, or would have no effect."""
    given = [f"--{name}" for name, value in options.items() if value not in (None, False)]
    require({"--processes is how many processes train together: 1 or more.": processes is None or processes > 0})
    new = [name for name in given if name not in ("--take-over", "--on-interrupt")]
    require({f"--resume reads these settings from the run: leave {' and '.join(new)} out.": resume is None or not new})
    require({"--take-over goes with --resume.": resume is not None or "--take-over" not in given})
    for name, does in {"--show-batch": "draws", "--find-lr": "draws", "--slurm": "prints a script"}.items():
        allowed = [name, "--config", "--seed", *(("--run-dir", "--seeds") if name == "--slurm" else ())]
        others = [other for other in given if other not in allowed]
        rule = f"{name} {does} and trains nothing: leave {' and '.join(others)} out."
        require({rule: name not in given or not others})
    alone = [name for name in given if name in ("--seeds", "--check", "--show-batch", "--find-lr")]
    several = max(processes or 1, world_size()) > 1 and "--slurm" not in given  # a job for each seed
    require({f"Several processes train a single run: leave {' and '.join(alone)} out.": not (several and alone)})


def _list_configs(overrides: Sequence[str]) -> None:
    """Print the configs that come with the package."""
    from mnist_trainer.config.shipped import shipped

    list_shipped(shipped(), CONFIGS, "mnist-train quickstart", overrides)


def _read_series(
    seeds: str | None, jobs: int | None, seed: str | None, on_interrupt: str, overrides: Sequence[str]
) -> tuple[int, ...] | None:
    """Return the seeds of a series, or None for a single run. Raises `UsageError` for conflicting options."""
    from mnist_trainer.seeds import parse_seeds

    if seeds is None:
        require({"--jobs is how many runs of a series are trained at a time; it needs --seeds.": jobs is None})
        return None
    given = [override for override in overrides if override.partition("=")[0].strip() == "seed"]
    given += [] if seed is None else ["--seed"]
    require({f"--seeds names the seeds of a series; leave {' and '.join(given)} out.": not given})
    alone = "--on-interrupt is for a single run. A stopped series keeps its finished runs and can be resumed."
    require({alone: on_interrupt == "stop"})
    return parse_seeds(seeds)


def _load_config(source: str, overrides: Sequence[str], keys: Sequence[str]) -> Config:
    """Return the config with the `overrides`, and with the `keys` that options set: `["seed=3"]`."""
    from mnist_trainer.config.load import load_config

    with agreed_if_together(), problems_at_options(overrides, [key.partition("=")[0] for key in keys]):
        return load_config(source, [*overrides, *keys])


def _inspect(config: Config, run_dir: Path | None, check: bool, show_batch: Path | None) -> None:
    """Do what `--check`, `--show-batch` or `--find-lr` asks for, instead of a training."""
    if check:
        _show_plan(config, run_dir)
    elif show_batch is not None:
        _show_batch(config, show_batch)
    else:
        _find_lr(config)


def _train(
    config: Config,
    series: tuple[int, ...] | None,
    jobs: int | None,
    run_dir: Path | None,
    on_interrupt: str,
    quiet: bool,
) -> None:
    """Train a run, or a series of runs with the seeds `series`."""
    if series is not None:
        _train_series(config, series, jobs, run_dir, quiet)
        return
    from mnist_trainer.reports.canvas import plot_process

    is_wanted = config.report.plots or config.report.gallery
    with plot_process(is_wanted):  # first, so that it loads at the same time as torch
        from mnist_trainer.pipeline import train as pipeline

        with open_console(quiet, on_interrupt=on_interrupt) as console:
            pipeline.train(config, run_dir=run_dir, callback=console)


def _train_series(config: Config, seeds: tuple[int, ...], jobs: int | None, run_dir: Path | None, quiet: bool) -> None:
    from mnist_trainer.studies.seed_series import train_seeds

    with open_console(quiet) as console:
        train_seeds(config, seeds, jobs=jobs, run_dir=run_dir, callback=console).raise_failures()


def _resume(
    name: str, overrides: Sequence[str], jobs: int | None, take_over: bool, on_interrupt: str, quiet: bool
) -> None:
    """Continue the run, or the series of runs, called `name`."""
    from mnist_trainer.pipeline.resume import find_run
    from mnist_trainer.storage.run_folder import is_series
    from mnist_trainer.training.distributed import from_first

    folder = from_first(lambda: find_run(name).path)  # latest is another one once the first process has locked it
    if is_series(folder):
        alone = f"{folder} is a series of runs: leave --take-over and --on-interrupt out."
        require({alone: not take_over and on_interrupt == "stop"})
        require({f"{folder} is a series of runs, and several processes train a single one.": world_size() == 1})
        from mnist_trainer.studies.seed_series import resume_seeds

        with open_console(quiet) as console:
            resume_seeds(folder, *overrides, jobs=jobs, callback=console).raise_failures()
        return
    require({"--jobs is how many runs of a series are trained at a time.": jobs is None})
    from mnist_trainer.pipeline import train as pipeline

    with open_console(quiet, on_interrupt=on_interrupt) as console:
        pipeline.resume(folder, *overrides, take_over=take_over, callback=console)


def _show_plan(config: Config, run_dir: Path | None) -> None:
    """Print the layers, the memory needed, and warnings."""
    from mnist_trainer.model.device import human_bytes, skipped_device
    from mnist_trainer.pipeline.plan import plan
    from mnist_trainer.pipeline.preparation import config_warnings
    from mnist_trainer.reports.text import layer_lines
    from mnist_trainer.storage.run_folder import check_not_file

    check_not_file(run_dir)
    planned = plan(config)
    needed = planned.footprint
    lines = [
        f"{'layer':<36}{'output':<20}{'parameters':>12}",
        *layer_lines(planned.layers),
        f"\n{needed.parameters:,} parameters; besides torch itself, training needs at least",
        f"{human_bytes(needed.total)} on {planned.device}:",
        f"{human_bytes(needed.weights)} for weights, gradients, optimizer and best epoch,",
        f"{human_bytes(needed.activations)} for the outputs of the layers for a batch of {config.micro_batch}.",
        *planned.notes,
    ]
    print("\n".join(lines))
    if reason := skipped_device(config.device):
        print(f"warning: device: {reason}", file=sys.stderr)
    for key, reason in config_warnings(config):
        print_safe(f"warning: {key}: {reason}", err=True)


def _show_batch(config: Config, file: Path) -> None:
    """Write a PNG of the first training batch."""
    from mnist_trainer.files import make_folder, write_bytes
    from mnist_trainer.pipeline.plan import first_batch

    png = first_batch(config)
    make_folder(file.parent)
    write_bytes(file, png)
    print(f"The first batch of {config.name} is drawn in {file}; nothing was trained.")


def _find_lr(config: Config) -> None:
    """Run the learning rate range test, write its plot below `runs/`, and print the override to use."""
    from mnist_trainer.files import make_folder, write_bytes
    from mnist_trainer.pipeline.plan import LR_SEEDS, find_lr
    from mnist_trainer.storage.run_folder import LR_RANGES
    from mnist_trainer.training.lr_finder import HIGHEST, LOWEST, MIN_FALL

    found, png = find_lr(config)
    make_folder(LR_RANGES)
    file = LR_RANGES / f"{config.name}.png"
    write_bytes(file, png)
    diverges = "does not diverge" if found.diverges is None else f"diverges at {found.diverges:.2g}"
    print(f"{LR_SEEDS} seeds, {len(found.lrs)} steps each, with learning rates from {LOWEST:g} to {HIGHEST:g}.")
    if found.suggestion is None:
        print(f"No learning rate is proposed: the loss falls by less than {100 * MIN_FALL:g} %, and {diverges}.")
    else:
        print(f"The loss falls well from {found.low:.2g} to {found.high:.2g}, and {diverges}.")
        print(f"Try optimizer.lr={found.suggestion:g} (the config has {config.optimizer.lr:g}).")
    print_safe(f"The losses are drawn in {file}; nothing was trained.")


def _copy_config(name: str) -> None:
    """Write a copy of a shipped config to the working folder."""
    from mnist_trainer.config.messages import nearest
    from mnist_trainer.config.shipped import shipped, shipped_path
    from mnist_trainer.files import write_text

    if name not in shipped():
        near = nearest(name, shipped())
        hint = f"Did you mean {near}?" if near else "mnist-train lists those that do."
        raise UsageError(f"No config called {name} comes with the package. {hint}")
    source, target = shipped_path(name), Path(f"{name}.yaml")
    if os.path.lexists(target):
        raise UsageError(f"{target} already exists, and is not overwritten. Rename it, or copy in another folder.")
    schema = source.with_name("schema.json").as_uri()  # else editors look for it in the folder of the copy
    write_text(target, source.read_text(encoding="utf-8").replace("$schema=schema.json", f"$schema={schema}", 1))
    print_safe(f"Written to {target}. Edit it, then train it: mnist-train {target}")
