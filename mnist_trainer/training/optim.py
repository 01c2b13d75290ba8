"""Optimizers by name: torch's own, with the fused kernels where there are some.

Torch's momentum is v ← β·v + g, θ ← θ − α·v. The lecture's v ← β·v + α·g, θ ← θ − v takes the same steps as long as
the rate α stays constant; when α falls, torch's shrinks the remembered direction with it.

The learning rate as a function of the step: nothing is remembered, so any step can be asked for.

Which epoch was the best so far, and whether there is hope for a better one (Prechelt 1998, "Early stopping").

The running mean of a model's weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import cos, pi
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_trainer.config.objective import (
    Adagrad,
    Adam,
    AnyOptimizer,
    AnySchedule,
    Constant,
    Decay,
    Exponential,
    GradientDescent,
    OneCycle,
    Plateau,
    RmsProp,
    Sgd,
    StepDecay,
)
from mnist_trainer.config.schema import EarlyStopping


def build_optimizer(config: AnyOptimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimizer for `config`, over those parameters that are to be trained.

    `gradient_descent` is plain SGD too: that its one step an epoch sees all images is the loop's business.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    decay = config.weight_decay
    match config:
        case GradientDescent():
            return torch.optim.SGD(parameters, lr=config.lr, weight_decay=decay, fused=True)
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=decay,
                fused=True,
            )
        case Adam():
            kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
            beta1, beta2 = config.betas
            return kind(parameters, lr=config.lr, betas=(beta1, beta2), eps=config.eps, weight_decay=decay, fused=True)
        case RmsProp():
            return torch.optim.RMSprop(
                parameters,
                lr=config.lr,
                alpha=config.alpha,
                momentum=config.momentum,
                eps=config.eps,
                weight_decay=decay,
            )
        case Adagrad():
            return torch.optim.Adagrad(parameters, lr=config.lr, eps=config.eps, weight_decay=decay)
        case _:
            assert_never(config)


def lr_multiplier(schedule: AnySchedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the learning rate is multiplied with at `step` (from 0); plateau's own falls come on top of it.

    `warmup` is a straight climb over its share of the steps, and the schedule itself runs over the steps after it
    (step and exponential count epochs from the start). one_cycle climbs and falls along half cosines (Smith & Topin
    2018, arXiv 1708.07120). cosine, linear and one_cycle reach `final` at the last step; a single step, also one that
    the warmup leaves alone, has the full rate.

    The factors are torch's: OneCycleLR (but momentum stays as it is, and a warmup of a single step or none starts at
    the full rate), StepLR and ExponentialLR called once an epoch, CosineAnnealingLR and LinearLR called once a step
    with T_max and total_iters one less than the number of steps.
    """
    total_steps = steps_per_epoch * epochs
    last = total_steps - 1
    warm = min(round(schedule.warmup * total_steps), last)
    epoch = step // steps_per_epoch
    if isinstance(schedule, OneCycle):
        peak = max(schedule.warmup * total_steps - 1, 0)
        if step < peak:
            return _cosine_ramp(schedule.start, 1.0, step / peak)
        return _cosine_ramp(1.0, schedule.final, (step - peak) / (last - peak or 1))
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(last - warm, 1)
    match schedule:
        case Constant() | Plateau():
            return 1.0
        case StepDecay():
            return schedule.gamma ** (epoch // schedule.every)
        case Exponential():
            return schedule.gamma**epoch
        case Decay(name="cosine"):
            return _cosine_ramp(1.0, schedule.final, done)
        case Decay():
            return 1.0 + (schedule.final - 1.0) * done
        case _:
            assert_never(schedule)


def _cosine_ramp(start: float, end: float, progress: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine."""
    return end + (start - end) * (1 + cos(pi * min(progress, 1.0))) / 2


@dataclass
class PlateauState:
    """Falls made so far by `plateau`: × factor after more than `patience` epochs without a lower validation loss."""

    factor: float = 1.0
    best: float = float("inf")
    num_bad_epochs: int = 0

    def update(self, schedule: AnySchedule, val_loss: float | None) -> None:
        """Takes an epoch's validation loss into account; other schedules than plateau are let be."""
        if not isinstance(schedule, Plateau) or val_loss is None:
            return
        if val_loss < self.best:
            self.best, self.num_bad_epochs = val_loss, 0
            return
        self.num_bad_epochs += 1
        if self.num_bad_epochs > schedule.patience:
            self.factor, self.num_bad_epochs = self.factor * schedule.factor, 0


@dataclass
class BestEpoch:
    """The best epoch by a validation figure; ties go to the earlier epoch. Without figures the last epoch is best.

    A figure must be better by more than `min_delta` for patience to start anew, but any better figure is kept as best.
    """

    epoch: int = 0
    metric: float | None = None
    patience_score: float | None = None
    num_bad_epochs: int = 0

    def update(
        self, rule: EarlyStopping | None, epoch: int, val_loss: float | None, val_accuracy: float | None
    ) -> bool:
        """Whether `epoch` (from 1) is the best so far."""
        monitored, margin = (rule.monitor, rule.min_delta) if rule else ("val_loss", 0.0)
        metric = val_loss if monitored == "val_loss" else val_accuracy
        if metric is None:
            self.epoch = epoch
            return True
        score = -metric if monitored == "val_loss" else metric  # larger is better
        if self.patience_score is None or score > self.patience_score + margin:
            self.patience_score, self.num_bad_epochs = score, 0
        else:
            self.num_bad_epochs += 1
        improved = self.metric is None or score > self.metric
        if improved:
            self.epoch, self.metric = epoch, score
        return improved

    def is_exhausted(self, rule: EarlyStopping | None) -> bool:
        """Whether patience has run out."""
        return rule is not None and self.num_bad_epochs >= rule.patience


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
        decay = min(self.decay, (1 + count) / (10 + count))
        pairs = list(zip(_values(self.module), _values(model), strict=True))
        means, weights = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        get_ema_multi_avg_fn(decay)(means, weights, count)  # type: ignore[no-untyped-call]
        for mean, present in pairs:
            if not mean.is_floating_point():
                mean.copy_(present)
        self.n_averaged += 1


def _values(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
