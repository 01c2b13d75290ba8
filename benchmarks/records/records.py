"""Train the runs of plan.yaml, read the test set once for each complete record, compute the figures of docs/records.md.

    nice python benchmarks/records/records.py train [RECORD …] [--jobs 2] [--runs FOLDER]
    python benchmarks/records/records.py test RECORD …     # refused until all runs of the record are finished
    python benchmarks/records/records.py report [--check]
    python benchmarks/records/records.py pack RECORD …     # benchmarks/records/RECORD.pt, for mnist-predict

`train` skips finished runs and resumes interrupted ones, with one thread each unless the plan says more. It never reads
the test set. `test` stores the probabilities of each run for the 10,000 test images in answers/. `report` writes the
figures between the markers of docs/records.md, from these files alone; with --check it writes nothing, and exits with
code 1 if they differ. `pack` writes the first run of a record, or the whole ensemble, with weights in float16 if that
changes no answer to a training image (all runs are trained on all 60,000, so no others are left to choose by).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import ceil, floor
from pathlib import Path
from statistics import fmean, median, stdev
from time import perf_counter
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mnist_trainer.files import write_file, write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLAN, ANSWERS, PAGE = HERE / "plan.yaml", HERE / "answers", ROOT / "docs" / "records.md"
PICTURE = PAGE.with_name("records-shared.png")
BEGIN, END = "<!-- figures: benchmarks/records/records.py report -->\n", "<!-- end of figures -->\n"

SCALE = 65535
"""Probabilities are stored as multiples of 1 / 65535, in 16 bits."""


@dataclass(frozen=True)
class Record:
    """A record of the plan: runs of one config with several seeds, or an ensemble of runs of other records."""

    name: str
    config: str | None = None
    seeds: tuple[int, ...] = ()
    epochs: int | None = None
    threads: int = 1
    views: int = 1
    timed: bool = False
    """Whether the seconds of the whole command count: it runs alone, and starts again if it was interrupted."""
    permuted: bool = False
    """Whether all images have their pixels in another, random order."""
    members: dict[str, list[int]] = field(default_factory=dict)

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The record and the seed of each run."""
        if self.members:
            return [(name, seed) for name, seeds in self.members.items() for seed in seeds]
        return [(self.name, seed) for seed in self.seeds]


def load_plan() -> dict[str, Record]:
    """Return the records of the plan by name. Raises `ValueError` for a member that no record trains."""
    content = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    plan = {name: Record(name, **(keys | {"seeds": tuple(keys.get("seeds", ()))})) for name, keys in content.items()}
    known = {run for record in plan.values() if not record.members for run in record.runs}
    if unknown := [run for record in plan.values() for run in record.runs if run not in known]:
        raise ValueError(f"{PLAN}: no record trains {unknown}")
    return plan


def overrides(record: Record, seed: int, runs: Path) -> list[str]:
    """Return the keys that a run of the plan changes in its config."""
    changed = [f"seed={seed}", f"threads={record.threads}", "report.test=false"]
    changed += ["report.plots=false", "report.gallery=false"]
    if record.permuted:
        changed += ["data.name=folder", f"data.path={runs / 'permuted.npz'}"]
    return changed


def train(records: Sequence[Record], jobs: int, runs: Path) -> int:
    """Train all runs that are not finished, `jobs` at a time (timed ones alone). Return an exit code."""
    failed: list[int] = []

    def run(record: Record, seed: int) -> None:
        if not failed and (code := train_run(record, seed, runs)):
            failed.append(code)

    runs.mkdir(parents=True, exist_ok=True)
    if any(record.permuted for record in records):
        write_permuted(runs / "permuted.npz")
    for timed in (True, False):
        chosen = [(record, seed) for record in records if record.timed == timed for seed in record.seeds]
        with ThreadPoolExecutor(1 if timed else jobs) as pool:
            list(pool.map(run, *zip(*chosen, strict=True)) if chosen else ())
    return failed[0] if failed else 0


def train_run(record: Record, seed: int, runs: Path) -> int:
    """Train, or resume, one run. Return the exit code of its command."""
    folder = runs / f"{record.name}-{seed}"
    if run_facts(record, seed, runs):
        return 0
    if record.timed and folder.exists():
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "mnist_trainer", "train", "--quiet"]
    if is_resumed := (folder / "config.yaml").exists():  # without a last.pt it starts over
        command += ["--resume", str(folder)]
    else:
        command += ["--config", str(ROOT / str(record.config)), "--run-dir", str(folder)]
        command += overrides(record, seed, runs)
    print(f"{folder.name}: {'resumed' if is_resumed else 'started'}", flush=True)
    started = perf_counter()
    code = subprocess.run(command, check=False).returncode
    if record.timed and code == 0:
        write_text(folder / "command.json", json.dumps({"seconds": perf_counter() - started}))
    print(f"{folder.name}: {'finished' if code == 0 else f'ended with code {code}'}", flush=True)
    return code


def run_facts(record: Record, seed: int, runs: Path) -> dict[str, Any]:
    """Return the `run.json` of a finished run, with the seconds of its command if it is timed; else an empty dict."""
    path, command = (runs / f"{record.name}-{seed}" / name for name in ("run.json", "command.json"))
    if not path.exists() or (record.timed and not command.exists()):
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record.timed:
        facts["command_seconds"] = json.loads(command.read_text(encoding="utf-8"))["seconds"]
    return facts if facts["status"] == "finished" else {}


def unfinished(records: Sequence[Record], runs: Path) -> bool:
    """Return whether runs of `records` are not finished, and print which."""
    plan = load_plan()
    wanted = dict.fromkeys(run for record in records for run in record.runs)
    missing = [f"{name}-{seed}" for name, seed in wanted if not run_facts(plan[name], seed, runs)]
    if missing:
        print(f"These runs are not finished: {', '.join(missing)}")
    return bool(missing)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file, whole or not at all."""
    write_file(path, lambda stream: np.savez_compressed(stream, **arrays))


def write_permuted(path: Path) -> None:
    """Write MNIST with its pixels in a random order, the same for all images, as Keras's mnist.npz; once."""
    if path.exists():
        return
    from mnist_trainer.config.schema import Data
    from mnist_trainer.data.loaders import load

    order = np.random.default_rng(0).permutation(784)
    arrays = {}
    for part in ("train", "test"):
        dataset = load(Data(), part)
        flat = dataset.images.numpy().reshape(-1, 784)
        arrays[f"x_{part}"] = flat[:, order].reshape(-1, 28, 28)
        arrays[f"y_{part}"] = dataset.labels.numpy()
    save_arrays(path, arrays)


def test(records: Sequence[Record], runs: Path) -> int:
    """Store the test answers of complete records. Return an exit code."""
    if changed := git("status", "--porcelain", "--", str(PLAN), str(ROOT / "configs" / "records")):
        print(f"The plan and its configs must be committed before the test set is read:\n{changed}")
        return 2
    if unfinished(records, runs):
        return 2
    ANSWERS.mkdir(exist_ok=True)
    plan = load_plan()
    for name, seed in (run for record in records for run in record.runs):
        if not answers_path(name, seed).exists():
            store_answers(plan[name], seed, runs)
    return 0


def git(*arguments: str) -> str:
    """Return what a git command prints."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def plan_commit() -> str:
    """Return the commit that changed the plan last."""
    return git("log", "-1", "--format=%H", "--", str(PLAN))


def answers_path(name: str, seed: int) -> Path:
    """Return the file of the answers of a run."""
    return ANSWERS / f"{name}-{seed}.npz"


def store_answers(record: Record, seed: int, runs: Path) -> None:
    """Compute the probabilities of a run for all test images, and store them with what the run was."""
    from mnist_trainer.config.load import load_config
    from mnist_trainer.pipeline.evaluate import run_evaluation

    folder = runs / f"{record.name}-{seed}"
    planned = load_config(ROOT / str(record.config), overrides(record, seed, runs))
    if load_config(folder / "config.yaml") != planned:
        raise SystemExit(f"{folder} was not trained with {record.config} and the overrides of the plan.")
    predictions = run_evaluation(folder / "best.pt", split="test", views=record.views).predictions
    about = run_facts(record, seed, runs)
    kept = "epochs", "parameters", "precision", "threads", "versions", "git_commit", "command_seconds"
    facts = {key: about[key] for key in kept if key in about}
    facts |= {"training_seconds": about["timings"]["training_seconds"], "plan": plan_commit()}
    arrays = {
        "probabilities": np.round(predictions.probabilities.numpy() * SCALE).astype(np.uint16),
        "answers": predictions.predicted.numpy().astype(np.uint8),
        "labels": predictions.labels.numpy().astype(np.uint8),
        "facts": np.array(json.dumps(facts)),
    }
    save_arrays(answers_path(record.name, seed), arrays)


@dataclass(frozen=True)
class Answers:
    """The answers of a run, or of an ensemble, to all test images [N]."""

    answers: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which answers are wrong, bool [N]."""
        return self.answers != self.labels


def load_answers(record: Record) -> list[Answers]:
    """Return the stored answers of a record's runs, or of the ensemble; empty if a run has none yet."""
    paths = [answers_path(*run) for run in record.runs]
    if not all(path.exists() for path in paths):
        return []
    files = [dict(np.load(path, allow_pickle=False)) for path in paths]
    if record.members:
        total = sum(each["probabilities"].astype(np.uint32) for each in files)
        return [Answers(np.asarray(total).argmax(axis=1).astype(np.uint8), files[0]["labels"])]
    return [Answers(each["answers"], each["labels"], json.loads(str(each["facts"]))) for each in files]


def pack(records: Sequence[Record], runs: Path) -> int:
    """Write a checkpoint of each record beside this file. Return an exit code."""
    if unfinished(records, runs):
        return 2
    for record in records:
        path, members = HERE / f"{record.name}.pt", record.runs if record.members else record.runs[:1]
        changed = write_half(path, [runs / f"{name}-{seed}" / "best.pt" for name, seed in members])
        kind = f"float32, because float16 changes {changed} answers to training images" if changed else "float16"
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {kind}")
    return 0


def write_half(path: Path, checkpoints: Sequence[Path]) -> int:
    """Write a model or an ensemble in float16, or in float32 if answers to training images change. Return how many."""
    from mnist_trainer.pipeline.evaluate import run_evaluation
    from mnist_trainer.storage.checkpoint import combine, load_checkpoint, save_checkpoint

    loaded = {str(file): load_checkpoint(file) for file in checkpoints}
    whole = combine(loaded) if len(loaded) > 1 else loaded[str(checkpoints[0])]
    halves = [
        replace(each, weights={name: v.half() if v.is_floating_point() else v for name, v in each.weights.items()})
        for each in whole.members
    ]
    save_checkpoint(path, replace(whole, members=tuple(halves)))
    before, after = (run_evaluation(each, split="train").predictions.predicted for each in (checkpoints, path))
    if changed := int((before != after).sum()):
        save_checkpoint(path, whole)
    return changed


def interval_of_mean(errors: float, count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of an error rate; for a mean of several runs, the lower limit is that of the next
    smaller number of `errors`, and the upper limit that of the next larger."""
    from mnist_trainer.inference.metrics import exact_interval

    return exact_interval(floor(errors), count)[0], exact_interval(ceil(errors), count)[1]


def report() -> str:
    """Return the figures as Markdown, from the stored answers."""
    plan = load_plan()
    results = {name: load_answers(record) for name, record in plan.items()}
    lines = ["| record | runs | errors of each run | mean error | sd | another 10,000 images | training |"]
    lines += ["|---|---|---|---|---|---|---|", *(row(plan[name], runs) for name, runs in results.items())]
    done = {name: runs for name, runs in results.items() if runs}
    lines += ["", *compared(done), ""]
    if runs := [run for each in done.values() for run in each]:
        told = ", ".join(f"{image} ({label} → {answer})" for image, label, answer in shared_errors(runs))
        lines.append(f"Wrong in all {len(runs)} runs and ensembles (label → most frequent answer): {told or 'none'}.")
    return "\n".join(lines).strip() + "\n"


def row(record: Record, runs: list[Answers]) -> str:
    """Return the line of a record."""
    count = len(record.runs)
    kind = f"{count} {'member' if record.members else 'seed'}{'s' * (count > 1)}"
    if not runs:
        return f"| {record.name} | {kind}, not complete | | | | | |"
    errors, images = [int(run.wrong.sum()) for run in runs], len(runs[0].labels)
    mean = fmean(errors)
    low, high = interval_of_mean(mean, images)
    spread = f"{100 * stdev(errors) / images:.3f} %" if len(errors) > 1 else ""
    cells = [record.name, kind, ", ".join(map(str, errors)), f"{100 * mean / images:.3f} %", spread]
    return f"| {' | '.join(cells)} | {100 * low:.2f} to {100 * high:.2f} % | {cost(runs)} |"


def cost(runs: list[Answers]) -> str:
    """Return the median time of a run: of the whole command if it was measured, else of the training."""
    if not runs[0].facts:
        return ""
    key = "command_seconds" if "command_seconds" in runs[0].facts else "training_seconds"
    seconds = median(run.facts[key] for run in runs)
    return f"{seconds:.0f} s, whole command" if key == "command_seconds" else f"{seconds / 3600:.2f} h a run"


def compared(done: dict[str, list[Answers]]) -> Iterator[str]:
    """Yield a table of McNemar's test of the first runs of any two records."""
    from mnist_trainer.inference.metrics import mcnemar

    if len(done) > 1:
        yield "| first runs of | only the first is right | only the second is right | p (McNemar) |\n|---|---|---|---|"
    for (first, [a, *_]), (second, [b, *_]) in combinations(done.items(), 2):
        only_first, only_second = int((b.wrong & ~a.wrong).sum()), int((a.wrong & ~b.wrong).sum())
        yield f"| {first}, {second} | {only_first} | {only_second} | {mcnemar(only_first, only_second):.2g} |"


def shared_errors(runs: Sequence[Answers]) -> list[tuple[int, int, int]]:
    """Return the images to which all runs give a wrong answer, each with its label and the most frequent answer."""
    wrong = np.flatnonzero(np.all([run.wrong for run in runs], axis=0)).tolist() if runs else []
    return [
        (image, int(runs[0].labels[image]), int(np.bincount([run.answers[image] for run in runs]).argmax()))
        for image in wrong
    ]


def draw_shared() -> None:
    """Draw the images that all runs get wrong to docs/records-shared.png, 25 at most."""
    from mnist_trainer.config.schema import Data
    from mnist_trainer.data.loaders import load_test
    from mnist_trainer.reports.plots import mistakes

    runs = [run for record in load_plan().values() for run in load_answers(record)]
    if shared := shared_errors(runs):
        positions, labels, answers = map(list, zip(*shared, strict=True))
        texts = [list(map(str, each)) for each in (labels, answers)]
        title = f"Wrong in all {len(runs)} runs and ensembles: are these labels right?"
        images = load_test(Data()).images.numpy()[positions]
        PICTURE.write_bytes(mistakes(images, *texts, [None] * len(shared), title))


def write_report(check: bool) -> int:
    """Write the figures into docs/records.md, or compare them with what is there. Return an exit code."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = f"{before}{BEGIN}\n{report()}\n{END}{after}"
    if check:
        print("The figures are those of the stored answers." if new == page else "docs/records.md is out of date.")
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    draw_shared()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("train", "test", "report", "pack"))
    parser.add_argument("records", nargs="*", metavar="RECORD", help="names in plan.yaml; train: without one, all")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "records", help="folder of the runs")
    parser.add_argument("--check", action="store_true", help="with report: compare, and write nothing")
    arguments = parser.parse_args()
    plan, runs = load_plan(), arguments.runs.absolute()
    if unknown := [name for name in arguments.records if name not in plan]:
        parser.error(f"there is no record {', '.join(unknown)} in {PLAN.name}; it has {', '.join(plan)}")
    if arguments.command == "report":
        return write_report(arguments.check)
    if arguments.command != "train" and not arguments.records:
        parser.error("name the records")
    chosen = [plan[name] for name in arguments.records] or list(plan.values())
    if arguments.command != "train":
        return {"test": test, "pack": pack}[arguments.command](chosen, runs)
    try:
        return train(chosen, arguments.jobs, runs)
    except KeyboardInterrupt:  # the trainings were interrupted too, and have saved their state
        return 130


if __name__ == "__main__":
    sys.exit(main())
