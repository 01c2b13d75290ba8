from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer import Run, predict, train
from mnist_trainer.data.bundled import load_digits
from mnist_trainer.errors import CheckpointError
from mnist_trainer.pipeline.evaluation import judge
from mnist_trainer.reports.drawings import predictions_csv
from mnist_trainer.storage.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def seven() -> Image.Image:
    """A picture in MNIST's own form: bright on black, 28×28."""
    digits = load_digits("test")
    return Image.fromarray(digits.images[digits.labels == 7][0].numpy())


def test_the_answer_is_the_models(digits_run: Run, seven: Image.Image, here: Path) -> None:
    seven.save(here / "seven.png")
    (found,) = predict("seven.png", digits_run.folder)
    predictor = load_checkpoint(digits_run.folder / "best.pt").predictor(torch.device("cpu"))
    expected = predictor(torch.from_numpy(np.array(seven))[None])[0]
    (digit,) = found.digits
    assert list(digit.probabilities) == expected.tolist()
    assert (digit.digit, digit.confidence) == (int(expected.argmax()), float(expected.max()))
    assert (found.path, found.text, found.confidence) == ("seven.png", str(digit.digit), digit.confidence)
    assert (found.refused, found.reason, found.error) == (False, None, None)


def test_the_shape_of_the_json(digits_run: Run, seven: Image.Image) -> None:
    (found,) = predict(seven, digits_run.folder)
    written = json.loads(json.dumps(found.to_json()))
    assert list(written) == ["path", "text", "digits", "confidence", "refused", "reason", "error"]
    (digit,) = written["digits"]
    assert list(digit) == ["digit", "confidence", "probabilities", "box", "refused", "reason"]
    assert len(digit["probabilities"]) == 10
    assert sum(digit["probabilities"]) == pytest.approx(1)
    x, y, width, height = digit["box"]
    ink = np.argwhere(np.array(seven))
    assert [y, x] == ink.min(axis=0).tolist()
    assert [y + height, x + width] == (ink.max(axis=0) + 1).tolist()
    assert written["path"] is None


def test_a_large_dark_digit_on_paper_is_read_like_the_bright_one(digits_run: Run, seven: Image.Image) -> None:
    large = seven.resize((280, 280), Image.Resampling.BICUBIC)
    paper = Image.new("L", (600, 500), 255)
    paper.paste(Image.eval(large, lambda value: 255 - value), (250, 130))
    bright, dark = predict([seven, paper], digits_run.folder)
    assert bright.text == dark.text == "7"


def test_pictures_come_in_every_form(digits_run: Run, seven: Image.Image, here: Path) -> None:
    seven.save(here / "seven.png")
    grey = np.array(seven)
    colours = np.stack([grey] * 3, axis=2)
    forms: list[Any] = ["seven.png", Path("seven.png"), seven, grey, colours]
    together = predict(forms, digits_run.folder)
    assert [found.text for found in together] == ["7"] * 5
    assert [found.path for found in together] == ["seven.png", "seven.png", None, None, None]
    for form, found in zip(forms, together, strict=True):
        assert predict(form, digits_run.folder) == [found]
    assert predict(tuple(forms), digits_run.folder) == together
    assert predict([], digits_run.folder) == []


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    digits_run: Run, seven: Image.Image, here: Path
) -> None:
    seven.save(here / "seven.png")
    (here / "notes.txt").write_text("no picture")
    Image.new("L", (50, 50), 255).save(here / "empty.png")
    found = predict(["lost.png", "seven.png", "notes.txt", "empty.png"], digits_run.folder)
    assert [prediction.text for prediction in found] == ["", "7", "", ""]
    lost, _, notes, empty = found
    assert lost.error == "lost.png is not there. Check the spelling and the folder."
    assert notes.error == "notes.txt is no picture in a known format. Save it as PNG or JPEG."
    assert empty.error is not None
    assert empty.error.startswith("empty.png holds no ink")
    assert (lost.path, lost.digits, lost.confidence) == ("lost.png", (), None)


def test_the_newest_finished_run_answers_by_default(
    digits_run: Run, seven: Image.Image, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    with pytest.raises(CheckpointError, match="There is no finished run under runs"):
        predict(seven)
    monkeypatch.chdir(digits_run.folder.parents[1])
    assert predict(seven) == predict(seven, digits_run.folder)


def test_classes_have_their_own_names(
    tiny: dict[str, Any], seven: Image.Image, here: Path, pictures: Callable[[Path, dict[str, int]], None]
) -> None:
    yes_no = train({**tiny, "loss": "bce"}, "data.binary=7", "training.epochs=30", "data.limit=100")
    (found,) = predict(seven, yes_no.folder)
    assert (found.text, found.digits[0].digit, len(found.digits[0].probabilities)) == ("7", 7, 2)
    other = Image.fromarray(load_digits("test").images[0].numpy())
    assert predict(other, yes_no.folder)[0].digits[0].digit == "not 7"
    pictures(here / "mine", {"one": 1, "seven": 7})
    named = train(
        {**tiny, "data": {"name": "folder", "path": str(here / "mine"), "batch_size": 4}}, "training.epochs=9"
    )
    assert predict(seven, named.folder)[0].text == "seven"


def test_a_model_of_the_users_is_asked_for(tiny: dict[str, Any], seven: Image.Image) -> None:
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    run = train(tiny, model=own)
    with pytest.raises(CheckpointError, match="is not part of mnist_trainer"):
        predict(seven, run.folder)
    again = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    assert len(predict(seven, run.folder, model=again)) == 1


def test_predicting_prints_nothing(digits_run: Run, seven: Image.Image, capfd: pytest.CaptureFixture[str]) -> None:
    predict([seven, "nowhere.png"], digits_run.folder)
    assert capfd.readouterr() == ("", "")


def test_outputs_that_are_no_probabilities_are_not_called_so(seven: Image.Image, here: Path) -> None:
    """Squared error without an output function: the largest output is the answer, and nothing says how sure."""
    config = {
        "data": {"name": "digits", "limit": 20},
        "model": {"architecture": "mlp", "hidden": [16]},
        "loss": "mse",
        "training": {"epochs": 1},
        "report": {"plots": False, "gallery": False},
    }
    run = train(config, run_dir=here / "values")
    (found,) = predict(seven, run.folder)
    (digit,) = found.digits
    assert found.text == str(digit.digit)
    assert (found.confidence, digit.confidence, digit.probabilities) == (None, None, ())
    assert run.test.ece is None
    judged = judge(run.folder)
    classes = judged.subject.checkpoint.classes
    text = predictions_csv(judged.answers, judged.source, classes, judged.evaluation.ece is not None)
    assert all(line.endswith(",") for line in text.splitlines()[1:])
