"""Which training images are kept, and which of them validate."""

from __future__ import annotations

import torch
from torch import Tensor

from mnist_trainer.errors import DataError
from mnist_trainer.seeds import seed_for

DEFAULT_VALIDATION, MIN_FOR_DEFAULT = 5_000, 50_000
"""Validation images by default where there are `MIN_FOR_DEFAULT` images to train with; else a tenth."""


def first_of_each(labels: Tensor, limit: int) -> Tensor:
    """Positions [M], ascending, of the first `limit` images of each class in `labels` [N]."""
    return torch.cat([positions[:limit] for positions in by_class(labels)]).sort().values


def by_class(labels: Tensor) -> list[Tensor]:
    """For each class that occurs in `labels` [N], its positions, ascending."""
    return [torch.nonzero(labels == label).flatten() for label in range(int(labels.max()) + 1) if label in labels]


def stratified(labels: Tensor, wanted: int | float | None, seed: int) -> tuple[Tensor, Tensor]:
    """Positions, ascending, of the images to train with and of those to validate with.

    Exactly as many as `wanted` says (a number, a share, None for the default) are drawn by `seed` from `labels` [N],
    each class in proportion. Raises DataError when a class would have none left to train with.
    """
    classes = by_class(labels)
    sizes = list(map(len, classes))
    generator = torch.Generator().manual_seed(seed_for(seed, "split"))
    validates = torch.zeros(len(labels), dtype=torch.bool)
    for positions, share in zip(classes, shares(sizes, validation_count(wanted, sizes)), strict=True):
        validates[positions[torch.randperm(len(positions), generator=generator)[:share]]] = True
    return torch.nonzero(~validates).flatten(), torch.nonzero(validates).flatten()


def validation_count(wanted: int | float | None, sizes: list[int]) -> int:
    """How many images validate, of classes with `sizes` images. Raises DataError when they are too many."""
    images = sum(sizes)
    most = images - len(sizes)
    match wanted:
        case None:
            return DEFAULT_VALIDATION if images >= MIN_FOR_DEFAULT else min(images // 10, most)
        case float():
            count = max(round(wanted * images), 1) if wanted else 0
        case _:
            count = wanted
    if count > most:
        raise DataError(
            f"data.validation takes {count:,} of {images:,} training images. "
            f"At most {most:,} can go: each of the {len(sizes)} classes keeps one to train with."
        )
    return count


def shares(sizes: list[int], count: int) -> list[int]:
    """How many of `count` fall to each class: in proportion to `sizes`, rounded by largest remainder, always fewer
    than there are. `count` is at most the sum of `sizes` less one a class."""
    images = sum(sizes)
    given = [min(count * size // images, size - 1) for size in sizes]
    while (left := count - sum(given)) > 0:
        open_classes = [index for index, size in enumerate(sizes) if given[index] < size - 1]
        # What a class still misses of its exact share, times `images`; of equals the first class wins.
        open_classes.sort(key=lambda index: given[index] * images - count * sizes[index])
        for index in open_classes[:left]:
            given[index] += 1
    return given
