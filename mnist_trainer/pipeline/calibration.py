"""A checkpoint's copy with a temperature at which its confidence is as often right as it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from mnist_trainer.config.load import Override
from mnist_trainer.data.image_dataset import Split
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.calibration import Sureness, fit_temperature
from mnist_trainer.inference.evaluate import log_loss, log_probabilities
from mnist_trainer.inference.metrics import calibration_error
from mnist_trainer.inference.probabilities import to_logits
from mnist_trainer.pipeline.evaluation import Judged, judge_subject
from mnist_trainer.pipeline.subject import Place, Subject, load_subject
from mnist_trainer.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class Calibrated:
    """The copy, and what was judged with and without its temperature: on validation, and on the split asked for."""

    checkpoint: Checkpoint
    before: dict[Split, Judged]
    after: dict[Split, Judged]

    @property
    def temperature(self) -> float:
        """The copy's."""
        return _temperature(self.checkpoint)

    def sureness(self) -> dict[str, tuple[Sureness, Sureness]]:
        """Before and after, on each split."""
        return {split: (_sureness(old), _sureness(self.after[split])) for split, old in self.before.items()}

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --calibrate --json` adds, but for the files."""
        figures = {
            split: {"before": asdict(old), "after": asdict(new), "worse": new.worse_than(old)}
            for split, (old, new) in self.sureness().items()
        }
        return {"temperature": self.temperature, **figures}


def calibrate(checkpoint: Place | Iterable[Place], *overrides: Override, split: Split = "test") -> Calibrated:
    """A copy of a model, or of several as an ensemble, with a temperature fitted on validation images; not yet saved.

    No answer changes: a temperature keeps the order of the probabilities. Raises `CheckpointError` where the outputs
    are no probabilities, `DataError` where there are no validation images (`training.refit` trains with all) or no
    temperature is best for them, and what `judge` raises.
    """
    subject = load_subject(checkpoint, overrides, "validation", split)
    if not subject.checkpoint.members[0].reading.gives_probabilities:  # of an ensemble all members do, or none
        raise CheckpointError(
            f"The outputs of {subject.name} are no probabilities (squared error without model.output), so no "
            "temperature makes them truer."
        )
    before = {part: judge_subject(subject, part) for part in _parts(split)}
    copied = _at(_best_temperature(before["validation"]), subject)
    after = {part: judge_subject(copied, part) for part in before}
    return Calibrated(copied.checkpoint, before, after)


def _parts(split: Split) -> tuple[Split, ...]:
    return ("validation",) if split == "validation" else ("validation", split)


def _best_temperature(judged: Judged) -> float:
    """The one for the very logits that it will divide: those at temperature 1."""
    if _temperature(judged.subject.checkpoint) != 1:
        judged = judge_subject(_at(1.0, judged.subject), "validation")
    answers, (first, *others) = judged.answers, judged.subject.checkpoint.members
    if others:
        return fit_temperature(to_logits(answers.probabilities, "probabilities"), answers.labels)
    return fit_temperature(to_logits(answers.outputs, first.reading.kind), answers.labels)


def _at(temperature: float, subject: Subject) -> Subject:
    """The subject at `temperature`, without the state of its training."""
    first, *others = subject.checkpoint.members
    if others:
        copy = replace(subject.checkpoint, temperature=temperature, training_state=None)
    else:
        member = replace(first, reading=replace(first.reading, temperature=temperature))
        copy = replace(subject.checkpoint, members=(member,), training_state=None)
    return replace(subject, checkpoint=copy)


def _temperature(checkpoint: Checkpoint) -> float:
    return checkpoint.temperature if len(checkpoint.members) > 1 else checkpoint.reading.temperature


def _sureness(judged: Judged) -> Sureness:
    answers = judged.answers
    loss = log_loss(log_probabilities(answers.probabilities), answers.labels)
    return Sureness(loss, calibration_error(answers.confidence, answers.right))
