"""Build activations by name: torch's modules, and modules for the few that torch lacks.

Derivatives at discontinuities follow torch: at 0, relu, leaky_relu, prelu, elu and relu6 have the derivative of the
negative side (0 or the slope), alrelu has 0, and maxout distributes its gradient evenly among equal values.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from mnist_trainer.config import model as cfg


class Step(nn.Module):
    """1 for x > 0, else 0 (Rosenblatt's threshold; 0 at 0). Its gradient is 0 everywhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return 0 or 1 for each value."""
        return torch.sign(torch.relu(inputs))


class ScaledTanh(nn.Module):
    """1.7159·tanh(0.6666·x), which is close to ±1 at ±1 (LeCun et al., Efficient BackProp, 1998)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return values between −1.7159 and 1.7159, of the same shape."""
        return 1.7159 * torch.tanh(0.6666 * inputs)


class SlopedSigmoid(nn.Module):
    """1 / (1 + e^(−slope·x)), the logistic function with a slope."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, inputs: Tensor) -> Tensor:
        """Return values between 0 and 1, of the same shape."""
        return torch.sigmoid(self.slope * inputs)

    def extra_repr(self) -> str:
        """Return what is shown when the model is printed."""
        return f"slope={self.slope}"


class AbsoluteLeakyReLU(nn.Module):
    """x for x > 0, else |alpha·x|."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, inputs: Tensor) -> Tensor:
        """Return values of at least 0, of the same shape."""
        return torch.where(inputs > 0, inputs, (self.alpha * inputs).abs())

    def extra_repr(self) -> str:
        """Return what is shown when the model is printed."""
        return f"alpha={self.alpha}"


class Maxout(nn.Module):
    """The largest of each `pieces` neighbouring units or channels (Goodfellow et al. 2013, arXiv 1302.4389)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [B, n, …] for inputs [B, n·pieces, …]."""
        batch, units, *rest = inputs.shape
        return inputs.reshape(batch, units // self.pieces, self.pieces, *rest).amax(dim=2)

    def extra_repr(self) -> str:
        """Return what is shown when the model is printed."""
        return f"pieces={self.pieces}"


PLAIN: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "step": Step,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "relu6": nn.ReLU6,
}


def build_activation(activation: cfg.AnyActivation) -> nn.Module:  # noqa: PLR0911 - one return a kind
    """Return the module for an activation of the config."""
    match activation:
        case cfg.PlainActivation():
            return PLAIN[activation.name]()
        case cfg.Sigmoid():
            return nn.Sigmoid() if activation.slope == 1 else SlopedSigmoid(activation.slope)
        case cfg.LeakyRelu():
            return nn.LeakyReLU(activation.slope)
        case cfg.AbsoluteLeakyRelu():
            return AbsoluteLeakyReLU(activation.alpha)
        case cfg.ParametricRelu():
            return nn.PReLU(init=activation.slope)
        case cfg.RandomRelu():
            return nn.RReLU(activation.lower, activation.upper)
        case cfg.Elu():
            return nn.ELU(activation.alpha)
        case cfg.Softplus():
            return nn.Softplus(activation.beta)
        case cfg.Maxout():
            return Maxout(activation.pieces)
        case _:
            assert_never(activation)
