"""Batch scripts for Slurm: `mnist-train --slurm` and `mnist-sweep --slurm` print one, to be submitted with `sbatch`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mnist_trainer.cli.common import print_safe, require
from mnist_trainer.errors import one_line

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Config
    from mnist_trainer.config.sweep import Sweep

CPUS = 4
"""CPU cores of a training in one process, unless the config says how many `threads` it has."""

WORKERS = 4
"""Jobs of a sweep, unless `--jobs` says how many."""

HEADER = """\
#!/bin/bash
# {command}
# Submit it with: sbatch FILE. Options of sbatch replace the lines below: sbatch --time=08:00:00 --partition=NAME FILE
#SBATCH --job-name={name}
#SBATCH --output=%x-{log}.log
#SBATCH --open-mode=append
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
"""

RESUME = """\
if [ -e "$run/config.yaml" ]; then # the job was put back into the queue
    command=(mnist-train --resume "$run" --take-over)
fi
"""

RANKS = """\
export MASTER_ADDR MASTER_PORT=$((20000 + ${SLURM_JOB_ID:-0} % 40000))
MASTER_ADDR=$(hostname)
# shellcheck disable=SC2016 # each process has its own values
command=(bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec "$@"' -- "${command[@]}")
"""
"""Makes each task of `srun` a process of one training."""

STEP = """\
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}" SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# Two minutes before the end of the time Slurm sends USR1 to this script, which passes it on. Then all is saved, and the
# job goes back into the queue.
stopped=
srun "${command[@]}" &
trap 'stopped=yes; kill -USR1 $!' USR1
wait $!
code=$?
if [ "$stopped" ]; then
    wait $!
    code=$?
    if [ "$code" -ne 0 ]; then scontrol requeue "$job"; fi
fi
exit "$code"
"""


def print_train_script(
    words: Sequence[str],
    config: Config,
    seeds: Sequence[int] | None,
    jobs: int | None,
    processes: int | None,
    run_dir: Path | None,
) -> None:
    """Print the script of a training: one job, or one for each of `seeds`, `jobs` of them at a time.

    `words` are the source of the config, its overrides and options.
    """
    from mnist_trainer.config.checks import check_divides

    count = processes or 1
    check_divides(config, count)
    folder = _start_of_folder(run_dir, config.name, is_array=seeds is not None)
    command = shlex.join(["mnist-train", *words])
    if seeds is not None:
        folder, command = f"{folder}/seed-$SLURM_ARRAY_TASK_ID", f'{command} --seed "$SLURM_ARRAY_TASK_ID"'
    lines = [_header(config.name, config, count, seeds, jobs), f"run={folder}\n"]
    lines += [f'command=({command} --run-dir "$run")\n', RESUME, RANKS if count > 1 else "", STEP]
    print_safe("".join(lines).rstrip())


def print_sweep_script(
    words: Sequence[str], sweep: Sweep, *, workers: int | None, storage: str | None, run_dir: Path | None
) -> None:
    """Print the script of a sweep: `workers` jobs that work on one study, in the PostgreSQL database `storage`.

    Without `storage`, the script takes its URL from the variable STORAGE.
    """
    is_shared = storage is None or storage.startswith("postgresql")
    require({"--slurm needs a database that all machines reach: --storage postgresql://USER@HOST/DB.": is_shared})
    password = None if storage is None else urlsplit(storage).password
    require({"Leave the password out of the script, and put it into ~/.pgpass or PGPASSWORD.": password is None})
    url = "${STORAGE:?set it to postgresql://USER@HOST/DATABASE}" if storage is None else shlex.quote(storage)
    folder = _start_of_folder(run_dir, f"{sweep.name}-sweep", is_array=True)
    command = shlex.join(["mnist-sweep", *words])
    lines = [_header(sweep.name, sweep.config({}), 1, range(workers or WORKERS), None), f"storage={url}\n"]
    lines += [f"run={folder}/worker-$SLURM_ARRAY_TASK_ID-${{SLURM_RESTART_COUNT:-0}}\n"]
    lines += [f'command=({command} --storage "$storage" --run-dir "$run")\n', STEP]
    print_safe("".join(lines).rstrip())


def _start_of_folder(run_dir: Path | None, name: str, is_array: bool) -> str:
    """Return, for the shell, the folder of all that a job or an array of jobs writes."""
    if run_dir is not None:
        return shlex.quote(str(run_dir))
    return f"{shlex.quote(f'runs/{name}')}-$SLURM_{'ARRAY_' if is_array else ''}JOB_ID"


def _header(name: str, config: Config, processes: int, tasks: Sequence[int] | None, jobs: int | None) -> str:
    """Return the first part of a script: the options of sbatch, and the name of the job."""
    command = one_line(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), sys.maxsize)
    lines = [HEADER.format(command=command, name=shlex.quote(name), log="%j" if tasks is None else "%A_%a")]
    if tasks is not None:
        is_range = len(tasks) > 1 and list(tasks) == list(range(len(tasks)))
        array = f"0-{len(tasks) - 1}" if is_range else ",".join(map(str, tasks))
        lines.append(f"#SBATCH --array={array}{f'%{jobs}' if jobs else ''}\n")
    cpus = config.threads or (CPUS if processes == 1 else 1)
    lines.append(f"#SBATCH --nodes=1\n#SBATCH --ntasks-per-node={processes}\n#SBATCH --cpus-per-task={cpus}\n")
    if config.device != "cpu":
        lines.append(f"#SBATCH --gpus-per-node={processes}\n")
    job = "$SLURM_JOB_ID" if tasks is None else "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    return "".join([*lines, f"\njob={job}\n"])
