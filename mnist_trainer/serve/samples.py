"""Pictures to try: digits of test images, and simulated photographs of them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.reports.canvas import encode_png

LONGEST_ROW = 6
"""The number of digits on a photograph at most."""


def random_digit() -> tuple[bytes, str]:
    """Return a random test image as a PNG, 28×28 pixels, and its label."""
    images, labels = _test_images()
    index = np.random.default_rng().integers(len(images))
    return encode_png(Image.fromarray(images[index])), str(labels[index])


def random_photograph() -> tuple[bytes, str]:
    """Return a simulated photograph of one digit, or of a row of them, as a PNG, and its text."""
    from mnist_trainer.simulator.photographs import page, photograph

    images, labels = _test_images()
    rng = np.random.default_rng()
    chosen = rng.integers(len(images), size=rng.integers(1, LONGEST_ROW + 1))
    digits, names = list(images[chosen]), labels[chosen].tolist()
    if len(digits) == 1:
        picture, _ = photograph(digits[0], rng, label=names[0])
    else:
        picture, _ = page([digits], rng, labels=[names])
    return encode_png(Image.fromarray(picture)), "".join(map(str, names))


@cache
def _test_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the test images [N, 28, 28] of MNIST if they are on this machine, else of `digits`, and the labels [N]."""
    from mnist_trainer.config.schema import Data
    from mnist_trainer.data.datasets import load_published, missing_archives
    from mnist_trainer.data.digits import load_digits
    from mnist_trainer.data.paths import data_root

    root = data_root(Data(name="mnist"))
    data = load_digits("test") if missing_archives("mnist", root, "test") else load_published("mnist", root, "test")
    return np.asarray(data.images), data.labels.numpy()
