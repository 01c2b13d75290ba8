"""The running mean of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class RunningMean(AveragedModel):
    """Torch's averaged model, as mean ← decay·mean + (1 − decay)·weights; the first weights are taken as they are.

    Torch's own update sends its count to the weights' device at each step, and an accelerator is waited for.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's present weights into the mean; of what is counted in whole numbers the last."""
        share = 1 - self.decay if self.n_averaged else 1.0
        pairs = list(zip(_values(self.module), _values(model), strict=True))
        means, weights = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, weights, share)
        for count, present in pairs:
            if not count.is_floating_point():
                count.copy_(present)
        self.n_averaged += 1


def _values(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
