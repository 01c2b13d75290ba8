"""`calibration`: is the confidence of answers as high as their accuracy?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

import torch

from handwriting.bench import Answer, Bench, Sample, head, row
from handwriting.real import real
from handwriting.simulated import photographed
from mnist_trainer.inference.metrics import calibration_error
from mnist_trainer.simulator.photographs import KINDS


def calibration(bench: Bench) -> Iterator[str]:
    """Yield the expected calibration error of the answers, without refused pictures and pictures without digits."""
    yield head("answers to", "answers", "right", "mean confidence", "ECE")
    simulated = (sample for kind in KINDS for sample in photographed(bench, kind, max(1, bench.count // 20)))
    yield _row("photographs, simulated", bench.read(None, simulated))
    people = [(name, bench.read(None, samples)) for name, samples in real(bench.folders)]
    pictures = [answer for name, answers in people if "/" not in name for answer in answers]
    yield _row("pictures that people made", pictures)
    for name, answers in people:
        if "/" in name:
            yield _row(name, answers)
    yield _row("images of the data set", bench.read(None, _as_they_are(bench)))


def _as_they_are(bench: Bench) -> Iterator[Sample]:
    for number, (image, label) in enumerate(zip(*bench.digits, strict=True)):
        yield Sample(f"image-{number}", image, str(label))


def _row(name: str, answers: Sequence[Answer]) -> str:
    given = [
        (answer.confidence, answer.correct) for answer in answers if answer.label and answer.confidence is not None
    ]
    if not given:
        return row(name, "0", "", "", "")
    confidences, corrects = zip(*given, strict=True)
    error = calibration_error(torch.tensor(confidences, dtype=torch.float64), torch.tensor(corrects))
    shares = (f"{100 * value:.2f} %" for value in (mean(corrects), mean(confidences), error))
    return row(name, f"{len(given):,}", *shares)
