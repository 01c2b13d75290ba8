"""A trained model as one thing: normalisation, members and temperature go in, probabilities come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_trainer.config.outputs import OutputKind
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.probabilities import to_probabilities
from mnist_trainer.model.device import Precision, autocast, to_device

BATCH_SIZE = 1000
"""Images evaluated at once. Fixed, and kept in checkpoints, because float sums depend on it in their last bits."""


@dataclass(frozen=True)
class Reading:
    """How images go into a model and what its outputs mean."""

    normalization: Normalization
    kind: OutputKind
    precision: Precision = "float32"
    batch_size: int = BATCH_SIZE
    temperature: float = 1.0

    @property
    def gives_probabilities(self) -> bool:
        """Whether the answers have probabilities; `values` have an order alone."""
        return self.kind != "values"


class Predictor(nn.Module):
    """Probabilities from uint8 images: [B, 28, 28] → [B, K] float64 on the CPU; the mean over `members`.

    It is in evaluation mode, and stays on the device it was given.
    """

    def __init__(self, members: Sequence[nn.Module], reading: Reading, device: torch.device) -> None:
        super().__init__()
        self.members = nn.ModuleList(to_device(member, device) for member in members)
        self.reading = reading
        self.device = device
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [B, K] of uint8 images [B, 28, 28]; K is 2 for a yes/no model."""
        kind, temperature = self.reading.kind, self.reading.temperature
        probabilities = [to_probabilities(raw, kind, temperature) for raw in self.outputs([images])]
        return torch.stack(probabilities).mean(dim=0)

    def outputs(self, batches: Iterable[Tensor]) -> list[Tensor]:
        """The raw outputs [N, K] of each member, float32 on the CPU, of batches of uint8 images [B, 28, 28]."""
        collected: list[list[Tensor]] = [[] for _ in self.members]
        with torch.inference_mode(), autocast(self.device, self.reading.precision):
            for images in batches:
                inputs = self.reading.normalization.apply(images.to(self.device))
                for member, outputs in zip(self.members, collected, strict=True):
                    outputs.append(member(inputs).float())
        return [torch.cat(outputs).cpu() for outputs in collected]
