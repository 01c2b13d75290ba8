"""Smaller weights: rounded to integers of 8 or 4 bits (`quantize`), the smallest set to zero (`prune`), and packed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.source import ExportSource

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""The layers whose `weight` is compressed; biases and the parameters of normalization layers are few."""

Packed = dict[str, Tensor]
"""`values`, and where they are needed `mask` and `scale`: the arguments of `unpack`."""


def unpack(shape: torch.Size, values: Tensor, mask: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """Return a float32 weight of `shape`, from float32 numbers, int8 integers, or uint8 pairs of 4-bit integers plus 8.

    `mask` has a bit for each weight, the lowest first: 0 is a weight of zero, which has no entry in `values`.
    `scale` [outputs, 1, ...] is multiplied to the integers.
    """
    count, is_paired = shape.numel(), values.dtype == torch.uint8
    values = values.float()
    if is_paired:
        high = (values / 16).floor()
        values = torch.stack([values - 16 * high, high], dim=1).flatten() - 8
    if mask is not None:
        kept = (mask[:, None] & torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)).flatten()[:count].bool()
        values = torch.where(kept, values[(kept.long().cumsum(0) - 1).clamp_min(0)], 0.0)
    weight = values[:count].reshape(shape)
    return weight if scale is None else weight * scale


def unpack_state(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the float32 state of `model` from its packed state, in which `name.values` stands for `name`."""
    whole = {}
    for name, tensor in model.state_dict().items():
        parts = {part: state[f"{name}.{part}"] for part in ("values", "mask", "scale") if f"{name}.{part}" in state}
        whole[name] = unpack(tensor.shape, **parts) if parts else state[name]
    return whole


def pack_state(model: nn.Module, packed: dict[str, Packed]) -> dict[str, Tensor]:
    """Return the state of `model` with the packed weights in place of the float32 ones."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in packed}
    return state | {f"{name}.{part}": value for name, parts in packed.items() for part, value in parts.items()}


def pack(weight: Tensor, keep: Tensor | None = None, bits: int | None = None) -> Packed:
    """Return what `unpack` makes a weight [outputs, ...] of: rounded to `bits`, and zero where `keep` is False.

    Each output has its own scale s = max |w| / (2ᵇ⁻¹ − 1), and w ≈ s·k with an integer k.
    """
    packed, values = {}, weight if keep is None else weight * keep
    if bits:
        largest = values.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
        packed["scale"] = (largest / (2 ** (bits - 1) - 1)).where(largest > 0, 1)
        values = torch.round(values / packed["scale"])
    values = values.flatten()
    if keep is not None and (~keep).sum() * (bits or 32) > keep.numel():  # else the bits of the mask cost more
        packed["mask"] = _join(keep.flatten().long(), 1)
        values = values[keep.flatten()] if keep.any() else values[:1]
    match bits:
        case 8:
            values = values.to(torch.int8)
        case 4:
            values = _join(values.long() + 8, 4)
    return packed | {"values": values.clone()}


def _join(numbers: Tensor, bits: int) -> Tensor:
    """Return numbers [N] of `bits` each as bytes, the first one in the lowest bits; the last byte is filled with 0."""
    size = 8 // bits
    rows = nn.functional.pad(numbers, (0, -len(numbers) % size)).reshape(-1, size)
    return (rows << torch.arange(0, 8, bits)).sum(dim=1).to(torch.uint8)


def largest_weights(weights: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return where each weight is kept: all but the `share` with the smallest magnitude of all layers together."""
    every = torch.cat([weight.abs().flatten() for weight in weights.values()])
    keep = torch.ones(len(every), dtype=torch.bool)
    keep[every.argsort(stable=True)[: round(share * len(every))]] = False
    parts = torch.split(keep, [weight.numel() for weight in weights.values()])
    return {name: part.reshape(weight.shape) for (name, weight), part in zip(weights.items(), parts, strict=True)}


def check_compression(bits: int | None, share: float | None) -> None:
    """Raise `UsageError` for other numbers of bits than 8 and 4, and for a share that is not between 0 and 1."""
    if bits not in (None, 8, 4):
        raise UsageError(f"quantize must be 8 or 4 (bits); got {bits}.")
    if share is not None and not 0 < share < 1:
        raise UsageError(f"prune must be a share between 0 and 1, such as 0.5 for half of the weights; got {share:g}.")


def compress(source: ExportSource, bits: int | None = None, share: float | None = None) -> ExportSource:
    """Return the source with quantized or pruned weights, against which an exported file is then verified.

    Raises `CheckpointError` if a member has no layer whose weights can be compressed.
    """
    predictor = deepcopy(source.predictor)
    packed = tuple(_compress_member(member, bits, share) for member in predictor.members)
    compression = {"bits": bits or 32, "pruned": share or 0.0}
    return replace(source, predictor=predictor, test=None, packed=packed, compression=compression)


@torch.no_grad()
def _compress_member(model: nn.Module, bits: int | None, share: float | None) -> dict[str, Packed]:
    """Return the packed weights of `model`, and replace its weights by what they unpack to."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LAYERS)}
    if not layers:
        raise CheckpointError("This model has no linear or convolutional layer, whose weights could be compressed.")
    weights = {f"{name}.weight".lstrip("."): module.weight for name, module in layers.items()}
    keep = largest_weights(weights, share) if share else dict.fromkeys(weights)
    packed = {name: pack(weight, keep[name], bits) for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.copy_(unpack(weight.shape, **packed[name]))
    return packed


class _Unpack(nn.Module):
    """The parametrization that computes a weight from its packed `values` wherever a layer reads it."""

    mask: Tensor | None
    scale: Tensor | None

    def __init__(self, shape: torch.Size, mask: Tensor | None = None, scale: Tensor | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mask", mask)
        self.register_buffer("scale", scale)

    def forward(self, values: Tensor) -> Tensor:
        """Return the weight."""
        return unpack(self.shape, values, self.mask, self.scale)


def attach(model: nn.Module, packed: dict[str, Packed]) -> None:
    """Replace the weights of `model` by packed ones, which each forward pass unpacks."""
    for name, parts in packed.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        weight: Any = layer.weight
        unpacker = _Unpack(weight.shape, parts.get("mask"), parts.get("scale"))
        del layer.weight
        layer.register_buffer("weight", parts["values"])
        parametrize.register_parametrization(layer, "weight", unpacker, unsafe=True)
