"""The optimizer and what stands around its step: loss scaling, clipping, and a guard against what is not finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_trainer.model.device import Precision


class Stepper:
    """An optimizer that scales the loss (float16), clips the gradient, and lets nothing but finite losses through.

    On a CPU a loss that is not finite is seen at once. An accelerator must not be waited for: there a flag on the
    device turns the gradients to zero from that step on, and `is_finite` is asked at the epoch's end.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device, precision: Precision) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.flag = None if device.type == "cpu" else torch.ones((), device=device)
        self.clip_norm: float | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def rate(self) -> float:
        """The learning rate of the last step (of the first parameter group)."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, factor: float) -> None:
        """Every group's own learning rate × `factor`."""
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor

    def admits(self, loss: Tensor) -> bool:
        """Whether `loss` may go on to the gradients: on a CPU if it is finite, else always (see the flag)."""
        if self.flag is None:
            return bool(torch.isfinite(loss))
        self.flag *= torch.isfinite(loss.detach())
        return True

    def is_finite(self) -> bool:
        """Whether every loss so far was finite; waits for the accelerator."""
        return self.flag is None or bool(self.flag)

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to the parameters'."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Move the parameters along their gradients."""
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        if self.flag is not None:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.masked_fill_(self.flag == 0, 0.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
