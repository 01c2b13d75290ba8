"""The data set that comes with the package: `mnist_trainer/data/digits.py`."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.data.digits import load_digits, to_mnist


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


def table() -> np.ndarray:
    packed = files("mnist_trainer.data").joinpath("digits.csv.gz").read_bytes()
    return np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.uint8)


def test_counts_of_each_class() -> None:
    train, test = load_digits("train"), load_digits("test")
    assert torch.bincount(train.labels).tolist() == [143, 146, 142, 147, 145, 146, 145, 144, 140, 144]
    assert torch.bincount(test.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert train.classes == test.classes == tuple("0123456789")
    for part in (train, test):
        assert part.images.dtype == torch.uint8 and part.images.shape == (len(part.labels), 28, 28)


def test_test_set_is_the_end_of_each_class_in_file_order() -> None:
    labels = table()[:, 64]
    train, test = load_digits("train").labels.numpy(), load_digits("test").labels.numpy()
    # The parts keep the file's order: merging them again by class, training first, gives the file's own labels.
    seen = np.zeros(10, int)
    sizes = np.bincount(labels)
    expected_train, expected_test = [], []
    for label in labels:
        in_train = seen[label] < sizes[label] - sizes[label] // 5
        (expected_train if in_train else expected_test).append(label)
        seen[label] += 1
    assert train.tolist() == expected_train and test.tolist() == expected_test


def test_no_picture_is_in_both_parts_and_none_is_lost() -> None:
    pictures = {part: [image.numpy().tobytes() for image in load_digits(part).images] for part in ("train", "test")}
    assert not set(pictures["train"]) & set(pictures["test"])
    assert len(pictures["train"]) + len(pictures["test"]) == len(table()) == 1797


def test_digits_are_placed_as_in_mnist() -> None:
    images = load_digits("train").images.double()
    positions, mass = torch.arange(28, dtype=torch.float64), images.sum((1, 2))
    rows, columns = images.sum(2) @ positions / mass, images.sum(1) @ positions / mass
    assert rows.sub(14).abs().max() <= 0.5 and columns.sub(14).abs().max() <= 0.5
    heights = (images.amax(2) > 0).sum(1)
    assert heights.min() >= 19 and heights.max() == 20
