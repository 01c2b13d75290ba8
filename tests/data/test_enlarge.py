from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.data.digits import to_mnist


def centroid(image: np.ndarray) -> tuple[float, float]:
    positions = np.arange(28)
    return image.sum(1) @ positions / image.sum(), image.sum(0) @ positions / image.sum()


@given(st.integers(0, 2**32), st.sampled_from([8, 16]))
def test_ink_is_twenty_pixels_with_its_centroid_at_fourteen(seed: int, side: int) -> None:
    image = np.random.default_rng(seed).uniform(0.6, 1, (1, side, side)).astype(np.float32)
    (enlarged,) = to_mnist(image)
    assert enlarged.dtype == np.uint8 and enlarged.shape == (28, 28)
    assert np.count_nonzero(enlarged.max(0)) == np.count_nonzero(enlarged.max(1)) == 20
    assert all(13.5 <= place <= 14.5 for place in centroid(enlarged))


def test_images_in_one_batch_do_not_touch_each_other() -> None:
    images = np.random.default_rng(1).uniform(0, 1, (50, 8, 8)).astype(np.float32) ** 4
    alone = np.concatenate([to_mnist(image[None]) for image in images])
    assert np.array_equal(to_mnist(images), alone)


def test_full_ink_stays_full_and_paper_stays_black() -> None:
    ink, paper = to_mnist(np.stack([np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)]))
    assert np.count_nonzero(ink == 255) == np.count_nonzero(ink) == 400
    assert not paper.any()


def test_a_lopsided_digit_is_not_cut() -> None:
    image = np.zeros((1, 8, 8), np.float32)
    image[0, :, 0] = 1
    (enlarged,) = to_mnist(image)
    assert np.count_nonzero(enlarged.max(1)) == 20
    assert enlarged[:, 8].max() > 200  # as far to the middle as the frame goes
