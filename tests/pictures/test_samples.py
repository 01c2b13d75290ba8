"""Real handwriting, read by the model that comes with the package, as a user does who installs it and tries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "samples"
SAMPLES = sorted(FOLDER.glob("[0-9]*_*.[pj]*g"))


def test_every_sample_has_its_source_and_its_licence() -> None:
    lines = (FOLDER / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    rows = dict(re.findall(r"^\| `(.+?)` \|.+\| (.+?) \|$", line)[0] for line in lines if line.startswith("| `"))
    assert set(rows) == {path.name for path in SAMPLES} == {path.name for path in FOLDER.iterdir()} - {"SOURCES.md"}
    assert set(rows.values()) <= {"MIT", "Apache-2.0", "BSD", "CC BY 4.0"}
    assert len(SAMPLES) >= 40
    assert sum(path.stat().st_size for path in SAMPLES) < 1_000_000


@pytest.mark.parametrize("expect", ["auto", "single"])
def test_the_bundled_model_reads_all_samples_but_at_most_one(expect: str) -> None:
    """It needs `mnist_trainer/bundled.pt`, fully trained by `configs/bundled.yaml`: a provisional one reads fewer."""
    from mnist_trainer import predict

    paths = [path for path in SAMPLES if expect == "auto" or path.name[1] == "_"]
    answers = predict(paths, expect=expect)
    wrong = [
        f"{path.name}: {answer.text or answer.reason or answer.error}"
        for path, answer in zip(paths, answers, strict=True)
        if answer.text != path.name.split("_")[0]
    ]
    assert len(wrong) <= 1, f"mnist_trainer/bundled.pt, which must be fully trained, misreads {wrong}"
