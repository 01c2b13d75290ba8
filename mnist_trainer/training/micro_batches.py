"""The micro-batches of a step, whose gradients are summed along a fixed binary tree (`training.micro_batches`).

Each batch is cut into K micro-batches. The random numbers, batch statistics and gradient of a micro-batch depend on its
position alone, and all sums have a fixed order. So it does not matter which process computes a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from mnist_trainer.training.distributed import Ranks, lost_processes
from mnist_trainer.training.losses import Labels, gradient_shares, main_labels

if TYPE_CHECKING:
    from mnist_trainer.training.state import TrainingState

MicroBatch = tuple[Tensor, Labels]
"""Images [B, 28, 28] with values from 0 to 255, and labels [B]; no images [0, 28, 28] if another process has them."""

Node = tuple[int, int, Tensor]
"""A node of the tree over K leaves: its level (0: a leaf), its index in the level, and the sum of its leaves [P]."""


class StepMicroBatches:
    """The micro-batches of one step: the K of its first batch, then those of the next one (`training.accumulate`).

    Each process computes K / processes of them. The gradients are accumulated over the batches, and the K sums are
    added along the tree.
    """

    def __init__(self, state: TrainingState, micro_batches: Sequence[MicroBatch]) -> None:
        self.state, self.micro_batches, self.count = state, micro_batches, state.micro_batches
        self.ranks, self.is_exact = state.setup.ranks, state.setup.config.training.reduce == "exact"
        self.shares = gradient_shares(state.criterion, micro_batches)
        self.norms = RunningStatistics(state.model) if self.count > 1 else None
        self.nodes: list[Node] = []
        self.terms: dict[int, Tensor] = {}
        """The terms of the running statistics [S], by the position of the micro-batch."""

    def own(self) -> Iterator[tuple[MicroBatch, Tensor | float]]:
        """Yield each micro-batch of this process and the factor of its loss, for the caller to compute its gradient."""
        if self.norms is None:
            yield from zip(self.micro_batches, self.shares, strict=True)
            return
        for index in self.ranks.share(self.count):
            for position in range(index, len(self.micro_batches), self.count):
                if len(self.micro_batches[position][0]):
                    self.state.seed_dropout(position)
                    self.norms.reset()
                    yield self.micro_batches[position], self.shares[position]
                    self.terms[position] = self.norms.values(like=self.state.nonfinite)
            if self.is_exact:
                add_node(self.nodes, 0, index, take_gradients(self.state.parameters), self.count)

    def reduce(self, results: Sequence[Tensor]) -> list[tuple[Labels, Tensor]]:
        """Sum the gradients of all processes; return the labels and the result of each micro-batch, in their order.

        `results` are what `TrainingState.measure` returned for those of `own`. A micro-batch without images has none.
        """
        labels = [labels for _, labels in self.micro_batches]
        if self.norms is None:
            return list(zip(labels, results, strict=True))
        measured = 2 + len(self.state.criterion.term_names)
        rows = self.state.nonfinite.new_zeros(len(labels), measured + self.norms.size)
        for (position, terms), result in zip(self.terms.items(), results, strict=True):
            rows[position] = torch.cat((result, terms))
        rows = self._sum_gradients(rows)
        chosen = [position for position, each in enumerate(labels) if len(main_labels(each))]
        self.norms.fold([rows[position, measured:] for position in chosen])
        return [(labels[position], rows[position, :measured]) for position in chosen]

    def _sum_gradients(self, rows: Tensor) -> Tensor:
        """Set the sum of all gradients, and return the `rows` of all processes; those of other processes are 0 here."""
        if self.ranks.size == 1:
            if self.is_exact:
                set_gradients(self.state.parameters, self.nodes[0][2])
            return rows
        own = torch.cat((rows.flatten(), self.state.own_requests()))
        if self.is_exact:
            gradient, each = sum_along_tree(self.nodes, self.count, own, self.ranks)
        else:
            gradient, each = sum_at_once(take_gradients(self.state.parameters), own, self.ranks)
        set_gradients(self.state.parameters, gradient)
        self.state.requests = each[:, rows.numel() :]
        return each[:, : rows.numel()].sum(dim=0).view_as(rows)  # one process alone has a row that is not 0


def sum_along_tree(nodes: Sequence[Node], count: int, own: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the sum of the gradients of all processes [P], and what each of them has as `own` [ranks, M].

    `nodes` are the sums over the micro-batches of this process. Each process sums one part of the gradient along the
    tree over all `count` micro-batches; then the parts are gathered.
    """
    total = len(nodes[0][2])
    part = -(-total // ranks.size)
    padded = [functional.pad(value, (0, part * ranks.size - total)).view(ranks.size, part) for _, _, value in nodes]
    sent = torch.stack(padded, dim=1).flatten(0, 1)  # for each process its part of each node
    shapes = [tree_shape(ranks.share(count, rank), count) for rank in range(ranks.size)]
    received = sent.new_empty(sum(map(len, shapes)), part)
    with lost_processes():
        dist.all_to_all_single(received, sent, list(map(len, shapes)), [len(nodes)] * ranks.size)
    root: list[Node] = []
    for (level, index), value in zip(chain.from_iterable(shapes), received, strict=True):
        add_node(root, level, index, value, count)
    message = torch.cat((root[0][2], own))
    each = message.new_empty(ranks.size, len(message))
    with lost_processes():
        dist.all_gather(list(each.unbind()), message)
    return each[:, :part].flatten()[:total], each[:, part:]


def sum_at_once(gradient: Tensor, own: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return what `sum_along_tree` does, by one all-reduce. The order of summation depends on the processes."""
    each = own.new_zeros(ranks.size, len(own))
    each[ranks.rank] = own
    message = torch.cat((gradient, each.flatten()))
    with lost_processes():
        dist.all_reduce(message)
    return message[: len(gradient)], message[len(gradient) :].view_as(each)


def add_node(nodes: list[Node], level: int, index: int, value: Tensor, count: int) -> None:
    """Add the next node of a tree over `count` leaves, and sum siblings. The last node of a level may have no sibling.

    After all leaves `nodes` holds the root alone.
    """
    while (width := -(-count // 2**level)) > 1:
        if index % 2 and nodes and nodes[-1][:2] == (level, index - 1):
            value = nodes.pop()[2].add_(value)
        elif index % 2 or index + 1 < width:
            break
        level, index = level + 1, index // 2
    nodes.append((level, index, value))


def tree_shape(leaves: Iterable[int], count: int) -> list[tuple[int, int]]:
    """Return level and index of the nodes that `add_node` makes of some neighbouring `leaves`."""
    nodes: list[Node] = []
    for leaf in leaves:
        add_node(nodes, 0, leaf, torch.empty(0), count)
    return [(level, index) for level, index, _ in nodes]


def take_gradients(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Remove the gradients; return them as one vector [P], with zeros where there is none."""
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    for each in parameters:
        each.grad = None
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def set_gradients(parameters: Sequence[nn.Parameter], gradient: Tensor) -> None:
    """Set the gradients from one vector [P], in the memory format of the parameters."""
    parts = torch.split(gradient, [each.numel() for each in parameters])
    for each, part in zip(parameters, parts, strict=True):
        each.grad = torch.empty_like(each).copy_(part.view(each.shape))


class RunningStatistics:
    """The running values of batch norm, updated by the micro-batches of a step in their order.

    For each micro-batch a layer computes running ← (1 − momentum) · running + momentum · statistic. Here running is set
    to 0 before, so that the last term alone is left, and `fold` adds the terms of all micro-batches. A layer whose
    momentum is None computes the mean of all statistics, whose number is set to 0 as well.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.layers = [norm for norm in norms if norm.training and norm.track_running_stats]
        buffers = ((norm, buffer) for norm in self.layers for buffer in (norm.running_mean, norm.running_var))
        self.buffers = [(norm, buffer) for norm, buffer in buffers if buffer is not None]
        self.before = [buffer.clone() for _, buffer in self.buffers]
        self.counts = [norm.num_batches_tracked for norm in self.layers if norm.num_batches_tracked is not None]
        self.counts_before = [count.clone() for count in self.counts]
        self.size = sum(len(buffer) for _, buffer in self.buffers)

    def reset(self) -> None:
        """Set the running values to 0."""
        for buffer in (*(buffer for _, buffer in self.buffers), *self.counts):
            buffer.zero_()

    def values(self, like: Tensor) -> Tensor:
        """Return a copy of all running values as one vector [S], on the device of `like`."""
        return torch.cat([like.new_empty(0), *(buffer for _, buffer in self.buffers)])

    def fold(self, terms: Sequence[Tensor]) -> None:
        """Set the running values to those after all micro-batches, whose `terms` [S] are given."""
        for count, before in zip(self.counts, self.counts_before, strict=True):
            count.copy_(before + len(terms))
        sizes = [len(buffer) for _, buffer in self.buffers]
        for (norm, buffer), before, *parts in zip(
            self.buffers, self.before, *(torch.split(term, sizes) for term in terms), strict=True
        ):
            buffer.copy_(before)
            for later, part in zip(reversed(range(len(parts))), parts, strict=True):
                if norm.momentum is None and norm.num_batches_tracked is not None:
                    buffer.lerp_(part, 1 / (norm.num_batches_tracked - later))
                else:
                    buffer.mul_(1 - (norm.momentum or 0.0)).add_(part)
