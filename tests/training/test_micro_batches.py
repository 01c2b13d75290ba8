"""`training.micro_batches`: a batch in K parts, whose gradients are summed along a fixed binary tree."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.data.loaders import Splits, micro_batches, training_loader
from mnist_trainer.errors import ConfigError, DivergedError
from mnist_trainer.training.loop import fit, steps
from mnist_trainer.training.losses import main_labels
from mnist_trainer.training.micro_batches import Node, add_node
from mnist_trainer.training.state import TrainingState

Prepare = Any

DROPOUT = {"architecture": "mlp", "hidden": [16], "dropout": 0.3}
NORMED = {"architecture": "cnn", "channels": [4, 4], "hidden": [], "batch_norm": True}


class Term:
    """Stands for a gradient, and records how it was summed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def add_(self, other: Term) -> Term:
        return Term(f"({self.text}+{other.text})")


def tree(count: int, processes: int = 1) -> list[str]:
    """The sums of each process, and then their sum."""
    shares, root, each = [], [], count // processes
    for first in range(0, count, each):
        own: list[Any] = []
        for index in range(first, first + each):
            add_node(own, 0, index, Term(str(index)), count)  # type: ignore[arg-type]
        shares += own
    for node in shares:
        add_node(root, *node, count)
    return [node[2].text for node in root]


def test_neighbours_are_summed_and_the_last_one_may_be_left_over() -> None:
    assert tree(1) == ["0"]
    assert tree(4) == ["((0+1)+(2+3))"]
    assert tree(6) == ["(((0+1)+(2+3))+(4+5))"]
    assert tree(7) == ["(((0+1)+(2+3))+((4+5)+6))"]


def test_the_tree_is_the_same_however_many_processes_divide_it() -> None:
    for count in range(1, 41):
        divisors = [processes for processes in range(1, count + 1) if count % processes == 0]
        assert {tuple(tree(count, processes)) for processes in divisors} == {tuple(tree(count))}


def test_a_process_keeps_few_sums() -> None:
    nodes: list[Node] = []
    for index in range(64, 128):
        add_node(nodes, 0, index, torch.ones(1), 1024)
        assert len(nodes) <= 6 + 1
    assert [(level, index, int(value)) for level, index, value in nodes] == [(6, 1, 64)]


@pytest.mark.parametrize(("batch_size", "count"), [(32, 4), (32, 3), (7, 4), (5, 5), (90, 8), (9, 4)])
def test_micro_batches_are_the_parts_of_the_batches(splits: Splits, batch_size: int, count: int) -> None:
    parts = iter(micro_batches(splits.train, batch_size, 3, 1, 2, count, range(count)))
    for images, labels in training_loader(splits.train, batch_size, 3, 1, 2):
        own = list(islice(parts, count))
        assert torch.equal(torch.cat([part for part, _ in own]), images)
        assert torch.equal(torch.cat([part for _, part in own]), labels)
        assert max(len(part) for _, part in own) <= -(-batch_size // count)
    assert list(parts) == []


def gradients(state: TrainingState) -> list[Tensor]:
    """The gradients of all parameters after the last step of an epoch, which is a ragged one."""
    for _ in steps(state):
        pass
    return [each.grad for each in state.parameters if each.grad is not None]


def test_the_gradients_are_those_of_the_whole_batch(splits: Splits, prepare: Prepare) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"loss": {"name": "cross_entropy", "class_weights": [1, 2] * 5}},
        {"loss": {"name": "mse", "reduction": "sum"}, "optimizer": {"name": "sgd", "lr": 1e-4}},
        {"loss": {"name": "bce", "smooth_weights": 0.1, "penalties": [{"true": 7, "predicted": 1}]}},
        {"training": {"accumulate": 3, "clip_norm": 0.1}},
        {"optimizer": "gradient_descent"},
    ]
    for kind in kinds:
        whole = prepare(splits, **kind)
        parts = prepare(splits, **{**kind, "training": {**kind.get("training", {}), "micro_batches": 5}})
        for one, other in zip(gradients(whole), gradients(parts), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
        assert parts.totals.averages() == (
            pytest.approx(whole.totals.averages()[0], rel=1e-5),
            *whole.totals.averages()[1:2],
            pytest.approx(whole.totals.averages()[2], rel=1e-5),
        )
        assert parts.step == whole.step


def test_the_metrics_count_each_image_once(splits: Splits, prepare: Prepare) -> None:
    state = prepare(splits, training={"micro_batches": 7, "epochs": 2})
    for _ in steps(state):
        pass
    assert state.totals.images == float(state.totals.divisor) == 200


def test_dropout_augmentation_and_mixing_have_draws_of_their_own_in_each_part(splits: Splits, prepare: Prepare) -> None:
    """Two parts of the same images would else be treated alike."""
    augment = {"augment": {"rotate": 20, "elastic": True}}
    state = prepare(
        splits, model=DROPOUT, data={"batch_size": 2, **augment}, training={"micro_batches": 2, "mixup": 0.5}
    )
    state.setup = replace(state.setup, train=state.setup.train.subset(torch.zeros(4, dtype=torch.int64)))
    (one, first), (other, second) = islice(state.batches(), 2)
    assert not torch.equal(one, other)
    assert first.lam != second.lam  # type: ignore[union-attr]
    draws = []
    for position in range(2):
        state.seed_dropout(position)
        draws.append(torch.rand(4).tolist())
    assert draws[0] != draws[1]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_takes_its_statistics_from_each_part_in_their_order(
    momentum: float | None, splits: Splits, prepare: Prepare
) -> None:
    """As torch does when it is given one part after the other."""
    state = prepare(splits, model=NORMED, training={"micro_batches": 3, "accumulate": 2})
    twin = prepare(splits, model=NORMED)
    for norm in (*state.model.modules(), *twin.model.modules()):
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = momentum
    twin.train_mode()
    parts = list(micro_batches(splits.train, 32, 0, 0, 0, 3, range(3)))[:6]
    for images, _ in parts:
        twin.model(twin.normalize(images))
    next(steps(state))
    for one, other in zip(state.model.buffers(), twin.model.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    (norm, *_) = (module for module in state.model.modules() if isinstance(module, nn.BatchNorm2d))
    assert int(norm.num_batches_tracked or 0) == 6


def test_empty_parts_add_nothing(splits: Splits, prepare: Prepare) -> None:
    """The last batch of 200 images has 8, in parts of 8: one is left."""
    state = prepare(splits, model=NORMED, training={"micro_batches": 4})
    counts = [len(main_labels(labels)) for _, labels in state.batches()]
    assert counts == [8] * 25 + [0] * 3
    for _ in steps(state):
        pass
    (norm, *_) = (module for module in state.model.modules() if isinstance(module, nn.BatchNorm2d))
    assert int(norm.num_batches_tracked or 0) == 25
    assert state.totals.images == 200


def test_a_part_of_one_image_is_trained_on_unless_batch_norm_refuses_it(splits: Splits, prepare: Prepare) -> None:
    data, training = {"batch_size": 33}, {"micro_batches": 4, "epochs": 1}  # 33 = 9 + 9 + 9 + 6; the last 2 are 2
    state = prepare(splits, data={"batch_size": 199}, training={**training, "micro_batches": 2})  # 100 + 99, 1
    (record,) = fit(state)
    assert record.train_loss > 0
    model = {"architecture": "mlp", "hidden": [16], "batch_norm": True}
    prepare(splits, model=model, data=data, training=training)
    for size, count, what in (
        (199, 2, "micro-batches"),
        (199, 1, "batches"),
        (5, 2, "micro-batches"),
        (2, 2, "micro-batches"),
    ):
        if size == 5:  # 3 + 2 images are well
            prepare(splits, model=model, data={"batch_size": size}, training={**training, "micro_batches": count})
            continue
        with pytest.raises(ConfigError, match=f"the last of the {what} of 200 images holds a single one"):
            prepare(splits, model=model, data={"batch_size": size}, training={**training, "micro_batches": count})


def test_more_parts_than_images_are_refused(config: Any) -> None:
    with pytest.raises(AssertionError, match="a batch has 8 images, which can't be cut into more parts"):
        config(data={"batch_size": 8}, training={"micro_batches": 9})


@pytest.mark.parametrize("model", [DROPOUT, NORMED])
def test_a_state_that_is_saved_within_an_epoch_continues_with_the_same_bits(
    splits: Splits, prepare: Prepare, model: Any
) -> None:
    sections = {"model": model, "training": {"micro_batches": 4, "epochs": 2, "ema": 0.9, "mixup": 0.4}}
    state, twin = prepare(splits, **sections), prepare(splits, **sections)
    for _ in islice(steps(state), 3):
        pass
    twin.load_state_dict(deepcopy(state.state_dict()))
    for each in (state, twin):
        list(fit(each))
    for one, other in zip(state.model.state_dict().values(), twin.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_not_finite_in_one_part_takes_no_step(splits: Splits, prepare: Prepare) -> None:
    state = prepare(splits, training={"micro_batches": 4})
    before = [each.detach().clone() for each in state.parameters]
    first = next(iter(micro_batches(splits.train, 32, 0, 0, 0, 4, range(4))))[1]
    state.criterion.batch_loss, plain = (
        lambda outputs, labels: plain(outputs, labels) * (float("nan") if torch.equal(labels, first) else 1),
        state.criterion.batch_loss,
    )
    with pytest.raises(DivergedError, match="The loss became nan in epoch 1, step 1 of 7"):
        next(steps(state))
    assert all(torch.equal(one, other) for one, other in zip(before, state.parameters, strict=True))
