"""The format `keras`: the Keras twin of a model made of the layers of a config, with uint8 images as its input."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_never
from zipfile import ZipFile

import numpy as np
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_trainer.config import model as cfg
from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes, output_count
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.source import ExportSource, compare
from mnist_trainer.export.state_dict import check_layers
from mnist_trainer.files import write_bytes
from mnist_trainer.inference.predictor import MAX_PROBABILITY, MIN_PROBABILITY, InferenceSpec
from mnist_trainer.storage.onnx_file import Run, import_extra

METADATA = "mnist_trainer.json"
"""The name of the entry of the file (a ZIP archive) with the metadata; Keras ignores it."""

CHANNELS_LAST = {"data_format": "channels_last"}
"""An argument of layers, because a user's keras.json can have another default."""


def export_keras(source: ExportSource, out: Path) -> tuple[dict[Path, bytes], float]:
    """Return the content of the file `out`, and its largest difference from the model.

    Raises `CheckpointError` for an ensemble, for a model or a layer that Keras lacks, and if the file gives other
    answers; `UsageError` if Keras is missing, or would not read a file of this name.
    """
    if out.suffix != ".keras":
        raise UsageError(
            f"Keras reads only files that end in .keras. Name {out.with_suffix('.keras')} instead of {out}."
        )
    check_layers(source, "The Keras twin")
    member = source.checkpoint.only
    info = infer_shapes(expand(member.config.model), output_count(member.config, len(source.checkpoint.classes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of NumPy
        keras = import_keras()
        with keras.device("cpu"):
            twin = _build_twin(keras, info, source.predictor.members[0], source.predictor.specs[0])
            content = _save(twin)
            largest = compare(source, _load(keras, content))
    return {out: _add_metadata(content, source.metadata(largest))}, largest


def import_keras() -> Any:
    """Return the module keras: on its torch backend, unless this process has imported it already."""
    previous = os.environ.get("KERAS_BACKEND")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        return import_extra("keras", "Exporting to Keras")
    finally:
        os.environ.pop("KERAS_BACKEND", None)
        if previous is not None:
            os.environ["KERAS_BACKEND"] = previous


def _save(twin: Any) -> bytes:
    """Return the bytes of the file; Keras writes only to a path."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        twin.save(path)
        return path.read_bytes()


def _load(keras: Any, content: bytes) -> Run:
    """Return the function that runs the model of a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        write_bytes(path, content)
        loaded = keras.saving.load_model(path)

    def run(images: NDArray[uint8]) -> tuple[NDArray[np.float32], ...]:
        outputs = loaded(images, training=False)
        return tuple(map(keras.ops.convert_to_numpy, outputs if isinstance(outputs, list | tuple) else [outputs]))

    return run


def _add_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
    """Return the file with one more entry."""
    stream = BytesIO(content)
    with ZipFile(stream, "a") as archive:
        archive.writestr(METADATA, json.dumps(metadata))
    return stream.getvalue()


def _build_twin(keras: Any, info: Sequence[LayerInfo], model: nn.Module, spec: InferenceSpec) -> Any:
    """Return Keras's model: images [B, 28, 28] to probabilities [B, K] and, if it can refuse, the score of "none"."""
    images = keras.Input((28, 28), name="images")
    values = keras.layers.Reshape((28, 28, 1))(images)
    mean, std = spec.normalization.mean, spec.normalization.std
    values = keras.layers.Rescaling(1 / (255 * std), -mean / std)(values)
    outputs = _sequential(keras, info, model, values)
    probabilities = _probabilities(keras.ops, spec, outputs)
    if spec.refusal_threshold is None:
        return keras.Model(images, probabilities)
    # axis is a tuple, because Keras 3.10 takes no number here
    none = keras.ops.sigmoid(-keras.ops.logsumexp(outputs, axis=(1,)))
    return keras.Model(images, [probabilities, none])


def _probabilities(ops: Any, spec: InferenceSpec, outputs: Any) -> Any:
    """Return what `to_probabilities` returns, of Keras's `outputs` [B, columns]."""
    columns = outputs.shape[1]
    if spec.kind == "values":
        return ops.concatenate([1 - outputs, outputs], axis=1) if columns == 1 else outputs
    logits = outputs
    if spec.kind == "sigmoid":
        clipped = ops.clip(outputs, MIN_PROBABILITY, MAX_PROBABILITY)
        logits = ops.log(clipped) - ops.log1p(-clipped)
    elif spec.kind == "probabilities":
        logits = ops.log(ops.maximum(outputs, MIN_PROBABILITY))
    if columns == 1:  # the odds of yes against no
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=1)
    return ops.softmax(logits / spec.temperature, axis=1)


def _sequential(keras: Any, info: Sequence[LayerInfo], modules: Any, inputs: Any) -> Any:
    """Return the output of layers for Keras's `inputs`, [B, n] or [B, h, w, c]; `modules` are torch's, with weights."""
    for each, module in zip(info, modules, strict=True):
        inputs = _apply(keras.layers, each, module, inputs) if each.inner == () else _block(keras, each, module, inputs)
    return inputs


def _block(keras: Any, info: LayerInfo, module: Any, inputs: Any) -> Any:
    """Return the output of a layer with layers inside."""
    body = _sequential(keras, info.inner, module.body, inputs)
    if isinstance(info.layer, cfg.Residual):
        return keras.layers.Add()([inputs, body])
    return keras.layers.Multiply()([inputs, keras.layers.Reshape((1, 1, info.inputs[0]))(body)])


def _apply(layers: Any, info: LayerInfo, module: Any, inputs: Any) -> Any:  # noqa: PLR0911 - one return a layer
    """Return the output of one layer. Raises `CheckpointError` that names a layer which Keras lacks."""
    layer = info.layer
    match layer:
        case cfg.Linear():
            dense = layers.Dense(info.outputs[0], use_bias=layer.bias)
            return _with_weights(dense, inputs, module.weight.T, module.bias)
        case cfg.MaxoutLayer():
            raise _refusal("maxout")
        case cfg.Conv():
            return _conv(layers, layer, module, inputs)
        case cfg.Pool():
            return _pool(layers, layer, inputs)
        case cfg.Flatten():
            if len(info.inputs) == 3:  # the weights after it expect torch's order: channel, row, column
                inputs = layers.Permute((3, 1, 2))(inputs)
            return layers.Flatten(**CHANNELS_LAST)(inputs)
        case cfg.BatchNorm():
            norm = layers.BatchNormalization(momentum=1 - module.momentum, epsilon=module.eps)
            return _with_weights(norm, inputs, module.weight, module.bias, module.running_mean, module.running_var)
        case cfg.LayerNorm():
            norm = layers.LayerNormalization(axis=list(range(1, len(info.inputs) + 1)), epsilon=module.eps)
            return _with_weights(norm, inputs, *map(_channels_last, (module.weight, module.bias)))
        case cfg.Dropout():
            return layers.Dropout(layer.rate)(inputs)
        case cfg.ActivationLayer():
            return _activation(layers, layer.function, module, inputs)
        case cfg.Output():
            return layers.Activation(layer.function)(inputs)
        case cfg.Residual() | cfg.SqueezeExcite():
            raise AssertionError("has layers inside, and is built by _block")
        case _:
            assert_never(layer)


def _refusal(name: str) -> CheckpointError:
    """Return the error for a layer that Keras lacks."""
    return CheckpointError(
        f"Keras has no layer for {name}, so this model has no Keras twin, and nothing is written. Export it to onnx, "
        "pt2 or state_dict."
    )


def _with_weights(layer: Any, inputs: Any, *weights: Tensor | None) -> Any:
    """Return the output of a Keras layer with torch's weights, in Keras's order; None for a missing bias."""
    outputs = layer(inputs)  # builds the layer
    layer.set_weights([weight.detach().numpy() for weight in weights if weight is not None])
    return outputs


def _channels_last(weight: Tensor) -> Tensor:
    """Return [h, w, c] for [c, h, w], and [n] as it is."""
    return weight.permute(1, 2, 0) if weight.dim() == 3 else weight


def _conv(layers: Any, layer: cfg.Conv, module: nn.Module, inputs: Any) -> Any:
    """Return the output of a convolution."""
    (conv,) = (part for part in module.modules() if isinstance(part, nn.Conv2d))  # an even kernel has a padding before
    if layer.padding not in ("same", 0):
        inputs = layers.ZeroPadding2D(layer.padding, **CHANNELS_LAST)(inputs)
    padding = "same" if layer.padding == "same" else "valid"
    twin = layers.Conv2D(layer.channels, layer.kernel, layer.stride, padding, use_bias=layer.bias, **CHANNELS_LAST)
    return _with_weights(twin, inputs, conv.weight.permute(2, 3, 1, 0), conv.bias)


def _pool(layers: Any, layer: cfg.Pool, inputs: Any) -> Any:
    """Return the output of a pooling layer."""
    if layer.kind == "both":
        kinds: Any = ("max", "average")
        return layers.Concatenate()([_pool(layers, layer.model_copy(update={"kind": kind}), inputs) for kind in kinds])
    kind = layer.kind.capitalize()
    if layer.size == "global":
        return getattr(layers, f"Global{kind}Pooling2D")(keepdims=True, **CHANNELS_LAST)(inputs)
    return getattr(layers, f"{kind}Pooling2D")(layer.size, **CHANNELS_LAST)(inputs)


def _activation(layers: Any, function: cfg.AnyActivation, module: Any, inputs: Any) -> Any:  # noqa: PLR0911 - one return a kind
    """Return the output of an activation function."""
    match function:
        case cfg.PlainActivation(name="identity"):
            return inputs
        case cfg.PlainActivation(name="scaled_tanh"):
            return _scaled(layers, "tanh", 0.6666, 1.7159, inputs)
        case cfg.PlainActivation(name=name) if name != "step":
            return layers.Activation("silu" if name == "swish" else name)(inputs)
        case cfg.Sigmoid():
            return _scaled(layers, "sigmoid", function.slope, 1, inputs)
        case cfg.Softplus():
            return _scaled(layers, "softplus", function.beta, 1 / function.beta, inputs)
        case cfg.LeakyRelu():
            return layers.LeakyReLU(negative_slope=function.slope)(inputs)
        case cfg.RandomRelu():
            return layers.LeakyReLU(negative_slope=(function.lower + function.upper) / 2)(inputs)
        case cfg.ParametricRelu():
            axes = list(range(1, len(inputs.shape)))
            return _with_weights(layers.PReLU(shared_axes=axes), inputs, module.weight.reshape([1] * len(axes)))
        case cfg.Elu():
            return layers.ELU(function.alpha)(inputs)
        case cfg.PlainActivation() | cfg.AbsoluteLeakyRelu() | cfg.Maxout():
            raise _refusal(function.name)
        case _:
            assert_never(function)


def _scaled(layers: Any, name: str, inner: float, outer: float, inputs: Any) -> Any:
    """Return outer·f(inner·x) for the activation function f called `name`."""
    if inner != 1:
        inputs = layers.Rescaling(inner)(inputs)
    outputs = layers.Activation(name)(inputs)
    return outputs if outer == 1 else layers.Rescaling(outer)(outputs)
