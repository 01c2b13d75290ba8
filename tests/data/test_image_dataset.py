"""Images in memory and in mapped files: `mnist_trainer/data/image_dataset.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mnist_trainer.data import image_dataset
from mnist_trainer.data.cache import load_cached, save_cache
from mnist_trainer.data.image_dataset import (
    MEMORY_FRACTION,
    ImageDataset,
    Images,
    MappedImages,
    as_images,
    available_memory,
    to_device,
    too_large,
)
from mnist_trainer.data.loaders import ordered_loader, training_loader
from mnist_trainer.data.normalize import CHUNK, measure

IMAGES = torch.arange(6 * 784).remainder(251).to(torch.uint8).reshape(6, 28, 28)
FEW_LABELS = torch.tensor([3, 1, 4, 1, 5, 9])
SOURCE = ImageDataset(IMAGES, FEW_LABELS, torch.arange(10, 16))


def test_gather_takes_images_and_labels_in_the_order_asked_for() -> None:
    images, labels = SOURCE.gather(torch.tensor([5, 0, 5]))
    assert torch.equal(images, IMAGES[[5, 0, 5]]) and images.dtype == torch.uint8
    assert labels.tolist() == [9, 3, 9]
    again = SOURCE[torch.tensor([5, 0, 5])]
    assert torch.equal(again[0], images) and torch.equal(again[1], labels)


def test_a_subset_of_a_subset_knows_the_places_in_the_file() -> None:
    subset = SOURCE.subset(torch.tensor([1, 2, 5])).subset(torch.tensor([2, 0]))
    assert subset.indices.tolist() == [15, 11] and subset.labels.tolist() == [9, 1]
    assert torch.equal(subset.images, IMAGES[[5, 1]])
    assert len(subset) == 2 and len(SOURCE) == 6


def test_to_moves_everything() -> None:
    moved = SOURCE.to("meta")
    assert {moved.images.device.type, moved.labels.device.type, moved.indices.device.type} == {"meta"}
    images, labels = moved.gather(torch.tensor([0, 1]))
    assert images.device.type == labels.device.type == "meta" and images.shape == (2, 28, 28)


CPU = torch.device("cpu")


def control_group(folder: Path, limit: str) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 400\nfile 300\ninactive_file 250\nactive_file 50\n")
    return folder


def test_a_container_has_what_its_limit_leaves_and_cached_files_give_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_dataset, "CONTROL_GROUP", control_group(tmp_path, "1000"))
    assert available_memory(CPU) == available_memory() == 1000 - 700 + 250


@pytest.mark.parametrize("limit", ["max", None])
def test_without_a_limit_the_systems_memory_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None
) -> None:
    folder = control_group(tmp_path, limit) if limit else tmp_path
    monkeypatch.setattr(image_dataset, "CONTROL_GROUP", folder)
    monkeypatch.setattr(image_dataset, "_system_memory", lambda: 123)
    assert available_memory(CPU) == 123


def test_this_machine_says_how_much_memory_it_has() -> None:
    there = available_memory(CPU)
    assert there is None or 10_000_000 < there < 10**15


def test_a_gpu_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 8))
    assert available_memory(torch.device("cuda")) == 5


@pytest.mark.parametrize("device", [None, CPU, torch.device("cuda")])
def test_more_than_the_share_of_what_can_be_had_is_too_large(
    device: torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4000, 10**9))
    monkeypatch.setattr(image_dataset, "_system_memory", lambda: 10**9)
    monkeypatch.setattr(image_dataset, "_cgroup_memory", lambda: 4000)
    assert not too_large(int(4000 * MEMORY_FRACTION), device) and too_large(int(4000 * MEMORY_FRACTION) + 1, device)


def test_where_nobody_knows_how_much_there_is_nothing_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_dataset, "available_memory", lambda _: None)
    assert not too_large(10**18)


COUNT = 2 * CHUNK + 7
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), np.uint8)
LABELS = np.arange(COUNT) % 10
PLAIN = ImageDataset(torch.from_numpy(PIXELS), torch.from_numpy(LABELS), torch.arange(COUNT))


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageDataset:
    """`PLAIN`, whose images stay in their file."""
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    save_cache([tmp_path], "a", "mark", (PIXELS, LABELS))
    recalled = load_cached([tmp_path], "a", "mark")
    assert recalled is not None
    return ImageDataset(as_images(recalled[0]), torch.from_numpy(recalled[1]), torch.arange(COUNT))


def whole(images: Images) -> Tensor:
    return torch.cat([*images.split(5)])


def alike(one: ImageDataset, other: ImageDataset) -> bool:
    assert one.labels.tolist() == other.labels.tolist() and one.indices.tolist() == other.indices.tolist()
    assert len(one) == len(other) == len(one.images) == len(other.images)
    return torch.equal(whole(one.images), whole(other.images))


def files_of(dataset: ImageDataset) -> list[int]:
    """Where the images lie of which `dataset` gives some."""
    assert isinstance(dataset.images, MappedImages)
    return [part.ctypes.data for part in dataset.images.arrays]


def test_a_file_gives_the_same_images_and_batches(lying: ImageDataset) -> None:
    assert isinstance(lying.images, MappedImages) and alike(lying, PLAIN)
    assert lying.images.nbytes == PIXELS.nbytes
    for ours, theirs in (
        (training_loader(lying, 32, seed=3, epoch=1, first_batch=2), training_loader(PLAIN, 32, 3, 1, 2)),
        (ordered_loader(lying, 50), ordered_loader(PLAIN, 50)),
    ):
        for (images, labels), (others, their_labels) in zip(ours, theirs, strict=True):
            assert torch.equal(images, others) and torch.equal(labels, their_labels)
    assert measure(lying, "mean_std") == measure(PLAIN, "mean_std")


def test_what_a_batch_does_to_its_images_changes_no_file(lying: ImageDataset) -> None:
    lying.gather(torch.arange(10))[0].zero_()
    assert alike(lying, PLAIN)


def test_parts_of_parts_copy_nothing(lying: ImageDataset) -> None:
    some, few = torch.tensor([9, 2, 2, 130]), torch.tensor([3, 0])
    subset = lying.subset(some).subset(few)
    assert alike(subset, PLAIN.subset(some).subset(few))
    assert files_of(subset) == files_of(lying)
    assert alike(lying.subset(some[:0]), PLAIN.subset(some[:0]))


def test_any_may_follow_any(lying: ImageDataset) -> None:
    here, there = torch.tensor([5, 4, 100]), torch.tensor([100, 3])
    expected = PLAIN.subset(here).followed_by(PLAIN.subset(there))
    for first in (lying, PLAIN):
        for second in (lying, PLAIN):
            assert alike(first.subset(here).followed_by(second.subset(there)), expected)
    thrice = lying.followed_by(PLAIN).followed_by(lying).subset(torch.tensor([2 * COUNT + 1, 0, COUNT + 5]))
    assert thrice.indices.tolist() == [1, 0, 5]
    assert torch.equal(whole(thrice.images), PLAIN.images.index_select(0, thrice.indices))
    assert files_of(thrice)[0] == files_of(thrice)[2] == files_of(lying)[0]


@pytest.mark.parametrize("large", [False, True])
def test_what_is_too_large_for_a_card_stays_and_batches_go_there(
    large: bool, lying: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(image_dataset, "CHUNK_SIZE", 40)
    monkeypatch.setattr(image_dataset, "too_large", lambda *question: asked.append(question) or large)
    meta = torch.device("meta")  # in the place of a card
    for dataset in (lying, PLAIN):
        there = dataset.to("meta")
        assert isinstance(there.images, MappedImages) is large and there.labels.device == meta
        assert there.images.device == (torch.device("cpu") if large else meta)
        images, labels = there.gather(torch.tensor([7, 0]))
        assert images.device == labels.device == meta and images.shape == (2, 28, 28)
        assert set(asked) == {(PIXELS.nbytes, meta)}
        if large:
            assert torch.equal(whole(to_device(there.images, torch.device("cpu"))), PLAIN.images)
        else:
            assert there.images.shape == (COUNT, 28, 28)


def test_what_is_in_memory_stays_there_on_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    assert PLAIN.to("cpu").images is PLAIN.images
