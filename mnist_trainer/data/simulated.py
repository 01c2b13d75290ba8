"""Make simulated images from those of a data set before training (`data.simulate`).

Each image has a separate random seed, so that it does not depend on other images, on their order or on the process.
Large sets are made by several processes and cached in a file.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import starmap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.schema import ROW_DIGITS, Data
from mnist_trainer.data.cache import IMAGE_BYTES, code_fingerprint, load_or_make
from mnist_trainer.data.image_dataset import ImageDataset, Images, as_images
from mnist_trainer.data.paths import Progress, cache_dirs, data_root
from mnist_trainer.seeds import seed_for

if TYPE_CHECKING:
    from mnist_trainer.simulator.make import Kind

TestKind = Literal["test_photographs", "test_non_digits"]

CHUNK_SIZE = 200
"""Number of images that a process makes at a time, which takes some seconds."""

NEIGHBOURS = 3
"""Number of digits that may be next to the digit on a photograph."""

POOL = 8
"""Number of digits from which a non-digit is made."""


def with_photographs(dataset: ImageDataset, data: Data, progress: Progress | None = None) -> ImageDataset:
    """Return `dataset` followed by the photographs that `data.simulate` requests, evenly spread over its images.

    Their `indices` are those of the photographed images.
    """
    count = round(data.simulate.photographs * len(dataset))
    if not count:
        return dataset
    positions = np.arange(count) * len(dataset) // count
    copies = np.arange(count) - np.searchsorted(positions, positions)
    shown = dataset.subset(torch.from_numpy(positions))
    addresses = zip(shown.indices.tolist(), copies.tolist(), strict=True)
    seeds = np.array([seed_for(data.split_seed, "photographs", *address) for address in addresses])
    company = np.stack([np.random.default_rng(seed).integers(len(dataset), size=NEIGHBOURS) for seed in seeds])
    several = np.concatenate([positions[:, None], company], axis=1)
    images = _make(_Job("photographs", dataset, several, seeds), data, progress)
    return dataset.followed_by(ImageDataset(images, shown.labels, shown.indices))


def row_windows(dataset: ImageDataset, data: Data, label: int, progress: Progress | None = None) -> ImageDataset:
    """Return the windows of rows that `data.simulate` requests, with digits of `dataset` drawn at random.

    One half has a digit in the middle, the other none, which is shown by the label `label`.
    """
    count = round(data.simulate.rows * len(dataset) / ROW_DIGITS)
    if not count:
        return dataset.subset(torch.empty(0, dtype=torch.int64))
    seeds = np.array([seed_for(data.split_seed, "rows", number) for number in range(count)])
    positions = np.stack([np.random.default_rng(seed).integers(len(dataset), size=ROW_DIGITS) for seed in seeds])
    images = _make(_Job("rows", dataset, positions, seeds), data, progress)
    shown = [values[torch.from_numpy(positions)] for values in (dataset.labels, dataset.indices)]
    others = [torch.full_like(shown[0], value) for value in (label, -1)]
    labels, indices = (torch.stack(pair, dim=1).flatten() for pair in zip(shown, others, strict=True))
    return ImageDataset(images, labels, indices)


def non_digits(
    dataset: ImageDataset, data: Data, label: int, progress: Progress | None = None, copy: int = 0
) -> ImageDataset:
    """Return the non-digits that `data.simulate` requests, all with `label`, made from images of `dataset`.

    Another `copy` has other letters and scribbles.
    """
    count = round(data.simulate.non_digits * len(dataset))
    if not count:
        return dataset.subset(torch.empty(0, dtype=torch.int64))
    seeds = np.array([seed_for(data.split_seed, "non_digits", number, copy) for number in range(count)])
    positions = np.stack([np.random.default_rng(seed).integers(len(dataset), size=POOL) for seed in seeds])
    images = _make(_Job("non_digits", dataset, positions, seeds), data, progress)
    return ImageDataset(images, torch.full((count,), label), torch.full((count,), -1))


def test_images(
    kind: TestKind, dataset: ImageDataset, data: Data, count: int, progress: Progress | None = None
) -> tuple[ImageDataset, tuple[str, ...]]:
    """Return images for tests of a trained model: `count` of all kinds of photographs or non-digits in turn, and the
    kind of each.

    They are read from pictures as by `mnist-predict`, legible or not, and black if nothing is read. `indices` are those
    of the photographed images of `dataset`, which are evenly spread.
    """
    kinds, numbers = test_kinds(kind), np.arange(count)
    positions = numbers * len(dataset) // count
    seeds = np.array([seed_for(0, kind, number) for number in range(count)])
    pools = np.stack([np.random.default_rng(seed).integers(len(dataset), size=POOL) for seed in seeds])
    pools[:, 0] = positions
    seeds += numbers % len(kinds) - seeds % len(kinds)
    images = _make(_Job(kind, dataset, pools, seeds), data, progress)
    shown = dataset.subset(torch.from_numpy(positions))
    return replace(shown, images=images), tuple(kinds[number % len(kinds)] for number in range(count))


def test_kinds(kind: TestKind) -> tuple[str, ...]:
    """Return the kinds of pictures; the remainder of a seed divided by their number is the position of its kind."""
    from mnist_trainer.simulator.non_digits import NON_DIGITS
    from mnist_trainer.simulator.photographs import KINDS

    return KINDS if kind == "test_photographs" else NON_DIGITS


def _make_tests(
    kind: TestKind, digits: NDArray[np.uint8], labels: NDArray[np.int64], seeds: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the images [N, 28, 28] of `test_images`, as `make_images` returns those for training."""
    from mnist_trainer.pictures.read import read_single
    from mnist_trainer.simulator.non_digits import non_digit
    from mnist_trainer.simulator.photographs import photograph

    images, kinds = np.zeros_like(digits[:, 0]), test_kinds(kind)
    for image, own, label, seed in zip(images, digits, labels[:, 0].tolist(), seeds.tolist(), strict=True):
        rng, name = np.random.default_rng(seed), kinds[seed % len(kinds)]
        is_digit = kind == "test_photographs"
        glyph = read_single(photograph(own[0], rng, name, label=label)[0] if is_digit else non_digit(rng, own, name))
        image[:] = 0 if glyph is None else glyph
    return images


@dataclass(frozen=True, eq=False)
class _Job:
    """A job: make one image for each of `seeds` [n], from the images of `dataset` at `positions` [n, m]."""

    kind: Kind | TestKind
    dataset: ImageDataset
    positions: NDArray[np.int64]
    seeds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def images_per_seed(self) -> int:
        """The number of images for each seed: those of rows show each digit and as many others."""
        return 2 * self.positions.shape[1] if self.kind == "rows" else 1

    @property
    def fingerprint(self) -> str:
        """A hash of the whole job."""
        images = blake2b()
        for chunk in self.dataset.images.split(CHUNK_SIZE):
            images.update(chunk.numpy().data)
        others = (blake2b(part.data).digest() for part in (self.dataset.labels.numpy(), self.positions, self.seeds))
        return blake2b(b"".join((images.digest(), *others)), digest_size=8).hexdigest()

    def chunks(self) -> Iterator[tuple[Any, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the arguments of `make_images` for one chunk of images after the other."""
        for start in range(0, len(self), CHUNK_SIZE):
            positions = self.positions[start : start + CHUNK_SIZE]
            images, labels = self.dataset.gather(torch.from_numpy(positions.reshape(-1)))
            digits = images.reshape(*positions.shape, *images.shape[1:]).numpy()
            shown = labels.reshape(positions.shape).numpy()
            yield self.kind, digits, shown, self.seeds[start : start + CHUNK_SIZE]


def _make(job: _Job, data: Data, progress: Progress | None) -> Images:
    """Return the images of `job` [n, 28, 28], from the cache if possible."""
    folders, name = cache_dirs(data_root(data), "simulated"), f"{job.kind}-{job.fingerprint}.npy"
    seeds = np.repeat(job.seeds, job.images_per_seed)
    images, _ = load_or_make(folders, name, code_fingerprint(), partial(_with_progress, job, progress), seeds)
    return as_images(images)


def _with_progress(job: _Job, progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the chunks of `_make_chunks`, and report the progress."""
    done = 0
    for images in _make_chunks(job):
        yield images
        done += len(images)
        if progress is not None:
            progress(f"making {job.kind}", done * IMAGE_BYTES, len(job) * job.images_per_seed * IMAGE_BYTES)


def _make_chunks(job: _Job) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of `job`, chunk after chunk, made by as many processes as torch has threads here.

    Those of `test_images` are made in this process.
    """
    from mnist_trainer.simulator.make import make_images

    if job.kind in ("test_photographs", "test_non_digits"):
        yield from starmap(_make_tests, job.chunks())
        return
    workers = min(torch.get_num_threads(), -(-len(job) // CHUNK_SIZE))
    if workers == 1:
        yield from starmap(make_images, job.chunks())
        return
    # Threads would block each other, and multiprocessing would import a user's script again in each process.
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(_make_in_subprocess, job.chunks())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_in_subprocess(chunk: tuple[Any, ...]) -> NDArray[np.uint8]:
    """Return the result of `make_images`, run in a separate process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "mnist_trainer.simulator.make"]
    done = subprocess.run(command, input=pickle.dumps(chunk), capture_output=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"drawing pictures ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    images: NDArray[np.uint8] = pickle.loads(done.stdout)
    return images
