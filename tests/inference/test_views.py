"""Deformed copies in evaluation: `mnist_trainer/inference/predictions.py`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.config.schema import Augment, Elastic
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import UsageError
from mnist_trainer.inference.predictions import make_views, predict
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.seeds import seed_for

READING = InferenceSpec(Normalization(0.13, 0.31), "logits", batch_size=64)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_digits("test").images[:40]


def test_the_first_view_is_the_image_and_the_others_are_not(images: Tensor) -> None:
    first, *others = make_views(7)
    assert torch.equal(first(images, 0), images)
    seen = [first(images, 0), *(view(images, 0) for view in others)]
    assert all(view.dtype == torch.uint8 and view.shape == images.shape for view in seen)
    assert all(not torch.equal(one, other) for place, one in enumerate(seen) for other in seen[:place])


def test_views_are_the_same_each_time_and_more_views_begin_with_fewer(images: Tensor) -> None:
    few, many = make_views(4), make_views(9)
    assert all(torch.equal(one(images, 0), other(images, 0)) for one, other in zip(few, many, strict=False))


def test_views_are_slight(images: Tensor) -> None:
    """The ink's centre of gravity moves by less than a pixel, and its amount stays nearly the same."""
    places = torch.arange(28.0)
    ink = images.float()
    for view in make_views(9):
        seen = view(images, 0).float()
        assert (seen.sum((1, 2)) / ink.sum((1, 2)) - 1).abs().max() < 0.2
        for axis in (1, 2):
            moved = (seen.sum(axis) @ places) / seen.sum((1, 2)) - (ink.sum(axis) @ places) / ink.sum((1, 2))
            assert moved.abs().max() < 1.5


AUGMENT = Augment(rotate=15, shift=1, elastic=Elastic(alpha=30), thickness=0.3)


def test_views_of_a_model_with_augmentation_are_deformed_as_its_training_images(images: Tensor) -> None:
    halved = AUGMENT.model_copy(update={"halve_for": (1, 7)})
    first, *others = make_views(4, AUGMENT)
    assert torch.equal(first(images, 0), images)
    labels = torch.zeros(len(images), dtype=torch.int64)
    for number, (view, blind) in enumerate(zip(others, make_views(4, halved)[1:], strict=True), start=1):
        assert torch.equal(view(images, 5), augmented(images, labels, AUGMENT, seed_for(0, "views"), number, 5))
        assert torch.equal(view(images, 5), blind(images, 5))  # the label of a test image is not known
        assert not torch.equal(view(images, 5), view(images, 6))


def test_the_logarithms_of_its_probabilities_are_averaged(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network], [READING], torch.device("cpu"))
    found = predict(predictor, dataset, 3, [AUGMENT])
    batches = list(enumerate(dataset.images.split(64)))
    each = [
        torch.cat([predictor(view(images, number)) for number, images in batches]) for view in make_views(3, AUGMENT)
    ]
    product = torch.stack(each).log().mean(dim=0).exp()
    torch.testing.assert_close(found.probabilities, product / product.sum(dim=1, keepdim=True))
    plain = predict(predictor, dataset, 1, [AUGMENT])
    assert plain.plain and torch.equal(plain.probabilities, predict(predictor, dataset).probabilities)


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_view_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"views must be 1 or more, got {count}"):
        make_views(count)


def test_one_view_is_the_plain_answer_bit_for_bit(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network], [READING], torch.device("cpu"))
    plain, one = predict(predictor, dataset), predict(predictor, dataset, views=1)
    assert torch.equal(plain.probabilities, one.probabilities)
    assert torch.equal(plain.outputs, one.outputs) and plain.plain and one.plain


def test_several_views_answer_with_the_mean_of_their_probabilities(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network], [READING], torch.device("cpu"))
    found = predict(predictor, dataset, views=3)
    each = [torch.cat([predictor(view(images, 0)) for images in dataset.images.split(64)]) for view in make_views(3)]
    assert torch.equal(found.probabilities, torch.stack(each).mean(dim=0))
    assert not found.plain
    assert torch.allclose(found.outputs.exp(), found.probabilities)
