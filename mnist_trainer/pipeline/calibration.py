"""A checkpoint's copy with a temperature at which its confidence is as often right as it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from mnist_trainer.config.load import Override
from mnist_trainer.data.image_dataset import Split
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.calibration import CalibrationMetrics, fit_temperature
from mnist_trainer.inference.evaluate import log_loss, log_probabilities
from mnist_trainer.inference.metrics import calibration_error
from mnist_trainer.inference.probabilities import to_logits
from mnist_trainer.pipeline.evaluation import EvalResult, evaluate_target
from mnist_trainer.pipeline.subject import CheckpointRef, EvalTarget, load_target
from mnist_trainer.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class CalibrationResult:
    """The copy, and what was judged with and without its temperature: on validation, and on the split asked for."""

    checkpoint: Checkpoint
    before: dict[Split, EvalResult]
    after: dict[Split, EvalResult]

    @property
    def temperature(self) -> float:
        """The copy's."""
        return _temperature(self.checkpoint)

    def calibration_metrics(self) -> dict[str, tuple[CalibrationMetrics, CalibrationMetrics]]:
        """Before and after, on each split."""
        return {
            split: (_calibration_metrics(old), _calibration_metrics(self.after[split]))
            for split, old in self.before.items()
        }

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --calibrate --json` adds, but for the files."""
        figures = {
            split: {"before": asdict(old), "after": asdict(new), "worse": new.worse_than(old)}
            for split, (old, new) in self.calibration_metrics().items()
        }
        return {"temperature": self.temperature, **figures}


def calibrate(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *overrides: Override, split: Split = "test"
) -> CalibrationResult:
    """A copy of a model, or of several as an ensemble, with a temperature fitted on validation images; not yet saved.

    No answer changes: a temperature keeps the order of the probabilities. Raises `CheckpointError` where the outputs
    are no probabilities, `DataError` where there are no validation images (`training.refit` trains with all) or no
    temperature is best for them, and what `judge` raises.
    """
    target = load_target(checkpoint, overrides, "validation", split)
    if not target.checkpoint.members[0].spec.gives_probabilities:  # of an ensemble all members do, or none
        raise CheckpointError(
            f"The outputs of {target.name} are no probabilities (squared error without model.output), so no "
            "temperature makes them truer."
        )
    before = {part: evaluate_target(target, part) for part in _parts(split)}
    copied = _with_temperature(_best_temperature(before["validation"]), target)
    after = {part: evaluate_target(copied, part) for part in before}
    return CalibrationResult(copied.checkpoint, before, after)


def _parts(split: Split) -> tuple[Split, ...]:
    return ("validation",) if split == "validation" else ("validation", split)


def _best_temperature(result: EvalResult) -> float:
    """The one for the very logits that it will divide: those at temperature 1."""
    if _temperature(result.target.checkpoint) != 1:
        result = evaluate_target(_with_temperature(1.0, result.target), "validation")
    predictions, (first, *others) = result.predictions, result.target.checkpoint.members
    if others:
        return fit_temperature(to_logits(predictions.probabilities, "probabilities"), predictions.labels)
    return fit_temperature(to_logits(predictions.outputs, first.spec.kind), predictions.labels)


def _with_temperature(temperature: float, target: EvalTarget) -> EvalTarget:
    """The subject at `temperature`, without the state of its training."""
    first, *others = target.checkpoint.members
    if others:
        copy = replace(target.checkpoint, temperature=temperature, training_state=None)
    else:
        member = replace(first, spec=replace(first.spec, temperature=temperature))
        copy = replace(target.checkpoint, members=(member,), training_state=None)
    return replace(target, checkpoint=copy)


def _temperature(checkpoint: Checkpoint) -> float:
    return checkpoint.temperature if len(checkpoint.members) > 1 else checkpoint.spec.temperature


def _calibration_metrics(result: EvalResult) -> CalibrationMetrics:
    predictions = result.predictions
    loss = log_loss(log_probabilities(predictions.probabilities), predictions.labels)
    return CalibrationMetrics(loss, calibration_error(predictions.confidence, predictions.correct))
