"""From a config and images to a training: `mnist_trainer/training/prepare.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits
from mnist_trainer.data.normalize import Normalization, measure
from mnist_trainer.errors import CheckpointError, ConfigError
from mnist_trainer.inference.predictor import REFUSAL_THRESHOLD
from mnist_trainer.model.build import build_model
from mnist_trainer.training.loop import fit
from mnist_trainer.training.losses import CustomCriterion
from mnist_trainer.training.prepare import build_criterion, prepare_state
from mnist_trainer.training.state import InitialWeights


def test_the_model_starts_with_the_weights_of_its_seed(splits: Splits, config: Any, prepare: Any) -> None:
    state = prepare(splits, seed=5)
    expected = build_model(config().model, 10, seed=5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state.model.state_dict().items())
    assert (state.epoch, state.step, state.stop_reason) == (0, 0, None)


def test_images_are_read_on_the_scale_of_the_training_images(splits: Splits, prepare: Any) -> None:
    spec = prepare(splits).setup.spec
    assert spec.normalization == measure(splits.train, "mean_std")
    assert (spec.kind, spec.precision, spec.batch_size, spec.temperature) == ("logits", "float32", 1000, 1)
    inputs = spec.normalization.apply(splits.train.images)
    assert (inputs.mean().item(), inputs.std().item()) == pytest.approx((0, 1), abs=1e-4)


def test_a_yes_or_no_task_has_one_output(yes_or_no: Splits, prepare: Any) -> None:
    state = prepare(yes_or_no, data={"binary": 7}, loss="bce")
    assert state.model(state.normalize(yes_or_no.train.images[:5])).shape == (5, 1)
    state = prepare(yes_or_no, data={"binary": 7})
    assert state.model(state.normalize(yes_or_no.train.images[:5])).shape == (5, 2)


def initial(seed: int, config: Any, outputs: int = 10) -> InitialWeights:
    return InitialWeights(build_model(config().model, outputs, seed=seed).state_dict(), Normalization(0.2, 0.4))


def test_weights_and_scale_of_a_checkpoint_are_taken_over(splits: Splits, config: Any) -> None:
    theirs = initial(9, config)
    start = config(model={"architecture": "mlp", "hidden": [16], "init_from": "runs/a"})
    state = prepare_state(start, splits, start=theirs)
    assert all(torch.equal(value, theirs.weights[name]) for name, value in state.model.state_dict().items())
    assert state.setup.spec.normalization == theirs.normalization


def test_the_refusal_threshold_of_a_checkpoint_is_kept(splits: Splits, config: Any) -> None:
    theirs = replace(initial(9, config), refusal_threshold=0.42)
    assert InitialWeights.from_state_dict(theirs.state_dict()).refusal_threshold == 0.42
    model = {"architecture": "mlp", "hidden": [16], "init_from": "runs/a"}
    other = initial(9, config)
    for share, start, expected in (
        (0.1, theirs, 0.42),
        (0.1, other, REFUSAL_THRESHOLD),
        (0, theirs, None),
    ):
        state = prepare_state(config(model=model, data={"simulate": {"non_digits": share}}), splits, start=start)
        assert state.setup.spec.refusal_threshold == expected


def test_a_checkpoint_of_which_nothing_fits_is_refused(splits: Splits, config: Any) -> None:
    start = config(model={"architecture": "cnn", "init_from": "runs/a"})
    with pytest.raises(CheckpointError) as caught:
        prepare_state(start, splits, start=initial(9, config))
    assert str(caught.value) == (
        "runs/a: no weight has the name and shape of one in this model. It has 1.weight [16, 784], 1.bias [16] and 2 "
        "more; the model has 0.weight [16, 1, 3, 3], 0.bias [16] and 6 more."
    )


def test_frozen_layers_and_their_batch_statistics_stay(splits: Splits, config: Any) -> None:
    model = {"architecture": "mlp", "hidden": [16], "batch_norm": True, "init_from": "runs/a", "freeze": 2}
    start = config(model=model)
    weights = dict(build_model(start.model, 10, seed=9).state_dict())
    state = prepare_state(start, splits, start=InitialWeights(weights, Normalization(0.2, 0.4)))
    before = {name: value.clone() for name, value in weights.items()}
    list(fit(state))
    changed = [name for name, value in state.model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["4.weight", "4.bias"]


def test_freezing_everything_is_refused(splits: Splits, config: Any) -> None:
    model = {"architecture": "mlp", "hidden": [16], "init_from": "runs/a", "freeze": 2}
    with pytest.raises(ConfigError) as caught:
        prepare_state(config(model=model), splits, start=initial(9, config))
    assert str(caught.value) == "model.freeze: with 2 frozen layers there is nothing left to train"


@pytest.mark.parametrize(("batch_size", "images"), [(199, 200), (1, 200), (3, 100)])
def test_a_last_batch_of_one_image_is_refused_with_batch_norm(
    splits: Splits, prepare: Any, batch_size: int, images: int
) -> None:
    some = Splits(splits.train.subset(torch.arange(images)), None, splits.classes)
    with pytest.raises(ConfigError) as caught:
        prepare(some, model={"architecture": "mlp", "batch_norm": True}, data={"batch_size": batch_size})
    assert str(caught.value) == (
        f"data.batch_size: the last of the batches of {images} images holds a single one, and batch_norm needs two: "
        f"choose another size than {batch_size}"
    )
    prepare(some, data={"batch_size": batch_size})  # other models can do with one image


def test_smoothness_needs_weights_that_are_pictures(splits: Splits, config: Any) -> None:
    smooth = config(loss={"name": "mse", "smooth_weights": 0.1})
    for fitting in (nn.Linear(784, 5), nn.Conv2d(1, 4, 3)):
        build_criterion(smooth, splits.classes, fitting)
    build_criterion(config(loss="mse"), splits.classes, nn.Linear(3, 5))
    with pytest.raises(ConfigError) as caught:
        build_criterion(smooth, splits.classes, nn.Linear(3, 5))
    assert str(caught.value) == "loss.smooth_weights: the first layer's weights are not laid out like a picture"


class Own(nn.Module):
    """A user's module, with a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(784, 10)
        self.unused = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(inputs.flatten(1))
        return outputs


def test_a_users_own_parts_take_the_place_of_the_configs(splits: Splits, config: Any) -> None:
    def own_loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.multi_margin_loss(outputs, labels)

    module = Own()
    start = module.inner.weight.detach().clone()
    state = prepare_state(config(), splits, model=module, loss=own_loss, optimizer=torch.optim.NAdam)
    assert state.model is module
    assert isinstance(state.criterion, CustomCriterion)
    assert isinstance(state.optimizer, torch.optim.NAdam)
    assert [id(parameter) for parameter in state.parameters] == [id(value) for value in module.inner.parameters()]
    records = list(fit(state))
    assert not torch.equal(module.inner.weight, start)
    assert records[-1].train_loss < records[0].train_loss
    outputs = state.predictor().outputs([splits.train.images])
    assert state.criterion.mean_loss(outputs, splits.train.labels) == pytest.approx(
        own_loss(outputs, splits.train.labels).item()
    )


def test_a_users_own_optimizer_may_be_a_function(splits: Splits, config: Any) -> None:
    state = prepare_state(config(), splits, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.25))
    assert state.lr == 0.25


def test_a_second_fit_whose_last_batch_would_hold_one_image_is_refused_at_the_start(
    splits: Splits, config: Any
) -> None:
    sections = {"model": {"architecture": "mlp", "batch_norm": True}, "data": {"batch_size": 37}}
    prepare_state(config(**sections), splits)  # 200 images leave 15
    with pytest.raises(ConfigError, match="the last of the batches of 260 images holds a single one"):
        prepare_state(config(**sections, training={"refit": True}), splits)


@pytest.mark.parametrize("augment", [{"shift": 28}, {"scale": 0.99}], ids=["out of the picture", "to a point"])
def test_an_augmentation_that_leaves_no_ink_is_refused(splits: Splits, config: Any, augment: dict[str, float]) -> None:
    faint = ImageDataset(splits.train.images.clone(), splits.train.labels, splits.train.indices)
    faint.images[:, :8] = faint.images[:, 20:] = 0
    faint.images[:, :, :8] = faint.images[:, :, 20:] = 0
    few = Splits(faint, None, splits.classes)
    with pytest.raises(ConfigError) as caught:
        prepare_state(config(data={"augment": augment}), few)
    text = str(caught.value)
    assert text.startswith("data.augment: less than a twentieth of the ink is left in ")
    assert text.endswith(" of the first 200 images; make shift, scale, thickness or elastic.alpha smaller")


def test_an_augmentation_that_leaves_ink_is_not(splits: Splits, config: Any) -> None:
    augment = {"rotate": 30, "shear": 20, "scale": 0.3, "shift": 4, "elastic": {"alpha": 40}, "thickness": 0.5}
    prepare_state(config(data={"augment": augment}), splits)


def test_whether_ink_is_left_does_not_depend_on_the_seed(splits: Splits, config: Any) -> None:
    for seed in range(3):
        prepare_state(config(data={"augment": {"scale": 0.5}}, seed=seed), splits)
        with pytest.raises(ConfigError, match="of the ink is left in 8 of the first 200"):
            prepare_state(config(data={"augment": {"scale": 0.97}}, seed=seed), splits)


def test_a_second_fit_without_validation_images_is_refused(splits: Splits, config: Any) -> None:
    alone = Splits(splits.train, None, splits.classes)
    with pytest.raises(ConfigError, match=r"training\.refit: there are too few images to validate with"):
        prepare_state(config(training={"refit": True}), alone)
