"""Several checkpoints as one."""

from __future__ import annotations

from collections.abc import Mapping

from mnist_trainer.errors import CheckpointError, one_line
from mnist_trainer.storage.checkpoint import Checkpoint


def combine(checkpoints: Mapping[str, Checkpoint]) -> Checkpoint:
    """An ensemble of all models in `checkpoints` (by name), in their order and with equal weights.

    The models of an ensemble among them count one by one, and its own temperature is left out: it belonged to their
    mean. Raises `CheckpointError` that names those that do not go together.
    """
    require_same_classes(checkpoints)
    honest = {name: _gives_probabilities(checkpoint) for name, checkpoint in checkpoints.items()}
    if len(set(honest.values())) > 1:
        values, others = (next(name for name, kind in honest.items() if kind == wanted) for wanted in (False, True))
        raise CheckpointError(
            f"The outputs of {values} are no probabilities (squared error without model.output), and those of {others} "
            "are: they have no common mean."
        )
    for name, checkpoint in checkpoints.items():
        for member in checkpoint.members:
            if "model" in member.custom:
                own = one_line(member.custom["model"], 80)
                raise CheckpointError(
                    f"The model of {name} is {own}, which is not part of mnist_trainer, and an "
                    "ensemble is made of models that are. Judge it alone, in Python: evaluate(…, model=…)."
                )
    members = (member for checkpoint in checkpoints.values() for member in checkpoint.members)
    return Checkpoint(tuple(members), next(iter(checkpoints.values())).classes)


def require_same_classes(checkpoints: Mapping[str, Checkpoint]) -> None:
    """Raises `CheckpointError` that names two of `checkpoints` with different classes."""
    (name, first), *others = checkpoints.items()
    for other, checkpoint in others:
        if checkpoint.classes != first.classes:
            raise CheckpointError(
                f"{name} ({first.config.data.name}) knows the classes {', '.join(first.classes)}, and {other} "
                f"({checkpoint.config.data.name}) knows {', '.join(checkpoint.classes)}. Only models with the same "
                "classes can be put together or compared."
            )


def _gives_probabilities(checkpoint: Checkpoint) -> bool:
    return checkpoint.members[0].spec.gives_probabilities
