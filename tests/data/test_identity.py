"""Images are identified by their pixels, wherever they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mnist_trainer.data import identity
from mnist_trainer.data.identity import find_known, identify
from mnist_trainer.data.image_dataset import ImageDataset, as_images
from mnist_trainer.data.loaders import Splits

COUNT = 90
PIXELS = np.random.default_rng(1).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = torch.arange(COUNT) % 10
WHOLE = ImageDataset(torch.from_numpy(PIXELS), LABELS, torch.arange(COUNT))
TRAIN, VALIDATION = torch.arange(60), torch.arange(60, COUNT)


def splits(dataset: ImageDataset = WHOLE, train: torch.Tensor = TRAIN, validation: torch.Tensor = VALIDATION) -> Splits:
    return Splits(dataset.subset(train), dataset.subset(validation), tuple("0123456789"))


def fingerprint(made: Splits) -> str:
    return identify(made, "folder").fingerprint


def test_any_change_gives_another_fingerprint() -> None:
    one = splits()
    assert fingerprint(one) == fingerprint(splits())
    pixel, label = WHOLE.images.clone(), LABELS.clone()  # type: ignore[union-attr]
    pixel[70, 27, 27] ^= 1
    label[3] = 4
    flipped = TRAIN.flip(0)
    others = [
        splits(replace(WHOLE, images=pixel)),
        splits(replace(WHOLE, labels=label)),
        splits(train=flipped),
        splits(train=TRAIN[:-1]),
        splits(train=torch.cat((TRAIN, VALIDATION[:1])), validation=VALIDATION[1:]),
        replace(one, validation=None),
        replace(one, classes=("0", *"abcdefghi")),
    ]
    assert len({fingerprint(made) for made in (one, *others)}) == 1 + len(others)


def test_images_in_a_mapped_file_and_simulated_ones_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "CHUNK_SIZE", 7)
    locked = PIXELS.copy()
    locked.flags.writeable = False
    mapped = replace(WHOLE, images=as_images(locked))
    assert not isinstance(mapped.images, torch.Tensor)
    assert fingerprint(splits(mapped)) == fingerprint(splits())
    more = replace(splits(), train=splits().train.followed_by(splits().train), simulated=(60, 0))
    assert fingerprint(more) == fingerprint(splits())


@pytest.mark.parametrize("sample", [1024, 20])
def test_an_earlier_training_knows_its_own_images_alone(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SAMPLE", sample)
    first = identify(splits(), "folder")
    assert len(first.sample) == min(sample, 60)
    assert not first.is_known_to([first.sample])
    swapped = identify(splits(train=VALIDATION, validation=TRAIN), "folder")
    assert swapped.is_known_to([first.sample])
    assert swapped.is_known_to([torch.tensor([5]), first.sample])
    assert not swapped.is_known_to([swapped.sample])
    assert not swapped.is_known_to([])


def test_a_picture_that_also_trains_here_is_no_secret() -> None:
    doubled = splits(train=torch.cat((TRAIN, VALIDATION)))
    assert not identify(doubled, "folder").is_known_to([identify(splits(), "folder").sample])
    assert not identify(doubled, "folder").is_known_to([identify(doubled, "folder").sample])


def test_the_digits_of_qmnist_are_those_of_mnist_at_the_same_positions() -> None:
    nearly = replace(WHOLE, images=WHOLE.images ^ 1)  # type: ignore[operator]
    first = identify(splits(), "mnist").sample
    assert not identify(splits(nearly), "qmnist").is_known_to([first])
    swapped = splits(nearly, VALIDATION, TRAIN)
    assert identify(swapped, "qmnist").is_known_to([first])
    assert not identify(swapped, "kmnist").is_known_to([first])


def test_known_images_are_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    half = identify(splits(), "folder").sample  # of the first 60 images
    assert find_known(WHOLE, [half]) == (60, COUNT)
    assert find_known(WHOLE.subset(VALIDATION), [half]) == (0, 30)
    assert find_known(WHOLE, []) == (0, 0)
    other = identify(splits(train=torch.arange(80, COUNT)), "folder").sample
    assert find_known(WHOLE, [other, half]) == find_known(WHOLE, [half, other]) == (60, COUNT)
    monkeypatch.setattr(identity, "SAMPLE", 20)
    known, told = find_known(WHOLE, [identify(splits(), "folder").sample])
    assert known == 20 and 20 <= told < COUNT  # with those smaller than the largest hash that is kept
