"""The IDX format of MNIST and its relatives."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.paths import DamagedError

MOST_DIMENSIONS = 8

TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}


def parse(content: NDArray[np.uint8]) -> NDArray[Any]:
    """The array in the bytes `content` [n]: a view of them, of the shape in their header, uint8 or big-endian int32.

    The header (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of dimensions, then each
    dimension as a big-endian int32. Raises DamagedError when `content` is not exactly that.
    """
    if len(content) < 4 or content[0] or content[1] or not content[3]:
        start = content[:4].tobytes().hex(" ") or "nothing"
        raise DamagedError(f"it is no IDX file (that begins with 00 00 08 03 or the like, this one with {start})")
    code, dimensions = int(content[2]), int(content[3])
    if code not in TYPES:
        raise DamagedError(f"its values have the type code {code:#04x}; known are 0x08 (uint8) and 0x0c (int32)")
    if dimensions > MOST_DIMENSIONS:
        raise DamagedError(f"its header says {dimensions} dimensions; known are 1 to {MOST_DIMENSIONS}")
    begin = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[at : at + 4].tobytes(), "big") for at in range(4, begin, 4))
    whole = begin + prod(shape) * TYPES[code].itemsize
    if len(content) != whole:
        written = " × ".join(f"{size:,}" for size in shape)
        raise DamagedError(f"its header says {written} values, {whole:,} bytes in all, but it has {len(content):,}")
    values: NDArray[Any] = content[begin:].view(TYPES[code])
    try:
        return values.reshape(shape)
    except ValueError:  # one side is 0, and the others are more than there can be
        raise DamagedError(f"no array can be {' × '.join(f'{size:,}' for size in shape)}") from None
