"""Which epoch was the best so far, and whether there is hope for a better one (Prechelt 1998, "Early stopping")."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_trainer.config.schema import EarlyStopping


@dataclass
class Best:
    """The best epoch by a validation figure; ties go to the earlier epoch. Without figures the last epoch is best.

    A figure must be better by more than `min_delta` for patience to start anew, but any better figure is kept as best.
    """

    epoch: int = 0
    figure: float | None = None
    reference: float | None = None
    waited: int = 0

    def update(
        self, rule: EarlyStopping | None, epoch: int, val_loss: float | None, val_accuracy: float | None
    ) -> bool:
        """Whether `epoch` (from 1) is the best so far."""
        monitored, margin = (rule.monitor, rule.min_delta) if rule else ("val_loss", 0.0)
        figure = val_loss if monitored == "val_loss" else val_accuracy
        if figure is None:
            self.epoch = epoch
            return True
        height = -figure if monitored == "val_loss" else figure  # larger is better
        if self.reference is None or height > self.reference + margin:
            self.reference, self.waited = height, 0
        else:
            self.waited += 1
        improved = self.figure is None or height > self.figure
        if improved:
            self.epoch, self.figure = epoch, height
        return improved

    def is_over(self, rule: EarlyStopping | None) -> bool:
        """Whether patience has run out."""
        return rule is not None and self.waited >= rule.patience
