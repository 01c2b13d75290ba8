"""What a model's raw outputs are: how many, and of which kind. Losses, evaluation and warnings all ask here."""

from __future__ import annotations

from typing import Literal

from mnist_trainer.config.activations import PlainActivation, Sigmoid
from mnist_trainer.config.architectures import Neuron
from mnist_trainer.config.objective import ClassLoss, DistanceLoss
from mnist_trainer.config.schema import Config

OutputKind = Literal["logits", "probabilities", "log_probabilities", "sigmoid", "values"]
"""How raw outputs turn into probabilities (`inference/probabilities.py`)."""


def output_count(config: Config, classes: int) -> int:
    """One output a class; but a single one for a yes/no task, unless its loss compares classes."""
    yes_or_no = config.data.binary is not None
    return 1 if yes_or_no and not isinstance(config.loss, ClassLoss) else classes


def output_kind(config: Config) -> OutputKind:
    """The kind of the raw outputs, which follows from the last function and, without one, from the loss."""
    distance = isinstance(config.loss, DistanceLoss)
    if isinstance(config.model, Neuron):
        match config.model.output:
            case Sigmoid():
                return "sigmoid"
            case PlainActivation(name="identity"):
                return "values" if distance else "logits"
            case _:
                return "values" if distance else "sigmoid"
    match config.model.output:
        case "softmax":
            return "probabilities"
        case "log_softmax":
            return "log_probabilities"
        case "sigmoid":
            return "sigmoid"
        case "none":
            return "values" if distance else "logits"
