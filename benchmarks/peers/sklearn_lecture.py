"""The lecture's network in scikit-learn: `python sklearn_lecture.py EPOCHS`; see lecture.py."""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from time import perf_counter

from mnist_files import read
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

EPOCHS = int(sys.argv[1])
warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are intended


class Clock(StringIO):
    """Records the end of each epoch, at which `verbose` prints a line."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = [perf_counter()]

    def write(self, text: str) -> int:
        if text.startswith("Iteration"):
            self.moments.append(perf_counter())
        return len(text)


images, labels = read("train")
test_images, test_labels = read("t10k")
model = MLPClassifier((64, 64, 64), batch_size=256, learning_rate_init=0.003, max_iter=EPOCHS, verbose=True)
with redirect_stdout(Clock()) as clock:
    model.fit(images.reshape(-1, 784), labels)
seconds = [after - before for before, after in zip(clock.moments, clock.moments[1:], strict=False)]
accuracy = model.score(test_images.reshape(-1, 784), test_labels)
print(json.dumps({"epoch_seconds": seconds, "test_accuracy": accuracy}))
