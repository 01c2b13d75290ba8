"""Build an `nn.Sequential` from the layers of a config. The same seed gives the same weights on every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from mnist_trainer.config import model as cfg
from mnist_trainer.config.layers import LayerInfo, Shape, expand, infer_shapes
from mnist_trainer.model.activations import Maxout, build_activation
from mnist_trainer.seeds import seed_for

WeightedLayer = nn.Linear | nn.Conv2d


class ResidualBlock(nn.Module):
    """x + body(x) (He et al. 2015, arXiv 1512.03385); the body keeps the shape."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum, of the shape of the inputs."""
        residual: Tensor = self.body(inputs)
        return inputs + residual


class SqueezeExciteBlock(nn.Module):
    """x · body(x): each channel times its scale (Hu et al. 2017, arXiv 1709.01507, equations 2 to 4)."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scaled channels, [B, c, h, w] as the inputs."""
        scales: Tensor = self.body(inputs)  # [B, c]
        return inputs * scales[:, :, None, None]


class MaxAndAverage(nn.Module):
    """Max pooling and average pooling, concatenated: [B, c, h, w] → [B, 2c, h′, w′]."""

    def __init__(self, largest: nn.Module, mean: nn.Module) -> None:
        super().__init__()
        self.largest, self.mean = largest, mean

    def forward(self, inputs: Tensor) -> Tensor:
        """Return twice as many channels as the inputs have."""
        return torch.cat((self.largest(inputs), self.mean(inputs)), dim=1)


def build_model(model: cfg.AnyModel, outputs: int, seed: int = 0) -> nn.Sequential:
    """Return the network on the CPU, [B, 1, 28, 28] → [B, outputs], with initial weights drawn from `seed`.

    Under `torch.device("meta")` it takes no memory and its weights have no values.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, "weights"))  # torch.manual_seed would seed CUDA's too
        network = _sequential(infer_shapes(expand(model), outputs))
        for module in network.modules():
            if isinstance(module, WeightedLayer):
                _initialize(module, model.init)
    return network


def _sequential(info: Sequence[LayerInfo]) -> nn.Sequential:
    return nn.Sequential(*map(_build_layer, info))


def _build_layer(info: LayerInfo) -> nn.Module:  # noqa: PLR0911 - one return a layer
    """Return torch's module for a layer of known shapes."""
    layer, inputs, outputs = info.layer, info.inputs, info.outputs
    match layer:
        case cfg.Linear():
            return nn.Linear(inputs[0], outputs[0], bias=layer.bias)
        case cfg.MaxoutLayer():
            return nn.Sequential(nn.Linear(inputs[0], layer.units * layer.pieces), Maxout(layer.pieces))
        case cfg.Conv():
            return _build_conv(layer, inputs[0])
        case cfg.Pool():
            return _build_pool(layer, inputs[1:])
        case cfg.Flatten():
            return nn.Flatten()
        case cfg.BatchNorm():
            return nn.BatchNorm1d(inputs[0]) if len(inputs) == 1 else nn.BatchNorm2d(inputs[0])
        case cfg.LayerNorm():
            return nn.LayerNorm(inputs)
        case cfg.Dropout():
            return nn.Dropout(layer.rate)
        case cfg.ActivationLayer():
            return build_activation(layer.function)
        case cfg.Output():
            return {"softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(1), "sigmoid": nn.Sigmoid()}[layer.function]
        case cfg.Residual():
            return ResidualBlock(_sequential(info.inner))
        case cfg.SqueezeExcite():
            return SqueezeExciteBlock(_sequential(info.inner))
        case _:
            assert_never(layer)


def _build_conv(layer: cfg.Conv, inputs: int) -> nn.Module:
    """Return the convolution for `inputs` channels."""
    if layer.padding == "same" and layer.kernel % 2 == 0:
        # torch's `same` pads even kernels in the same way, but warns on each start.
        before, after = (layer.kernel - 1) // 2, layer.kernel // 2
        conv = nn.Conv2d(inputs, layer.channels, layer.kernel, bias=layer.bias)
        return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), conv)
    return nn.Conv2d(inputs, layer.channels, layer.kernel, stride=layer.stride, padding=layer.padding, bias=layer.bias)


def _build_pool(layer: cfg.Pool, sides: Shape) -> nn.Module:
    """Return the pooling layer for images of `sides` (height, width)."""
    if layer.kind == "both":
        kinds = (layer.model_copy(update={"kind": kind}) for kind in ("max", "average"))
        return MaxAndAverage(*(_build_pool(part, sides) for part in kinds))
    if layer.kind == "max":
        # global: AdaptiveMaxPool2d has no deterministic gradient on CUDA
        return nn.MaxPool2d(sides if layer.size == "global" else layer.size)
    return nn.AdaptiveAvgPool2d(1) if layer.size == "global" else nn.AvgPool2d(layer.size)


def _initialize(
    module: WeightedLayer, init: cfg.PlainInit | cfg.NormalInit | cfg.UniformInit | cfg.ConstantInit
) -> None:
    """Set the weights of a layer as `init` says; biases become 0, but for torch's default and a constant."""
    match init:
        case cfg.PlainInit(name="default"):
            return
        case cfg.PlainInit(name="xavier"):
            nn.init.xavier_uniform_(module.weight)
        case cfg.PlainInit(name="kaiming"):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        case cfg.PlainInit():
            nn.init.zeros_(module.weight)
        case cfg.NormalInit():
            nn.init.normal_(module.weight, std=init.std)
        case cfg.UniformInit():
            nn.init.uniform_(module.weight, -init.bound, init.bound)
        case cfg.ConstantInit():
            nn.init.constant_(module.weight, init.value)
        case _:
            assert_never(init)
    if module.bias is not None:
        nn.init.constant_(module.bias, init.bias if isinstance(init, cfg.ConstantInit) else 0.0)


def weighted_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules with direct parameters, in forward order."""
    return [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]


def load_matching_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy all `weights` whose name and shape match into `model` and return their names."""
    own = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict({**own, **fitting})
    return list(fitting)


def freeze(model: nn.Module, count: int) -> list[nn.Module]:
    """Freeze the first `count` layers with weights and return them. The caller keeps them in eval mode (batch norm)."""
    frozen = weighted_modules(model)[:count]
    for module in frozen:
        module.requires_grad_(False)
    return frozen
