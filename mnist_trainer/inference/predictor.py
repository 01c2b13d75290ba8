"""Maps uint8 images to probabilities with a model or an ensemble: normalization, forward pass, temperature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn

from mnist_trainer.config.fields import PositiveNumber, ZeroToOne
from mnist_trainer.config.layers import OutputKind
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.model.device import Precision, autocast, to_device

MIN_PROBABILITY = 2.0**-126
"""Replaces an output of 0: float32's smallest normal number. Outputs above it keep their order."""

MAX_PROBABILITY = 1 - 2.0**-24
"""Replaces an output of 1: the float32 number before it."""


def to_probabilities(
    outputs: Tensor, kind: OutputKind, temperature: float = 1.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return probabilities [B, K], of `dtype` on the CPU, of raw outputs [B, K]; K is 2 for a yes/no model.

    `sigmoid` outputs answer "is it this class?" independently. Given that exactly one class is correct, class k has
    probability ∝ p/(1−p), so their log-odds are logits. `values` are not probabilities: they are returned as they are
    (those of a yes/no model as [1−v, v]), and only their order has a meaning.
    """
    if kind == "values":
        values = outputs.detach().cpu().to(dtype)
        return torch.cat([1 - values, values], dim=1) if values.shape[1] == 1 else values
    if kind == "probabilities" and temperature == 1:
        shares = outputs.detach().cpu().to(dtype)
        return shares / shares.sum(dim=1, keepdim=True)
    return torch.softmax(to_logits(outputs, kind, dtype) / temperature, dim=1)


def to_logits(outputs: Tensor, kind: OutputKind, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return logits [B, K], of `dtype` on the CPU, of raw outputs; K is 2 for a yes/no model.

    Raises `ValueError` for `values`, which are not probabilities.
    """
    return differentiable_logits(outputs.detach(), kind, dtype)


def differentiable_logits(outputs: Tensor, kind: OutputKind, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return what `to_logits` returns, with the graph of the gradients."""
    outputs = outputs.cpu()
    match kind:
        case "logits" | "log_probabilities":
            logits = outputs.to(dtype)
        case "sigmoid":
            logits = torch.logit(outputs.to(dtype).clamp(MIN_PROBABILITY, MAX_PROBABILITY))
        case "probabilities":
            logits = outputs.clamp_min(torch.finfo(outputs.dtype).tiny).to(dtype).log()
        case "values":
            raise ValueError("values are not probabilities, and have no logits")
        case _:
            assert_never(kind)
    if logits.shape[1] == 1:  # the odds of yes against no
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits


def predicted_classes(outputs: Tensor, kind: OutputKind) -> Tensor:
    """Return the class [B] with the largest probability, on the device of the outputs."""
    if outputs.shape[1] > 1:
        return outputs.argmax(dim=1)
    return (outputs[:, 0] > (0 if kind == "logits" else 0.5)).long()


BATCH_SIZE = 1000
"""The batch size of evaluation. Fixed, and saved in checkpoints: the last bits of float sums depend on it."""

REFUSAL_THRESHOLD = 0.7
"""Above 0.5, because training with `data.simulate.non_digits` shows the model more non-digits than users send."""


@dataclass(frozen=True)
class InferenceSpec:
    """How images are preprocessed for a model and what its outputs mean."""

    normalization: Normalization
    kind: OutputKind
    precision: Precision = "float32"
    batch_size: int = BATCH_SIZE
    temperature: PositiveNumber = 1.0
    refusal_threshold: ZeroToOne | None = None
    """An image is refused if the probability of "none of the classes" is at least this; None: the model can't tell."""

    @property
    def gives_probabilities(self) -> bool:
        """Whether outputs become probabilities; of `values` only the order has a meaning."""
        return self.kind != "values"

    def probabilities(self, outputs: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return probabilities [B, K], of `dtype` on the CPU, of raw outputs."""
        return to_probabilities(outputs, self.kind, self.temperature, dtype)

    def none(self, outputs: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the probability of "none of the classes" [B], of `dtype` on the CPU: 1 / (1 + Σ exp z).

        The outputs z are logits that were trained together with one more that is always 0. The temperature is not
        used: it was fitted to images that show one of the classes.
        """
        return torch.sigmoid(-outputs.detach().cpu().to(dtype).logsumexp(dim=1))


class Predictor(nn.Module):
    """Maps uint8 images [B, 28, 28] to probabilities [B, K], float64 on the CPU: the mean of its members'.

    `specs` has an entry for each member. Either all give probabilities or none does; then values are averaged. The
    ensemble's own `temperature` acts on the logarithm of the mean. The members are on `device`, in evaluation mode.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        specs: Sequence[InferenceSpec],
        device: torch.device,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            to_device(member, device, spec.precision) for member, spec in zip(members, specs, strict=True)
        )
        self.specs = tuple(specs)
        self.device = device
        self.temperature = temperature
        self.gives_raw_outputs = True
        """False for an exported model, whose `outputs` are probabilities already."""
        self.gives_probabilities = all(spec.gives_probabilities for spec in specs)
        self.eval()

    @property
    def refusal_threshold(self) -> float | None:
        """The mean threshold of the members that have one, else None."""
        own = [spec.refusal_threshold for spec in self.specs if spec.refusal_threshold is not None]
        return sum(own) / len(own) if own else None

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities [B, K] of uint8 images [B, 28, 28]; K is 2 for a yes/no model."""
        return self.read(images)[0]

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities [B, K], given that it is one of the classes, and that of "none of the classes" [B].

        The latter is the mean of the members that have a threshold; 0 without one.
        """
        each = [(spec, self.outputs([images], index)) for index, spec in enumerate(self.specs)]
        refusals = [spec.none(outputs) for spec, outputs in each if spec.refusal_threshold is not None]
        none = torch.stack(refusals).mean(dim=0) if refusals else torch.zeros(len(images), dtype=torch.float64)
        return self.average([spec.probabilities(outputs) for spec, outputs in each]), none

    def average(self, each: Sequence[Tensor]) -> Tensor:
        """Return the probabilities [B, K] of the ensemble from those of each member [B, K]."""
        mean = torch.stack(tuple(each)).mean(dim=0)
        if self.temperature == 1 or not self.gives_probabilities:
            return mean
        return to_probabilities(mean, "probabilities", self.temperature, mean.dtype)

    def outputs(self, batches: Iterable[Tensor], member: int = 0) -> Tensor:
        """Return the raw outputs [N, K] of one member, float32 on the CPU, of batches of uint8 images [B, 28, 28]."""
        spec, model = self.specs[member], self.members[member]
        with torch.inference_mode(), autocast(self.device, spec.precision):
            inputs = (spec.normalization.apply(images.to(self.device)) for images in batches)
            return torch.cat([model(batch).float() for batch in inputs]).cpu()
