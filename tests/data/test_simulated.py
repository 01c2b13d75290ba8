"""Images that `data.simulate` makes: which, of what, by whom; `mnist_trainer/data/simulated.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mnist_trainer.config.schema import Data, Simulate
from mnist_trainer.data import cache, image_dataset, simulated
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits, load_real, load_split, load_splits, load_together
from mnist_trainer.data.simulated import with_photographs
from mnist_trainer.simulator import make as drawing


def data(**changes: Any) -> Data:
    simulate = {key: changes.pop(key) for key in ("photographs", "non_digits", "rows") if key in changes}
    return Data(name="digits", **{"validation": 0.2, "limit": 5, **changes}, simulate=Simulate(**simulate))


def stamp(kind: str, digits: NDArray[np.uint8], labels: NDArray[np.int64], seeds: NDArray[np.int64]) -> Any:
    """In the place of `make_images`: images that show what they are made of, and by which number."""
    if kind == "rows":
        return np.concatenate([np.concatenate([own, np.full_like(own, 7)]) for own in digits])
    images = digits[:, 0].copy() if kind == "photographs" else np.full((len(digits), 28, 28), 7, np.uint8)
    images[:, 0, 0], images[:, 0, 1] = labels[:, 0], seeds % 256
    return images


@pytest.fixture
def stamped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "make_images", stamp)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def real(splits: Splits) -> tuple[ImageDataset, ImageDataset]:
    assert splits.validation is not None
    train, validation = splits.counts
    return splits.train.subset(torch.arange(train)), splits.validation.subset(torch.arange(validation))


def made(splits: Splits) -> tuple[ImageDataset, ImageDataset]:
    assert splits.validation is not None
    train, validation = splits.counts
    return (
        splits.train.subset(torch.arange(train, len(splits.train))),
        splits.validation.subset(torch.arange(validation, len(splits.validation))),
    )


def equal(one: ImageDataset, other: ImageDataset) -> bool:
    names = ("images", "labels", "indices")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.usefixtures("stamped")
def test_photographs_stand_behind_the_images_they_are_made_of() -> None:
    splits, plain = load_splits(data(photographs=1)), load_real(data())
    assert plain.validation is not None and splits.counts == plain.counts == (40, 10)
    assert splits.simulated == (40, 10)
    for ours, own, other in zip(real(splits), made(splits), (plain.train, plain.validation), strict=True):
        assert equal(ours, other)
        assert torch.equal(own.labels, other.labels) and torch.equal(own.indices, other.indices)
        assert torch.equal(own.images[:, 1:], other.images[:, 1:])
        assert own.images[:, 0, 0].tolist() == other.labels.tolist()
        assert len(own.images[:, 0, 1].unique()) > len(own) // 2, "each has random numbers of its own"


@pytest.mark.usefixtures("stamped")
@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 0), (0.1, 4), (0.5, 20), (2.5, 100)])
def test_so_many_photographs_as_the_share_says_from_all_images_alike(share: float, count: int) -> None:
    splits = load_splits(data(photographs=share))
    own, _ = made(splits)
    assert len(own) == count == splits.simulated[0]
    each = torch.bincount(torch.searchsorted(splits.train.indices[:40], own.indices), minlength=40)
    assert int(each.max() - each.min()) <= 1
    assert abs(int(each[:20].sum() - each[20:].sum())) <= 1, "from the first images no more than from the last"
    numbers = set(zip(own.indices.tolist(), own.images[:, 0, 1].tolist(), strict=True))
    assert len(numbers) >= 0.95 * count, "copies of one image differ"


@pytest.mark.usefixtures("stamped")
def test_the_random_numbers_belong_to_the_image_not_to_its_place() -> None:
    whole = load_real(data(validation=0)).train
    some = whole.subset(torch.tensor([30, 4, 17]))
    all_of_them, few = (with_photographs(dataset, data(photographs=1)).images for dataset in (whole, some))
    assert torch.equal(few[3:], all_of_them[50 + torch.tensor([30, 4, 17])])
    other = with_photographs(some, data(photographs=1, split_seed=1)).images
    assert not torch.equal(few[3:, 0, 1], other[3:, 0, 1])


@pytest.mark.usefixtures("stamped")
def test_what_is_no_digit_is_there_to_train_with_alone() -> None:
    splits = load_splits(data(photographs=0.5, non_digits=0.4))
    own, validating = made(splits)
    assert splits.simulated == (20 + 16, 5)
    assert own.labels[20:].tolist() == [10] * 16
    assert bool((own.images[20:, 1:] == 7).all()) and own.indices[20:].unique().tolist() == [-1]
    assert splits.validation is not None and int(splits.validation.labels.max()) == 9
    assert len(validating) == 5


@pytest.mark.usefixtures("stamped")
def test_windows_of_rows_have_a_digit_of_their_split_or_none() -> None:
    splits, plain = load_splits(data(rows=0.8)), load_real(data())
    assert splits.simulated == (64, 8) == (data(rows=0.8).simulate.added(40), 8)
    assert plain.validation is not None
    (train, validation), sources = made(splits), (plain.train, plain.validation)
    for own, source in zip((train, validation), sources, strict=True):
        digits = own.subset(torch.nonzero(own.labels < 10).flatten())
        at = torch.searchsorted(source.indices, digits.indices)
        assert torch.equal(source.labels[at], digits.labels) and torch.equal(source.images[at], digits.images)
    odd = data(rows=0.9, limit=3)  # 21.6 digits do not fill whole pages
    assert load_splits(odd).simulated[0] == odd.simulate.added(24) == 48
    none = train.labels == 10
    assert none.sum() == 32 and bool((train.images[none] == 7).all()) and train.indices[none].unique().tolist() == [-1]
    assert int(validation.labels.max()) < 10


@pytest.mark.usefixtures("stamped")
def test_a_split_to_judge_on_has_photographs_and_digits_alone() -> None:
    both = data(photographs=0.5, non_digits=0.4)
    splits = load_splits(both)
    assert splits.validation is not None
    train, validation = load_split(both, "train"), load_split(both, "validation")
    assert equal(train, splits.train.subset(torch.arange(60)))
    assert equal(validation, splits.validation)
    assert equal(load_split(both, "test"), load_split(data(), "test"))


@pytest.mark.usefixtures("stamped")
def test_a_second_fit_has_them_of_all_images() -> None:
    together = load_together(data(photographs=1, non_digits=0.4))
    assert (together.counts, together.simulated) == ((50, 0), (70, 0))
    assert together.simulated[0] == data(photographs=1, non_digits=0.4).simulate.added(50)


@pytest.mark.slow
def test_real_photographs_and_no_digits_are_made() -> None:
    splits = load_splits(data(photographs=1, non_digits=0.5, limit=3))
    own, _ = made(splits)
    images = own.images.flatten(1).float()
    assert own.images.dtype == torch.uint8 and bool((images.amax(dim=1) > 100).all())
    assert len(images.unique(dim=0)) == len(images)
    shown = splits.train.images[: splits.counts[0]].flatten(1).float()
    alike = torch.nn.functional.cosine_similarity(images[: len(shown)], shown)
    assert float(alike.median()) > 0.5, "it is the same digit"
    assert not torch.equal(images[: len(shown)], shown)
    assert equal(splits.train, load_splits(data(photographs=1, non_digits=0.5, limit=3)).train)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_however_many_make_them_they_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_real(data(limit=1, validation=0)).train
    alone = with_photographs(dataset, data(photographs=1))
    monkeypatch.setattr(simulated, "CHUNK_SIZE", 5)
    monkeypatch.setattr(drawing, "make_images", None)  # not in this process
    assert equal(with_photographs(dataset, data(photographs=1)), alone)


@pytest.mark.usefixtures("threads")
def test_a_process_that_fails_is_told_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_real(data(limit=1, validation=0)).train
    empty = ImageDataset(dataset.images[:, :0], dataset.labels, dataset.indices)
    monkeypatch.setattr(simulated, "CHUNK_SIZE", 5)
    with pytest.raises(RuntimeError, match=r"drawing pictures ended with 1: Traceback(.|\n)*cv2.error: "):
        with_photographs(empty, data(photographs=1))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of `make_images` made; sets of any size are kept."""
    counts: list[int] = []

    def make_images(kind: str, digits: Any, labels: Any, seeds: Any) -> Any:
        counts.append(len(seeds))
        return stamp(kind, digits, labels, seeds)

    monkeypatch.setattr(drawing, "make_images", make_images)
    monkeypatch.setattr(cache, "MIN_CACHED", 1)
    return counts


def test_what_was_made_is_kept_for_the_next_start(counted: list[int], cache: Path) -> None:
    both = data(photographs=1, non_digits=0.4)
    first = load_splits(both)
    assert counted == [40, 10, 16]
    assert len(list((cache / "simulated").iterdir())) == 3
    assert equal(load_splits(both).train, first.train)
    assert counted == [40, 10, 16]
    with_photographs(load_real(both).train, data(photographs=1, split_seed=1))
    assert counted == [40, 10, 16, 40]


def test_other_images_are_other_photographs(counted: list[int], cache: Path) -> None:
    real = load_real(data()).train
    with_photographs(real, data(photographs=1))
    with_photographs(replace(real, images=real.images.flip(2)), data(photographs=1))
    assert counted == [40, 40] and len(list((cache / "simulated").iterdir())) == 2


def test_they_may_be_too_many_for_the_memory(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    both = data(photographs=1, non_digits=0.4)
    first = load_splits(both).train
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    again = load_splits(both).train
    assert counted == [40, 10, 16] and not isinstance(again.images, torch.Tensor)
    assert all(map(torch.equal, again.gather(torch.arange(96)), first.gather(torch.arange(96))))
    of_mapped = with_photographs(again.subset(torch.arange(80)), data(photographs=0.5))
    of_others = with_photographs(first.subset(torch.arange(80)), data(photographs=0.5))
    assert counted == [40, 10, 16, 40], "the order is the same, so that what was made for one is there for the other"
    assert all(map(torch.equal, of_mapped.gather(torch.arange(120)), of_others.gather(torch.arange(120))))


def test_what_another_program_made_is_made_anew(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    load_split(data(photographs=1), "validation")
    monkeypatch.setattr(simulated, "code_fingerprint", lambda: "other code")
    load_split(data(photographs=1), "validation")
    assert counted == [10, 10]


def test_small_sets_are_not_kept(cache: Path) -> None:
    load_splits(data(photographs=1, limit=1, validation=0))
    assert not cache.exists()


def test_how_far_it_is_told(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "CHUNK_SIZE", 25)
    told: list[tuple[str, int, int | None]] = []
    load_split(data(photographs=1), "train", lambda *news: told.append(news))
    assert counted == [25, 15]
    assert told == [("making photographs", 25 * 784, 40 * 784), ("making photographs", 40 * 784, 40 * 784)]


def test_the_drawing_process_knows_no_torch() -> None:
    code = "import sys, mnist_trainer.simulator.make; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
