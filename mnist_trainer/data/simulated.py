"""`data.simulate`: images that are made from those of a data set, before training.

Each is drawn by random numbers of its own, so that none depends on the others, on their order or on who makes them.
Large sets are shared out among processes, and kept in a file for the next start.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.schema import Data
from mnist_trainer.data.decoded import IMAGE, KEPT, make_once, program
from mnist_trainer.data.download import Progress
from mnist_trainer.data.mapped import Images, images_of
from mnist_trainer.data.places import data_root, homes
from mnist_trainer.data.source import Source
from mnist_trainer.seeds import seed_for

if TYPE_CHECKING:
    from mnist_trainer.simulator.make import Kind

PIECE = 200
"""Images that a process makes before it ends: some seconds of work."""

NEIGHBOURS = 3
"""Digits that may stand beside the one of a photograph."""

POOL = 8
"""Digits from which one image of no digit is made."""


def with_photographs(source: Source, data: Data, progress: Progress | None = None) -> Source:
    """`source` followed by as many photographs of its images as `data.simulate` says, evenly from all of it.

    Their `indices` are those of the images on them.
    """
    count = round(data.simulate.photographs * len(source))
    if not count:
        return source
    positions = np.arange(count) * len(source) // count
    copies = np.arange(count) - np.searchsorted(positions, positions)
    shown = source.subset(torch.from_numpy(positions))
    addresses = zip(shown.indices.tolist(), copies.tolist(), strict=True)
    seeds = np.array([seed_for(data.split_seed, "photographs", *address) for address in addresses])
    company = np.stack([np.random.default_rng(seed).integers(len(source), size=NEIGHBOURS) for seed in seeds])
    several = np.concatenate([positions[:, None], company], axis=1)
    images = _made(_Order("photographs", source, several, seeds), data, progress)
    return source.followed_by(Source(images, shown.labels, shown.indices))


def non_digits(source: Source, data: Data, label: int, progress: Progress | None = None) -> Source:
    """As many images of no digit as `data.simulate` says, all with `label`, made from pieces of those of `source`."""
    count = round(data.simulate.non_digits * len(source))
    if not count:
        return source.subset(torch.empty(0, dtype=torch.int64))
    seeds = np.array([seed_for(data.split_seed, "non_digits", number) for number in range(count)])
    positions = np.stack([np.random.default_rng(seed).integers(len(source), size=POOL) for seed in seeds])
    images = _made(_Order("non_digits", source, positions, seeds), data, progress)
    return Source(images, torch.full((count,), label), torch.full((count,), -1))


@dataclass(frozen=True, eq=False)
class _Order:
    """What to make: an image for each of `seeds` [n] from the images of `source` at `positions` [n, m]."""

    kind: Kind
    source: Source
    positions: NDArray[np.int64]
    seeds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def mark(self) -> str:
        """Another one for every other order."""
        images = blake2b()
        for piece in self.source.images.split(PIECE):
            images.update(piece.numpy().data)
        others = (blake2b(part.data).digest() for part in (self.source.labels.numpy(), self.positions, self.seeds))
        return blake2b(b"".join((images.digest(), *others)), digest_size=8).hexdigest()

    def pieces(self) -> Iterator[tuple[Kind, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
        """The arguments of `make_images`, some images at a time."""
        for start in range(0, len(self), PIECE):
            positions = self.positions[start : start + PIECE]
            images, labels = self.source.gather(torch.from_numpy(positions.reshape(-1)))
            digits = images.reshape(*positions.shape, *images.shape[1:]).numpy()
            first = labels.reshape(positions.shape)[:, 0].numpy()
            yield self.kind, digits, first, self.seeds[start : start + PIECE]


def _made(order: _Order, data: Data, progress: Progress | None) -> Images:
    """The images of `order` [n, 28, 28]: those that were kept, or new ones, which are then kept."""
    if len(order) < KEPT:
        return torch.from_numpy(np.concatenate([*_work(order)]))
    places, name = homes(data_root(data), "simulated"), f"{order.kind}-{order.mark}.decoded"
    return images_of(make_once(places, name, program(), lambda: _told(order, progress), order.seeds)[0])


def _told(order: _Order, progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """What `_work` gives; `progress` hears how far it is."""
    done = 0
    for images in _work(order):
        yield images
        done += len(images)
        if progress is not None:
            progress(f"making {order.kind}", done * IMAGE, len(order) * IMAGE)


def _work(order: _Order) -> Iterator[NDArray[np.uint8]]:
    """The images of each piece of `order`, in their order; by as many processes as torch has threads here."""
    from mnist_trainer.simulator.make import make_images

    workers = min(torch.get_num_threads(), -(-len(order) // PIECE))
    if workers == 1:
        yield from starmap(make_images, order.pieces())
        return
    # Threads would wait for each other, and multiprocessing would run a user's own script again in every process.
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(_elsewhere, order.pieces())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _elsewhere(piece: tuple[Any, ...]) -> NDArray[np.uint8]:
    """What `make_images` gives, from a process that does nothing else."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "mnist_trainer.simulator.make"]
    done = subprocess.run(command, input=pickle.dumps(piece), capture_output=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"drawing pictures ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    images: NDArray[np.uint8] = pickle.loads(done.stdout)
    return images
