"""Random numbers are addressed, not remembered.

Every draw comes from a generator seeded by where it stands: (seed, stream, epoch, batch). So a run that goes on from
a saved state, or prepares its batches in another order, draws the same numbers without storing a generator.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Stream = Literal["weights", "order", "dropout", "split"]


def seed_for(seed: int, stream: Stream, epoch: int = 0, batch: int = 0) -> int:
    """The seed (0 ≤ seed < 2**63) of the generator for one draw; independent for every address.

    Streams keep purposes apart: `weights` (initial values), `order` (of images in an epoch), `dropout` (and every
    other draw inside the model), `split` (validation images; its seed is `data.split_seed`).
    """
    address = f"{seed}/{stream}/{epoch}/{batch}".encode()
    return int.from_bytes(blake2b(address, digest_size=8).digest(), "big") >> 1
