"""A checkpoint's copy with a temperature at which its confidence is as often right as it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mnist_trainer.data.dataset import Split
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.calibration import Sureness, fit_temperature
from mnist_trainer.inference.evaluate import log_loss, log_probabilities
from mnist_trainer.inference.metrics import calibration_error
from mnist_trainer.pipeline.evaluation import Judged, judge_subject
from mnist_trainer.pipeline.subject import Place, Subject, load_subject, require_other_file
from mnist_trainer.storage.checkpoint import Checkpoint, save_checkpoint


@dataclass(frozen=True)
class Calibrated:
    """What was judged as it was, and the copy in `path`, both on validation and on the split asked for."""

    path: Path
    temperature: float
    before: dict[Split, Judged]
    after: dict[Split, Judged]

    def sureness(self) -> dict[str, tuple[Sureness, Sureness]]:
        """Before and after, on each split."""
        return {split: (_sureness(old), _sureness(self.after[split])) for split, old in self.before.items()}

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --calibrate --json` adds."""
        pairs = self.sureness().items()
        figures = {split: {"before": asdict(old), "after": asdict(new)} for split, (old, new) in pairs}
        return {"path": str(self.path), "temperature": self.temperature, **figures}


def calibrate(checkpoint: Place | Sequence[Place], *overrides: str, out: Path, split: Split = "test") -> Calibrated:
    """Writes to `out` a copy of a model, or of several as an ensemble, with a temperature fitted on validation images.

    No answer changes: a temperature keeps the order of the probabilities. Raises `CheckpointError` where the outputs
    are no probabilities, `DataError` where there are no validation images (`training.refit` trains with all) or all
    are read right, `UsageError` if `out` is a source, `StorageError`, and what `judge` raises.
    """
    subject = load_subject(checkpoint, overrides, "validation", split)
    require_other_file(out, subject.paths)
    _require_probabilities(subject)
    before = {part: judge_subject(subject, part) for part in _parts(split)}
    known = before["validation"].answers
    factor = fit_temperature(log_probabilities(known.probabilities), known.labels)
    copied = replace(subject, checkpoint=_divided(subject.checkpoint, factor))
    after = {part: judge_subject(copied, part) for part in before}
    save_checkpoint(out, copied.checkpoint)
    return Calibrated(out, _temperature(copied.checkpoint), before, after)


def _parts(split: Split) -> tuple[Split, ...]:
    return ("validation",) if split == "validation" else ("validation", split)


def _require_probabilities(subject: Subject) -> None:
    for (path, _), member in zip(subject.places, subject.checkpoint.members, strict=True):
        if not member.reading.gives_probabilities:
            raise CheckpointError(
                f"The outputs of {path} are no probabilities (squared error without model.output), so no temperature "
                "makes them truer."
            )


def _divided(checkpoint: Checkpoint, factor: float) -> Checkpoint:
    """The checkpoint without the state of its training, at a temperature larger by `factor`."""
    if len(checkpoint.members) > 1:
        return replace(checkpoint, temperature=checkpoint.temperature * factor, training_state=None)
    member = checkpoint.only
    reading = replace(member.reading, temperature=member.reading.temperature * factor)
    return replace(checkpoint, members=(replace(member, reading=reading),), training_state=None)


def _temperature(checkpoint: Checkpoint) -> float:
    return checkpoint.temperature if len(checkpoint.members) > 1 else checkpoint.only.reading.temperature


def _sureness(judged: Judged) -> Sureness:
    answers = judged.answers
    loss = log_loss(log_probabilities(answers.probabilities), answers.labels)
    return Sureness(loss, calibration_error(answers.confidence, answers.right))
