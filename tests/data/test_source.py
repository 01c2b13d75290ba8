from __future__ import annotations

import torch

from mnist_trainer.data.image_dataset import ImageDataset

IMAGES = torch.arange(6 * 784).remainder(251).to(torch.uint8).reshape(6, 28, 28)
LABELS = torch.tensor([3, 1, 4, 1, 5, 9])
SOURCE = ImageDataset(IMAGES, LABELS, torch.arange(10, 16))


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
