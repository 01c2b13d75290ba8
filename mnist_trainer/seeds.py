"""Seeds of random numbers by address: (seed, stream, epoch, batch).

Every draw has its own generator, seeded by its address. So a resumed run, or one that prepares its batches in
another order, draws the same numbers without storing the state of a generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from mnist_trainer.errors import UsageError

MAX_SEEDS = 1000
"""Maximum number of runs in a series; a larger number is probably meant as a seed."""

Stream = Literal[
    "weights",
    "order",
    "augment",
    "mixup",
    "dropout",
    "split",
    "views",
    "sweep",
    "photographs",
    "non_digits",
    "rows",
    "explain",
    "test_photographs",
    "test_non_digits",
    "noise",
    "pgd",
]


def seed_for(seed: int, stream: Stream, epoch: int = 0, batch: int = 0) -> int:
    """Return the seed (0 ≤ seed < 2**63) of the generator at one address; seeds of different addresses are independent.

    Streams keep purposes apart: `weights` (initial values), `order` (of images in an epoch), `augment` and `mixup`
    (of a batch), `dropout` (and every other draw inside the model), `views` (deformed copies in evaluation), `split`
    (validation images; its seed is `data.split_seed`), `photographs`, `non_digits` and `rows` (of `data.simulate`;
    seeded like `split`, with image and copy instead of epoch and batch), `sweep` (values for a trial), `explain`
    (pixels and images for an explanation), `test_photographs`, `test_non_digits`, `noise` and `pgd` (of
    `mnist-eval --robustness`).
    """
    address = f"{seed}/{stream}/{epoch}/{batch}".encode()
    return int.from_bytes(blake2b(address, digest_size=8).digest(), "big") >> 1


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that `--seeds` names: `3` is 0, 1, 2; `4,7` is 4, 7; `5,` is 5 alone. Raises `UsageError`."""
    parts = [part.strip() for part in text.removesuffix(",").split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--seeds takes a number, as in --seeds 5, or a list, as in --seeds 0,1,2; got {text!r}.")
    numbers = tuple(map(int, parts))
    return check_seeds(numbers if "," in text else range(min(numbers[0], MAX_SEEDS + 1)))


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds of a series. Raises `UsageError` if there are none, too many, duplicates or negative ones."""
    if not 1 <= len(seeds) <= MAX_SEEDS:
        raise UsageError(f"A series has 1 to {MAX_SEEDS} seeds. For one run with a given seed, use --seed N.")
    if (duplicate := next((seed for seed in seeds if seeds.count(seed) > 1), None)) is not None:
        raise UsageError(f"The seeds of a series must differ, but {duplicate} is given twice.")
    if min(seeds) < 0:
        raise UsageError(f"Seeds are whole numbers, 0 or greater; got {min(seeds)}.")
    return tuple(seeds)
