"""Which epoch was the best so far, and whether there is hope for a better one (Prechelt 1998, "Early stopping")."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_trainer.config.schema import EarlyStopping


@dataclass
class BestEpoch:
    """The best epoch by a validation figure; ties go to the earlier epoch. Without figures the last epoch is best.

    A figure must be better by more than `min_delta` for patience to start anew, but any better figure is kept as best.
    """

    epoch: int = 0
    metric: float | None = None
    patience_score: float | None = None
    num_bad_epochs: int = 0

    def update(
        self, rule: EarlyStopping | None, epoch: int, val_loss: float | None, val_accuracy: float | None
    ) -> bool:
        """Whether `epoch` (from 1) is the best so far."""
        monitored, margin = (rule.monitor, rule.min_delta) if rule else ("val_loss", 0.0)
        metric = val_loss if monitored == "val_loss" else val_accuracy
        if metric is None:
            self.epoch = epoch
            return True
        score = -metric if monitored == "val_loss" else metric  # larger is better
        if self.patience_score is None or score > self.patience_score + margin:
            self.patience_score, self.num_bad_epochs = score, 0
        else:
            self.num_bad_epochs += 1
        improved = self.metric is None or score > self.metric
        if improved:
            self.epoch, self.metric = epoch, score
        return improved

    def is_exhausted(self, rule: EarlyStopping | None) -> bool:
        """Whether patience has run out."""
        return rule is not None and self.num_bad_epochs >= rule.patience
