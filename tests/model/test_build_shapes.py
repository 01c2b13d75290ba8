"""Random lists of layers: shapes on paper (`config/layers.py`) are those of the modules (`model/build.py`)."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor, nn

from mnist_trainer.config.layers import LayerInfo, ShapeError, infer_shapes
from mnist_trainer.config.model import (
    AnyLayer,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    LayerNorm,
    Layers,
    Linear,
    MaxoutLayer,
    Pool,
    Residual,
    SqueezeExcite,
)
from mnist_trainer.model.build import ResidualBlock, SqueezeExciteBlock, build_model

FUNCTIONS = st.sampled_from(["relu", "prelu", "maxout", "tanh", "rrelu"]).map(
    lambda name: TypeAdapter(AnyLayer).validate_python({"type": "activation", "function": {"name": name}})
)
SMALL = st.integers(min_value=1, max_value=6)
PLAIN_LAYERS = (
    st.builds(Linear, units=SMALL | st.just("classes"), bias=st.booleans())
    | st.builds(MaxoutLayer, units=SMALL, pieces=st.integers(min_value=2, max_value=3))
    | st.builds(
        Conv,
        channels=SMALL,
        kernel=SMALL,
        stride=st.just(1) | st.just(2),
        padding=st.just("same") | SMALL,
        bias=st.booleans(),
    )
    | st.builds(Pool, size=SMALL | st.just("global"), kind=st.sampled_from(["max", "average", "both"]))
    | st.builds(SqueezeExcite, reduction=SMALL)
    | st.just(Flatten())
    | st.just(BatchNorm())
    | st.just(LayerNorm())
    | st.just(Dropout(rate=0.5))
    | FUNCTIONS
)
ANY_LAYER = PLAIN_LAYERS | st.builds(Residual, layers=st.lists(PLAIN_LAYERS, min_size=1, max_size=2).map(tuple))


@given(st.lists(ANY_LAYER, min_size=1, max_size=7).map(tuple))
def test_shapes_on_paper_are_those_of_the_running_modules(layers: tuple[AnyLayer, ...]) -> None:
    try:
        infos = infer_shapes(layers, 10)
    except ShapeError as error:
        layers = layers[: error.position[0]]
        infos = infer_shapes(layers, 10)
    if not layers:
        return
    network = build_model(Layers(layers=layers), 10)
    compare(network, infos, torch.rand(2, 1, 28, 28))


def compare(network: nn.Sequential, infos: tuple[LayerInfo, ...], values: Tensor) -> None:
    network.eval()
    for module, part in zip(network, infos, strict=True):
        assert values.shape[1:] == part.inputs
        if isinstance(module, ResidualBlock | SqueezeExciteBlock):
            compare(module.body, part.inner, values)
        values = module(values)
        assert values.shape[1:] == part.outputs
        assert sum(parameter.numel() for parameter in module.parameters()) == part.parameters
