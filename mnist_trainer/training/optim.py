"""Optimizers, learning-rate schedules, early stopping, and an EMA of the weights.

torch's momentum is v ← β·v + g, θ ← θ − α·v. The lecture's v ← β·v + α·g, θ ← θ − v takes the same steps as long as
the learning rate α is constant. When α decreases, torch's version scales the momentum down with it.
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

from mnist_trainer.config import schema as cfg


def build_optimizer(config: cfg.AnyOptimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the torch optimizer for the unfrozen `parameters`, with fused kernels where they exist.

    `gradient_descent` is plain SGD; the loop gives it all images in each step.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    lr, decay = config.lr, config.weight_decay
    match config:
        case cfg.GradientDescent():
            return torch.optim.SGD(trained, lr, weight_decay=decay, fused=True)
        case cfg.Sgd():
            momentum, nesterov = config.momentum, config.nesterov
            return torch.optim.SGD(trained, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
        case cfg.Adam():
            kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
            beta1, beta2 = config.betas
            return kind(trained, lr, betas=(beta1, beta2), eps=config.eps, weight_decay=decay, fused=True)
        case cfg.RmsProp():
            return torch.optim.RMSprop(trained, lr, config.alpha, config.eps, decay, config.momentum)
        case cfg.Adagrad():
            return torch.optim.Adagrad(trained, lr, eps=config.eps, weight_decay=decay)
        case _:
            assert_never(config)


def lr_multiplier(schedule: cfg.AnySchedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate at `step` (from 0), without the reductions of `plateau`.

    `warmup` is the fraction of the steps with a linear increase. The schedule itself runs over the steps after it (step
    and exponential count epochs from the start). one_cycle rises and falls along half cosines (Smith & Topin 2018,
    arXiv 1708.07120). cosine, linear and one_cycle reach `final` at the last step. If only one step is left after the
    warmup, it has the full learning rate.

    The factors are torch's: OneCycleLR (but momentum is constant, and a warmup of at most one step starts at the full
    rate), StepLR and ExponentialLR called once an epoch, CosineAnnealingLR and LinearLR called once a step with T_max
    and total_iters one less than the number of steps.
    """
    total_steps = steps_per_epoch * epochs
    last = total_steps - 1
    epoch = step // steps_per_epoch
    if isinstance(schedule, cfg.OneCycle):
        peak = max(schedule.warmup * total_steps - 1, 0)
        if step < peak:
            return _cosine_ramp(schedule.start, 1.0, step / peak)
        return _cosine_ramp(1.0, schedule.final, (step - peak) / (last - peak or 1))
    warmup_steps = min(round(schedule.warmup * total_steps), last)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(last - warmup_steps, 1)
    match schedule:
        case cfg.Constant() | cfg.Plateau():
            return 1.0
        case cfg.StepDecay():
            return schedule.gamma ** (epoch // schedule.every)
        case cfg.Exponential():
            return schedule.gamma**epoch
        case cfg.Decay(name="cosine"):
            return _cosine_ramp(1.0, schedule.final, progress)
        case cfg.Decay():
            return 1.0 + (schedule.final - 1.0) * progress
        case _:
            assert_never(schedule)


def _cosine_ramp(start: float, end: float, progress: float) -> float:
    """Return the value at `progress` (0 to 1) on half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + cos(pi * min(progress, 1.0))) / 2


@dataclass
class PlateauState:
    """The learning-rate reductions of the schedule `plateau`, as in torch's ReduceLROnPlateau."""

    factor: float = 1.0
    best: float = float("inf")
    num_bad_epochs: int = 0

    def update(self, schedule: cfg.AnySchedule, val_loss: float | None) -> None:
        """Multiply `factor` after more than `patience` epochs without a lower validation loss."""
        if not isinstance(schedule, cfg.Plateau) or val_loss is None:
            return
        if val_loss < self.best:
            self.best, self.num_bad_epochs = val_loss, 0
            return
        self.num_bad_epochs += 1
        if self.num_bad_epochs > schedule.patience:
            self.factor, self.num_bad_epochs = self.factor * schedule.factor, 0


@dataclass
class BestEpoch:
    """The best epoch by a validation metric, and the patience counter (Prechelt 1998, "Early stopping").

    Of equal epochs the first is the best. Patience is reset when the metric is better by more than `min_delta`, but any
    better epoch becomes the best. Metrics are stored so that larger is better.
    """

    epoch: int = 0
    """The epoch whose weights are kept: the best; the last one without validation, or with `training.keep: last`."""
    metric: float | None = None
    patience_score: float | None = None
    num_bad_epochs: int = 0

    def update(self, training: cfg.Training, epoch: int, val_loss: float | None, val_accuracy: float | None) -> bool:
        """Return whether `epoch` (from 1) is the best so far; never without validation."""
        rule = training.early_stopping
        monitored, margin = (rule.monitor, rule.min_delta) if rule else ("val_loss", 0.0)
        metric = val_loss if monitored == "val_loss" else val_accuracy
        if metric is None:
            self.epoch = epoch
            return False
        score = -metric if monitored == "val_loss" else metric
        if self.patience_score is None or score > self.patience_score + margin:
            self.patience_score, self.num_bad_epochs = score, 0
        else:
            self.num_bad_epochs += 1
        improved = self.metric is None or score > self.metric
        if improved:
            self.metric = score
        if improved or training.keep == "last":
            self.epoch = epoch
        return improved

    def is_exhausted(self, rule: cfg.EarlyStopping | None) -> bool:
        """Return whether patience has run out."""
        return rule is not None and self.num_bad_epochs >= rule.patience


class ExponentialMovingAverage(AveragedModel):
    """A running mean of a model: mean ← d·mean + (1 − d)·weights, d = min(decay, (1 + n) / (10 + n)) at update n ≥ 0.

    The smaller d of the first updates removes the initial weights from the mean of a short training (as in TensorFlow's
    ExponentialMovingAverage). Unlike torch's update, this one does not synchronize with an accelerator.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the mean with the current weights and batch statistics; copy integers, such as counts of batches."""
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
