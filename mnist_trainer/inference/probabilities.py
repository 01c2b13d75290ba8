"""One reading of raw outputs for evaluation, ensembles, calibration and prediction: no softmax twice, no NaN."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from mnist_trainer.config.layers import OutputKind

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
