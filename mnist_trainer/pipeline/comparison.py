"""Two checkpoints on the same images: is one better, or was it chance?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import Override
from mnist_trainer.data.image_dataset import Split
from mnist_trainer.inference.comparison import Comparison, compare_predictions
from mnist_trainer.pipeline.evaluation import EvalResult, evaluate_target
from mnist_trainer.pipeline.subject import CheckpointRef, check_same_split, find_checkpoints, load_target
from mnist_trainer.storage.ensemble import require_same_classes


@dataclass(frozen=True)
class ComparisonResult:
    """The judgements of both, by the names they are told apart by, and how they differ."""

    names: tuple[str, str]
    first: EvalResult
    second: EvalResult
    comparison: Comparison

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of both evaluations."""
        return (*self.first.evaluation.notes, *self.second.evaluation.notes)

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --compare --json` prints."""
        both = zip(self.names, (self.first, self.second), strict=True)
        models = [{"path": result.target.name, "name": name, **result.evaluation.summary()} for name, result in both]
        evaluation = self.first.evaluation
        about = {"dataset": evaluation.dataset, "split": evaluation.split, "views": evaluation.views}
        if evaluation.pictures:
            about["pictures"] = evaluation.pictures
        notes = {"notes": self.notes} if self.notes else {}
        return {"first": models[0], "second": models[1], **asdict(self.comparison), **about, **notes}


def compare(
    first: CheckpointRef, second: CheckpointRef, *overrides: Override, split: Split = "test", views: int = 1
) -> ComparisonResult:
    """Which of two checkpoints, each a model or a saved ensemble, is right on more of the same images.

    Raises `CheckpointError` if one is missing, or they have other classes or images, and what `judge` raises.
    """
    paths = find_checkpoints([first, second])
    one, other = (load_target(path, overrides, split) for path in paths)
    require_same_classes({one.name: one.checkpoint, other.name: other.checkpoint})
    check_same_split([(each.name, config.data) for each in (one, other) for config in each.configs], split)
    trained = one.trained + other.trained
    first_judged, second_judged = (
        evaluate_target(replace(each, trained=trained), split, views) for each in (one, other)
    )
    comparison = compare_predictions(first_judged.predictions.correct, second_judged.predictions.correct)
    return ComparisonResult(_names(*paths), first_judged, second_judged, comparison)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """A run's `best.pt` by its folder, another file by itself; both with their whole paths if that does not do."""
    short = [path.parent.name if path.name == "best.pt" and path.parent.name else path.stem for path in (first, second)]
    return (short[0], short[1]) if short[0] != short[1] else (str(first), str(second))
