"""The optimizer and what stands around its step: loss scaling, clipping, and a guard against what is not finite."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor, nn

from mnist_trainer.model.device import Precision


class Stepper:
    """An optimizer that scales the loss (float16), clips the gradient, and moves along nothing that is not finite.

    On a CPU a loss or gradient that is not finite is seen at once. An accelerator must not be waited for: there `bad`
    becomes 1 (in `guard`, which is saved), no parameter moves from that step on, and `is_finite` is asked at the
    epoch's end. Gradients in float16 overflow now and then: they are its scaler's business, which skips the step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device, precision: Precision) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.waits = device.type == "cpu"
        self.guard = torch.zeros(2, device=device)
        self.bad = self.guard[0]
        self.one = torch.ones((), device=device)
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
        """Whether `loss` may go on to the gradients: on a CPU if it is finite, else always (see `bad`)."""
        if self.waits:
            return isfinite(loss.item())
        self.bad.logical_or_(~torch.isfinite(loss.detach()))
        return True

    def is_finite(self) -> bool:
        """Whether every loss and gradient so far was finite; waits for the accelerator."""
        return not self.bad

    @property
    def lost(self) -> int:
        """Steps that were not taken because of that; waits for the accelerator."""
        return int(self.guard[1])

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to the parameters'."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> bool:
        """Move the parameters along their gradients. False on a CPU where these are not finite, and nothing moved."""
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        if not self.scaler.is_enabled():
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            # GradScaler's own check: one pass over all gradients (× 1), 6 µs where a norm takes 30
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, self.bad, self.one)
        if not self.waits:
            self._step_unless_bad()
        elif self.bad:
            return False
        else:
            self._step()
        return True

    def _step(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @torch.no_grad()
    def _step_unless_bad(self) -> None:
        """A step that leaves all parameters as they are if `bad` is 1, which only the device knows."""
        self.guard[1] += self.bad
        if getattr(self.optimizer, "_step_supports_amp_scaling", False) and not self.scaler.is_enabled():
            self.optimizer.found_inf = self.bad  # type: ignore[attr-defined]  # fused kernels ask it themselves
            self._step()
            return
        before = [parameter.clone() for parameter in self.parameters]
        self._step()
        for parameter, old in zip(self.parameters, before, strict=True):
            parameter.copy_(torch.where(self.bad == 0, parameter, old))
