"""The running mean of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class ExponentialMovingAverage(AveragedModel):
    """Torch's averaged model, as mean ← d·mean + (1 − d)·weights, with d = min(decay, (1 + n) / (10 + n)) at update n.

    n counts from 0. The mean of a short training forgets the initial weights, too (as in TensorFlow's
    ExponentialMovingAverage). Torch's own update sends its count to the weights' device at each step, and an
    accelerator is waited for.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's present weights into the mean; of what is counted in whole numbers the last."""
        count = int(self.n_averaged)
        weight = 1 - min(self.decay, (1 + count) / (10 + count))
        pairs = list(zip(_values(self.module), _values(model), strict=True))
        means, weights = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, weights, weight)
        for mean, present in pairs:
            if not mean.is_floating_point():
                mean.copy_(present)
        self.n_averaged += 1


def _values(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
