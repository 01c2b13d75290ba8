"""The text of USPS: one 16×16 digit a line, as LIBSVM writes it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.paths import DamagedError

SIDE = 16


def parse(content: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [N, 16, 16] from 0 (paper) to 1 (ink) and labels [N] from 0 to 9.

    A line is `label 1:value 2:value … 256:value`, label from 1 to 10, values from -1 to 1, all of them written out
    (https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps). Raises DamagedError otherwise.
    """
    if not len(content):
        raise DamagedError("it is empty")
    # With the colons gone a line is the label, then 256 times a position and its value.
    text = BytesIO(content.tobytes().replace(b":", b" "))
    try:
        table = np.loadtxt(text, dtype=np.float32, comments=None, encoding="latin1", ndmin=2)
    except ValueError as error:
        raise DamagedError(f"it is no text with a label and 256 numbered values a line ({error})") from None
    if table.shape[1] != 1 + 2 * SIDE**2 or (table[:, 1::2] != np.arange(1, SIDE**2 + 1)).any():
        raise DamagedError("its lines do not have values numbered from 1 to 256")
    labels, values = table[:, 0], table[:, 2::2]
    if not (np.abs(values) <= 1).all() or not np.isin(labels, range(1, 11)).all():
        raise DamagedError("it has values that are not from -1 to 1, or labels that are not from 1 to 10")
    images = (values.reshape(-1, SIDE, SIDE) + 1) / 2
    return images.astype(np.float32), labels.astype(np.int64) - 1
