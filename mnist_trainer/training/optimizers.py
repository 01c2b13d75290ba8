"""Optimizers by name: torch's own, with the fused kernels where there are some.

Torch's momentum is v ← β·v + g, θ ← θ − α·v. The lecture's v ← β·v + α·g, θ ← θ − v takes the same steps as long as
the rate α stays constant; when α falls, torch's shrinks the remembered direction with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import nn

from mnist_trainer.config.objective import Adagrad, Adam, AnyOptimizer, GradientDescent, RmsProp, Sgd


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
