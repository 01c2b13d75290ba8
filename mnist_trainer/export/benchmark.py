"""Measure exported files: their size, start, speed and answers, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.errors import CheckpointError
from mnist_trainer.export.source import ExportSource
from mnist_trainer.files import write_bytes
from mnist_trainer.inference.metrics import compare_predictions

MAX_IMAGES = 10_000

Export = Callable[[ExportSource, Path], tuple[dict[Path, bytes], float]]

LOADERS = {
    "checkpoint": """
import torch
from dataclasses import replace
from pathlib import Path
from mnist_trainer.storage.checkpoint import combine, load_checkpoint
torch.set_num_threads(threads)
loaded = {path: load_checkpoint(Path(path)) for path in paths}
whole = combine(loaded) if len(loaded) > 1 else loaded[paths[0]]
members = [replace(member, spec=replace(member.spec, precision="float32")) for member in whole.members]
predictor = replace(whole, members=tuple(members)).predictor(torch.device("cpu"))
run = lambda images: predictor.read(torch.from_numpy(images))[0].numpy()
""",
    "onnx": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(paths[0], options, providers=["CPUExecutionProvider"])
run = lambda images: session.run(["probabilities"], {"images": images})[0]
""",
    "pt2": """
import torch
torch.set_num_threads(threads)
program = torch.export.load(paths[0]).module()
run = lambda images: program(torch.from_numpy(images))[0].numpy()
""",
    "state_dict": """
import runpy, torch
torch.set_num_threads(threads)
script = runpy.run_path(paths[1])
state = torch.load(paths[0], weights_only=True)
script["model"].load_state_dict(script["unpack_state"](state, script["model"]) if "unpack_state" in script else state)
torch.set_grad_enabled(False)
run = lambda images: script["classify"](torch.from_numpy(images))[0].numpy()
""",
    "keras": """
import os
os.environ.update(KERAS_BACKEND="torch", TF_CPP_MIN_LOG_LEVEL="3")
import keras, torch
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
keras.device("cpu").__enter__()
twin = keras.saving.load_model(paths[0])
def run(images):
    outputs = twin(images, training=False)
    return keras.ops.convert_to_numpy(outputs[0] if isinstance(outputs, (list, tuple)) else outputs)
""",
    "hub": """
import os, torch
torch.set_num_threads(threads)
os.chdir(os.path.dirname(paths[0]))
card = {}
exec(open("README.md", encoding="utf-8").read().split("```python")[1].split("```")[0], card)
torch.set_grad_enabled(False)
run = lambda images: card["classify"](torch.from_numpy(images))[0].numpy()
""",
}
"""The code that loads each format, from `paths`, and defines `run`: images [B, 28, 28] to probabilities [B, K]."""

PROCESS = """
import json, sys, time
import numpy as np
begin, paths, threads, loader, folder = json.loads(sys.argv[1])
images = np.fromfile(folder + "/images.bin", np.uint8).reshape(-1, 28, 28)
exec(loader)
run(images[:1])
start = time.time() - begin
batches = [images[first : first + 1000] for first in range(0, len(images), 1000)]

def seconds(work):
    before = time.perf_counter()
    work()
    return time.perf_counter() - before

one = sorted(seconds(lambda: run(images[:1])) for _ in range(100))[50]
every = min(seconds(lambda: [run(batch) for batch in batches]) for _ in range(3))
np.save(folder + "/probabilities.npy", np.concatenate([run(batch) for batch in batches]))
print(json.dumps([start, one, every]))
"""


@dataclass(frozen=True)
class Measurement:
    """A file: its size, and what was measured in a process that loads it with the libraries of its format alone."""

    name: str
    num_bytes: int
    start: float
    """Seconds from the start of the process to its first answer."""
    one_image: float
    """Seconds, median of 100."""
    all_images: float
    """Seconds for `num_images` in batches of 1,000, the best of 3."""
    num_images: int
    probabilities: Tensor
    """[N, K], float64."""
    labels: Tensor
    """[N]; empty if the images have other classes than the model."""

    @property
    def errors(self) -> int | None:
        """The number of wrong predictions; None without labels."""
        return int((~self.correct).sum()) if len(self.labels) else None

    @property
    def correct(self) -> Tensor:
        """Where the prediction is right, bool [N]."""
        return self.probabilities.argmax(dim=1) == self.labels

    def difference(self, other: Measurement) -> float:
        """Return the largest difference between two probabilities of the same image and class."""
        return float((self.probabilities - other.probabilities).abs().max())

    def p_value(self, other: Measurement) -> float | None:
        """Return McNemar's p-value against another file; None without labels."""
        return compare_predictions(self.correct, other.correct).p if len(self.labels) else None


def measure_files(name: str, loader: str, paths: Sequence[Path], source: ExportSource) -> Measurement:
    """Measure the files of one model, on its first 10,000 images. Raises `CheckpointError` if they can't be run."""
    batches = islice(ordered_loader(source.images, 1000), MAX_IMAGES // 1000)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with TemporaryDirectory() as folder:
        write_bytes(Path(folder) / "images.bin", images.numpy().tobytes())
        arguments = [[str(path.absolute()) for path in paths], torch.get_num_threads(), LOADERS[loader], folder]
        start, one, every = _run_process(arguments)
        probabilities = torch.from_numpy(np.load(Path(folder) / "probabilities.npy")).double()
    size = sum(path.stat().st_size for path in paths)
    return Measurement(
        name, size, start, one, every, len(images), probabilities, labels if source.has_own_images else labels[:0]
    )


def _run_process(arguments: list[Any]) -> list[float]:
    """Return the seconds that a fresh process measured."""
    text = json.dumps([time.time(), *arguments])
    done = subprocess.run([sys.executable, "-c", PROCESS, text], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CheckpointError(f"The exported file can't be run in a process of its own ({lines[-1]}).")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def measure_export(name: str, loader: str, files: dict[Path, bytes], source: ExportSource) -> Measurement:
    """Measure the content of files before they are written, in a temporary folder."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / path.name for path in files]
        for path, content in zip(paths, files.values(), strict=True):
            write_bytes(path, content)
        return measure_files(name, loader, paths, source)


def measure_format(name: str, export: Export, ending: str, source: ExportSource) -> Measurement:
    """Export to a temporary file, so that nothing in the working folder is in the way, and measure it."""
    with TemporaryDirectory() as folder:
        files, _ = export(source, Path(folder) / f"model{ending}")
    return measure_export(name, name, files, source)


def measurement_rows(measured: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of a table, in which each file is compared with the first one."""
    first = measured[0]
    heads = [
        "",
        "bytes",
        "start",
        "one image",
        f"{first.num_images:,} images",
        "largest difference",
        "errors",
        "McNemar's p",
    ]
    return heads, [
        [
            each.name,
            f"{each.num_bytes:,}",
            f"{each.start:.2f} s",
            f"{1000 * each.one_image:.2f} ms",
            f"{1000 * each.all_images:.0f} ms",
            "-" if each is first else f"{each.difference(first):.1e}",
            "-" if each.errors is None else f"{each.errors:,}",
            "-" if each is first or (p := each.p_value(first)) is None else f"{p:.2g}",
        ]
        for each in measured
    ]


SLOWER = 1.1
"""A file is called slower above this ratio of times; less is within the noise."""


def drawbacks(measured: Sequence[Measurement]) -> list[str]:
    """Return a sentence for each way in which the last file is worse: larger than another, or slower than the first."""
    *others, file = measured
    first = others[0]
    found = [
        f"{file.name}: not smaller than {other.name}, {file.num_bytes / other.num_bytes:.2f} × the bytes"
        for other in others
        if file.num_bytes >= other.num_bytes
    ]
    times = {
        "to start": (file.start, first.start),
        "for one image": (file.one_image, first.one_image),
        f"for {first.num_images:,} images": (file.all_images, first.all_images),
    }
    slower = [f"{own / other:.2f} × the time {what}" for what, (own, other) in times.items() if own > SLOWER * other]
    return [*found, f"{file.name}: slower, {', '.join(slower)}"] if slower else found
