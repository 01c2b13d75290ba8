"""One reading of raw outputs for evaluation, ensembles, calibration and prediction: no softmax twice, no NaN.

A trained model as one thing: normalisation, members and temperature go in, probabilities come out.
"""

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
"""What an output of 0 is taken for: float32's smallest normal number. Outputs above it keep their order."""

MAX_PROBABILITY = 1 - 2.0**-24
"""What an output of 1 is taken for: float32's number before it."""


def to_probabilities(outputs: Tensor, kind: OutputKind, temperature: float = 1.0) -> Tensor:
    """Probabilities [B, K], float64 on the CPU, of raw outputs [B, K]; a yes/no model's [B, 1] becomes [B, 2].

    `sigmoid` outputs are independent answers "is it this class?". Given that exactly one of them is right, class k has
    probability ∝ p/(1−p), so their log-odds are logits, and so are the raw outputs that `bce` trained. `values` have no
    probabilities: they come back as they are (a yes/no model's as [1−v, v]), and only their order means something.
    """
    if kind == "values":
        values = outputs.detach().cpu().double()
        return torch.cat([1 - values, values], dim=1) if values.shape[1] == 1 else values
    if kind == "probabilities" and temperature == 1:
        shares = outputs.detach().cpu().double()
        return shares / shares.sum(dim=1, keepdim=True)
    return torch.softmax(to_logits(outputs, kind) / temperature, dim=1)


def to_logits(outputs: Tensor, kind: OutputKind) -> Tensor:
    """What a temperature divides, and softmax makes into probabilities: [B, K] float64 on the CPU; K is 2 for yes/no.

    A probability of 0 is taken for the smallest normal number of its type. Raises `ValueError` for `values`.
    """
    outputs = outputs.detach().cpu()
    match kind:
        case "logits" | "log_probabilities":
            logits = outputs.double()
        case "sigmoid":
            logits = torch.logit(outputs.double().clamp(MIN_PROBABILITY, MAX_PROBABILITY))
        case "probabilities":
            logits = outputs.clamp_min(torch.finfo(outputs.dtype).tiny).double().log()
        case "values":
            raise ValueError("values are no probabilities, and have no logits")
        case _:
            assert_never(kind)
    if logits.shape[1] == 1:  # the odds of yes against no
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits


def predicted_classes(outputs: Tensor, kind: OutputKind) -> Tensor:
    """The class [B] with the largest probability, on the outputs' own device and without computing probabilities."""
    if outputs.shape[1] > 1:
        return outputs.argmax(dim=1)
    return (outputs[:, 0] > (0 if kind == "logits" else 0.5)).long()


BATCH_SIZE = 1000
"""Images evaluated at once. Fixed, and kept in checkpoints, because float sums depend on it in their last bits."""

REFUSAL_THRESHOLD = 0.7
"""The threshold of a model that learnt to refuse: "none" must be more than twice as likely as all classes together,
for it was shown more of what is no digit than users send."""


@dataclass(frozen=True)
class InferenceSpec:
    """How images go into a model and what its outputs mean."""

    normalization: Normalization
    kind: OutputKind
    precision: Precision = "float32"
    batch_size: int = BATCH_SIZE
    temperature: PositiveNumber = 1.0
    refusal_threshold: ZeroToOne | None = None
    """The probability of showing none of the classes above which an image is refused; None: the model can't tell."""

    @property
    def gives_probabilities(self) -> bool:
        """Whether the answers have probabilities; `values` have an order alone."""
        return self.kind != "values"

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Probabilities [B, K], float64 on the CPU, of raw outputs."""
        return to_probabilities(outputs, self.kind, self.temperature)

    def none(self, outputs: Tensor) -> Tensor:
        """The probability of showing none of the classes [B], float64 on the CPU, of raw outputs: 1 / (1 + Σ exp z).

        They are logits, trained beside one more that is always 0. No temperature acts on it: a temperature is fitted
        to which class it is, of images that show one.
        """
        return torch.sigmoid(-outputs.detach().cpu().double().logsumexp(dim=1))


class Predictor(nn.Module):
    """Probabilities from uint8 images: [B, 28, 28] → [B, K] float64 on the CPU, the mean of its members'.

    Each of `specs` belongs to the member at its place; all of them give probabilities or none does (then values are
    averaged). The ensemble's own `temperature` acts on the logarithm of the mean. It is in evaluation mode, and stays
    on the device it was given.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        specs: Sequence[InferenceSpec],
        device: torch.device,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        placed = zip(members, specs, strict=True)
        self.members = nn.ModuleList(to_device(member, device, spec.precision) for member, spec in placed)
        self.specs = tuple(specs)
        self.device = device
        self.temperature = temperature
        self.gives_probabilities = all(spec.gives_probabilities for spec in specs)
        self.eval()

    @property
    def refusal_threshold(self) -> float | None:
        """The `none` above which an image is refused, the mean of the members' that can tell; None where none can."""
        own = [spec.refusal_threshold for spec in self.specs if spec.refusal_threshold is not None]
        return sum(own) / len(own) if own else None

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [B, K] of uint8 images [B, 28, 28]; K is 2 for a yes/no model."""
        return self.read(images)[0]

    def none(self, images: Tensor) -> Tensor:
        """The probability of showing none of the classes [B], float64 on the CPU, of uint8 images [B, 28, 28]."""
        return self.read(images)[1]

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both from one pass over uint8 images [B, 28, 28]: the probabilities [B, K], which hold where it is one of the
        classes, and `none` [B], the mean of the members' that can tell; 0 where none can."""
        each = [(spec, self.outputs([images], number)) for number, spec in enumerate(self.specs)]
        able = [spec.none(outputs) for spec, outputs in each if spec.refusal_threshold is not None]
        none = torch.stack(able).mean(dim=0) if able else torch.zeros(len(images), dtype=torch.float64)
        return self.average([spec.probabilities(outputs) for spec, outputs in each]), none

    def average(self, each: Sequence[Tensor]) -> Tensor:
        """What the ensemble answers [B, K] when its members answer `each` [B, K]."""
        mean = torch.stack(tuple(each)).mean(dim=0)
        if self.temperature == 1 or not self.gives_probabilities:
            return mean
        return to_probabilities(mean, "probabilities", self.temperature)

    def outputs(self, batches: Iterable[Tensor], member: int = 0) -> Tensor:
        """The raw outputs [N, K] of one member, float32 on the CPU, of batches of uint8 images [B, 28, 28]."""
        spec, model = self.specs[member], self.members[member]
        with torch.inference_mode(), autocast(self.device, spec.precision):
            inputs = (spec.normalization.apply(images.to(self.device)) for images in batches)
            return torch.cat([model(batch).float() for batch in inputs]).cpu()
