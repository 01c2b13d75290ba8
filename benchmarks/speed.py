"""Measure time and memory of whole commands, and of other programs for the same task.

    python benchmarks/speed.py                           # all rows
    python benchmarks/speed.py epoch start --rounds 9    # these rows
    python benchmarks/speed.py --peers ~/peers/bin/python    # with scikit-learn's and PyTorch's own programs

The commands of a row alternate (A B C, A B C, …), each in a process of its own. A first round does not count. Ratios
are those of medians. All rows take about 10 minutes on 2 cores, with peers 20. On a busy machine compare CPU seconds.
Prints Markdown, and writes all values to `figures/speed-TIME.json`. Needs MNIST in MNIST_TRAINER_DATA. `--tiny` only
shows that every command works, on the digits of the package.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "peers"
TINY = ("data.name=digits", "data.limit=10", "data.validation=50", "training.epochs=2", "report.plots=false")
WRONG = "model: {architecture: mlp, hidden: [64]}\nloss: cross_entrophy\n"
IMPORT_TORCH = 'python -c "import torch"'


@dataclass(frozen=True)
class Measurement:
    """Time and memory of one process."""

    seconds: float
    cpu_seconds: float
    """Including child processes that have ended."""
    peak_mb: float
    """Peak resident memory of the process or of its largest child process, in 10⁶ bytes."""
    epoch_seconds: float | None = None
    """Median over its epochs, without the first one."""
    test_accuracy: float | None = None


@dataclass(frozen=True)
class Options:
    """The options of the command line, and a temporary folder."""

    folder: Path
    rounds: int
    tiny: bool
    peers: str | None


Run = Callable[[int], Measurement]


def python(code: str) -> list[str]:
    """Return the command for a Python process that runs `code`."""
    return [sys.executable, "-c", code]


def ours(command: str, *arguments: str) -> list[str]:
    """Return a command of this package, as its console script starts it."""
    return [*python(f"from mnist_trainer.cli.start import {command}; {command}()"), *arguments]


def spend(command: Sequence[str], expect: int = 0, env: Mapping[str, str] | None = None) -> tuple[Measurement, str]:
    """Run `command`. Return its measurement and its output. Raises RuntimeError if its exit code is not `expect`."""
    environment = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as output:  # a pipe would have to be read meanwhile
        started = perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=HERE.parent, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != expect:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}:\n{text[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Measurement(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6), text


def plain(*command: str, expect: int = 0) -> Run:
    """Return a run of a command without epochs."""
    return lambda _: spend(command, expect)[0]


def training(options: Options, config: str, *keys: str) -> Run:
    """Return a run of `mnist-train`. The number of the round is its seed."""

    def run(number: int) -> Measurement:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            place, tiny = Path(folder) / "run", TINY if options.tiny else ()
            arguments = ["--config", config, "--seed", str(number), "--run-dir", str(place), "--quiet", *keys, *tiny]
            spent, _ = spend(ours("train", *arguments))
            with (place / "metrics.csv").open(newline="") as file:
                epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
            accuracy = json.loads((place / "run.json").read_text())["test"]["accuracy"]
        return _with_epochs(spent, epochs, accuracy)

    return run


def peer(options: Options, name: str, epochs: int) -> dict[str, Run]:
    """Return a run of a program in `peers/`, by its name; nothing without `--peers`."""
    if options.peers is None or options.tiny:
        return {}
    command = [options.peers, str(PEERS / f"{name}.py"), str(epochs)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(_: int) -> Measurement:
        spent, text = spend(command, env=environment)
        summary = json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{")))
        return _with_epochs(spent, summary["epoch_seconds"], summary["test_accuracy"])

    return {f"{name}, {epochs} epochs": run}


def _with_epochs(spent: Measurement, epochs: list[float], accuracy: float) -> Measurement:
    later = statistics.median(epochs[1:]) if epochs[1:] else None
    return Measurement(spent.seconds, spent.cpu_seconds, spent.peak_mb, later, accuracy)


def epoch(options: Options) -> dict[str, Run]:
    """An epoch of the lecture's network, 784-64-64-64-10, Adam, batch 256."""
    keys = ("training.epochs=9", "report.plots=false", "report.gallery=false")
    return {
        "mnist-train --config lecture, 9 epochs": training(options, "lecture", *keys),
        **peer(options, "lecture", 2),
        **peer(options, "sklearn_lecture", 6),
    }


def lecture(options: Options) -> dict[str, Run]:
    """The lecture's training, whole process: two epochs and a test; mnist-train writes all files and plots."""
    return {
        "mnist-train --config lecture": training(options, "lecture"),
        IMPORT_TORCH: plain(*python("import torch")),
        **peer(options, "lecture", 2),
        **peer(options, "sklearn_lecture", 2),
    }


def fast(options: Options) -> dict[str, Run]:
    """99 % on the test images, whole process; two epochs of pytorch/examples."""
    return {
        "mnist-train --config fast": training(options, "fast"),
        IMPORT_TORCH: plain(*python("import torch")),
        **peer(options, "examples_mnist", 2),
    }


def deformed(options: Options) -> dict[str, Run]:
    """The cost of deformed images: a network with 12 million weights, three epochs."""
    keys = ("model.hidden=[3000,3000]", "training.epochs=3", "report.plots=false", "report.gallery=false")
    affine = "data.augment={rotate: 12, shear: 10, scale: 0.12, shift: 1, elastic: {alpha: 36, sigma: 6}}"
    return {
        "images as they are": training(options, "mlp", *keys),
        "affine and elastic deformation": training(options, "mlp", *keys, affine),
    }


def start(options: Options) -> dict[str, Run]:
    """The time before anything happens."""
    wrong = options.folder / "wrong.yaml"
    wrong.write_text(WRONG)
    return {
        "mnist-train --help": plain(*ours("train", "--help")),
        "a config error": plain(*ours("train", "--config", str(wrong)), expect=2),
        "python -c pass": plain(*python("pass")),
    }


def reading(options: Options) -> dict[str, Run]:
    """Evaluating and predicting, whole processes."""
    picture, run = options.folder / "digit.png", options.folder / "evaluated"
    draw = "from mnist_trainer.data.digits import load_digits; from PIL import Image; import sys; "
    spend([*python(f"{draw}Image.fromarray(load_digits('test').images[0].numpy()).save(sys.argv[1])"), str(picture)])
    tiny = TINY if options.tiny else ()
    spend(ours("train", "--config", "lecture", "--run-dir", str(run), "--quiet", "report.plots=false", *tiny))
    return {
        "mnist-predict, one file": plain(*ours("predict", str(picture))),
        "mnist-eval, lecture's best.pt": plain(*ours("evaluate", str(run / "best.pt"))),
        IMPORT_TORCH: plain(*python("import torch")),
    }


ROWS: dict[str, Callable[[Options], dict[str, Run]]] = {
    row.__name__: row for row in (epoch, lecture, fast, deformed, start, reading)
}


def alternate(runs: Mapping[str, Run], rounds: int, warm_up: bool = True) -> dict[str, list[Measurement]]:
    """Return the measurements of each of `runs`, which alternate. A first round is not counted."""
    results: dict[str, list[Measurement]] = {name: [] for name in runs}
    for number in range(-1 if warm_up else 0, rounds):
        for name, run in runs.items():
            measured = run(max(number, 0))
            if number >= 0:
                results[name].append(measured)
    return results


def table(results: Mapping[str, Sequence[Measurement]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: medians with their range, and the ratio to the first row."""
    yield "| whole process | s | CPU s | peak MB | ratio to the first | an epoch, s | test accuracy |"
    yield "|---|---|---|---|---|---|---|"
    first = statistics.median(each.seconds for each in next(iter(results.values())))
    for name, measured in results.items():
        seconds = [each.seconds for each in measured]
        median = statistics.median(seconds)
        cpu, peak = (statistics.median(getattr(each, key) for each in measured) for key in ("cpu_seconds", "peak_mb"))
        epochs, accuracies = (
            [value for each in measured if (value := getattr(each, key)) is not None]
            for key in ("epoch_seconds", "test_accuracy")
        )
        accuracy = f"{100 * statistics.mean(accuracies):.2f} %" if accuracies else ""
        an_epoch = f"{statistics.median(epochs):.2f}" if epochs else ""
        spread = f"{median:.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        yield f"| {name} | {spread} | {cpu:.2f} | {peak:.0f} | {median / first:.2f} | {an_epoch} | {accuracy} |"


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, versions, thread settings, load."""
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "settings": {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")},
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; without one, all")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds that count (%(default)s)")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="a Python interpreter that has scikit-learn, torch and torchvision"
    )
    parser.add_argument("--tiny", action="store_true", help="one round of short trainings; writes nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    found: dict[str, Any] = {"machine": machine(), "rows": {}}
    file = HERE / "figures" / f"speed-{datetime.now():%Y-%m-%d_%H-%M-%S}.json"
    for name in arguments.rows or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            rounds = 1 if arguments.tiny else arguments.rounds
            runs = ROWS[name](Options(Path(folder), rounds, arguments.tiny, arguments.peers))
            results = alternate(runs, rounds, warm_up=not arguments.tiny)
        print(f"### {ROWS[name].__doc__}\n\n" + "\n".join(table(results)) + "\n", flush=True)
        found["rows"][name] = {what: [asdict(each) for each in measured] for what, measured in results.items()}
        if not arguments.tiny:  # after each row, in case of an interruption
            file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
