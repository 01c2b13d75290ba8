from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mnist_trainer import Prediction, Run, predict, train
from mnist_trainer.data.digits import load_digits
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.inference import reading
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.pipeline.evaluate import run_evaluation
from mnist_trainer.pipeline.predict import CHUNK, CHUNK_BYTES, CHUNK_STEPS, InputImage, array_predictor, load_reader
from mnist_trainer.reports.run_plots import predictions_csv
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.onnx_file import ArrayPredictor


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


def test_a_model_of_rows_has_a_say_in_a_row(seven: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sevens are read as the other model says, if its word counts more; it never sees an image as in MNIST."""
    monkeypatch.setattr(reading, "ROW_WEIGHT", 2.0)
    shown: list[int] = []

    def always_three(images: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[np.ndarray[Any, Any], ...]:
        shown.append(len(images))
        return np.eye(10)[[3] * len(images)], np.zeros(len(images))

    row = np.concatenate([np.array(seven)] * 2, axis=1).repeat(4, axis=0).repeat(4, axis=1)
    reader = load_reader()
    with_rows = replace(reader, rows=ArrayPredictor(always_three))
    assert reader.rows is not None
    assert [each.text for each in reader.read([InputImage(None, row)])] == ["77"]
    assert [each.text for each in with_rows.read([InputImage(None, row)])] == ["33"]
    (explained,) = with_rows.read([InputImage(None, row)], explain=True)
    answers = [(each.explanation.answer, each.explanation.runner_up) for each in explained.digits if each.explanation]
    assert answers == [(3, 7)] * 2
    seen = sum(shown)
    assert seen > 1
    assert [each.text for each in with_rows.read([InputImage(None, np.array(seven))])] == ["7"]
    assert sum(shown) == seen


def test_the_shape_of_the_json(digits_run: Run, seven: Image.Image) -> None:
    (found,) = predict(seven, digits_run.folder)
    written = json.loads(json.dumps(found.to_json()))
    assert list(written) == ["path", "text", "digits", "confidence", "refused", "reason", "error", "can_refuse"]
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
        (alone,) = predict(form, digits_run.folder)
        assert (alone.path, alone.text, alone.digits[0].box) == (found.path, found.text, found.digits[0].box)
        assert alone.confidence == pytest.approx(found.confidence)  # sums differ in their last bits
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
    assert (empty.error, empty.refused, empty.confidence) == (None, True, None)
    assert empty.reason is not None
    assert empty.reason.startswith("no ink")
    assert (lost.path, lost.digits, lost.confidence) == ("lost.png", (), None)


def test_the_bundled_model_answers_by_default(digits_run: Run, seven: Image.Image) -> None:
    assert predict(seven) == predict(seven, "bundled")
    assert predict(seven)[0].text == "7"
    assert predict(seven) != predict(seven, digits_run.folder)
    assert load_reader().name.startswith("bundled (")


@pytest.mark.parametrize("width", [3, 6, 10])
@pytest.mark.parametrize("slant", [0, 4])
def test_a_straight_stroke_is_a_one(width: int, slant: int) -> None:
    picture = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(picture).line((100 - slant, 60, 100 + slant, 140), fill=0, width=width)
    assert predict(picture)[0].text == "1"


def test_the_newest_finished_run_answers_when_asked(
    digits_run: Run, seven: Image.Image, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    with pytest.raises(CheckpointError, match="There is no finished run under runs"):
        predict(seven, "latest")
    monkeypatch.chdir(digits_run.folder.parents[1])
    assert predict(seven, "latest") == predict(seven, digits_run.folder)
    assert load_reader("latest").name == f"{Path('runs/shared/best.pt')} (shared, trained on digits)"


def test_an_image_of_the_test_set_is_answered_as_in_evaluation(digits_run: Run, here: Path) -> None:
    """As PNG files, in chunks: pixels pass through unchanged, and answers are those of mnist-eval."""
    result = run_evaluation(digits_run.folder)
    images = load_digits("test").images
    for place, image in enumerate(images):
        Image.fromarray(image.numpy()).save(here / f"{place}.png")
    found = predict([f"{place}.png" for place in range(len(images))], digits_run.folder)
    digits = [digit for prediction in found for digit in prediction.digits]
    assert len(found) == len(digits) == len(images) > CHUNK
    assert [digit.digit for digit in digits] == result.predictions.predicted.tolist()
    assert [digit.confidence for digit in digits] == pytest.approx(result.predictions.confidence.tolist(), rel=1e-5)
    for digit, image in zip(digits, images, strict=True):
        assert digit.image is not None
        assert np.array_equal(digit.image, image.numpy())


def test_what_is_less_sure_than_asked_for_is_refused(digits_run: Run) -> None:
    images = [image.numpy() for image in load_digits("test").images[:100]]
    plain = predict(images, digits_run.folder)
    least = float(np.median([found.confidence for found in plain]))
    refused = [found.refused for found in predict(images, digits_run.folder, min_confidence=least)]
    assert refused == [(found.confidence or 0) < least for found in plain]
    assert 0 < sum(refused) < 100


def test_a_model_that_can_tell_refuses_what_is_no_digit(digits_run: Run, seven: Image.Image) -> None:
    reader = load_reader(digits_run.folder)
    assert reader.load_torch is not None
    model = reader.load_torch()

    def answer(refusal_threshold: float | None) -> Prediction:
        specs = [replace(spec, refusal_threshold=refusal_threshold) for spec in model.specs]
        predictor = Predictor(list(model.members), specs, torch.device("cpu"))
        (found,) = replace(reader, predictor=array_predictor(predictor)).read([InputImage(None, seven)])
        return found

    assert answer(None) == answer(1.0)
    assert answer(None).text == "7"
    found = answer(0.0)
    assert (found.text, found.refused, found.digits[0].digit) == ("", True, 7)
    assert found.reason is not None
    assert found.reason.startswith("looks like no digit: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_confidence": 90}, "min_confidence must be from 0 to 1, got 90; 90 % is 0.9."),
        ({"min_confidence": float("nan")}, "min_confidence must be from 0 to 1, got nan; 90 % is 0.9."),
        ({"expect": "word"}, "expect must be one of auto, single, row, page; got 'word'."),
    ],
)
def test_what_cannot_be_asked_for_is_told(digits_run: Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        predict([], digits_run.folder, **arguments)
    assert str(caught.value) == message


def test_what_is_expected_decides_what_is_seen(digits_run: Run, seven: Image.Image) -> None:
    two = np.zeros((60, 90), np.uint8)
    two[10:38, 10:38] = two[10:38, 50:78] = np.array(seven)
    row, single = (predict(two, digits_run.folder, expect=expect)[0] for expect in ("row", "single"))
    assert (row.text, len(row.digits), len(single.digits)) == ("77", 2, 1)


def test_answers_come_before_all_pictures_are_read(digits_run: Run, seven: Image.Image, here: Path) -> None:
    seven.save(here / "seven.png")
    (here / "large.png").write_bytes((here / "seven.png").read_bytes() + b"\0" * CHUNK_BYTES)
    read = []

    def sources(*names: str) -> Iterator[InputImage]:
        for name in names:
            read.append(name)
            yield InputImage(name, here / name)

    reader = load_reader(digits_run.folder)
    coming = reader.read(sources("large.png", "seven.png", "seven.png", "large.png", "seven.png"))
    assert (next(coming).path, read) == ("large.png", ["large.png"])
    assert [next(coming).path for _ in range(2)] == ["seven.png", "seven.png"]
    assert read == ["large.png", "seven.png", "seven.png", "large.png"]
    assert [prediction.text for prediction in coming] == ["7", "7"]
    few = reader.read(sources(*["seven.png"] * (CHUNK_STEPS + 1)), steps=True)
    read.clear()
    next(few)
    assert len(read) == CHUNK_STEPS


def test_reading_that_is_given_up_leaves_no_thread(digits_run: Run, seven: Image.Image) -> None:
    """Of many pictures a thread reads the next ones while the network runs."""
    before = set(threading.enumerate())
    coming = load_reader(digits_run.folder).read([InputImage(None, seven)] * (3 * CHUNK))
    assert next(coming).text == "7"
    (thread,) = set(threading.enumerate()) - before
    del coming
    assert not thread.is_alive()


def test_the_network_sees_the_same_image_just_once(
    digits_run: Run, seven: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    read = Predictor.read

    def counted(self: Predictor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(images))
        return read(self, images)

    monkeypatch.setattr(Predictor, "read", counted)
    other = Image.fromarray(np.array(seven).T)
    texts = [each.text for each in predict([seven, other, seven, seven], digits_run.folder)]
    assert sum(seen) == 2
    assert texts[0] == texts[2] == texts[3]


def test_the_steps_are_kept_where_they_are_asked_for(digits_run: Run, seven: Image.Image) -> None:
    reader = load_reader(digits_run.folder)
    paper = np.pad(np.array(seven.resize((280, 280))), ((10, 10), (60, 60)))
    (without,), (kept,) = (list(reader.read([InputImage(None, paper)], steps=steps)) for steps in (False, True))
    assert without.steps is None
    assert kept.steps is not None
    assert kept.steps.ink.shape == paper.shape
    assert without == kept


@pytest.mark.slow
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
    result = run_evaluation(run.folder)
    classes = result.target.checkpoint.classes
    text = predictions_csv(result.predictions, result.dataset, classes, result.evaluation.ece is not None)
    assert all(line.endswith(",") for line in text.splitlines()[1:])
    with pytest.raises(UsageError, match="none of its predictions has a confidence"):
        predict(seven, run.folder, min_confidence=0.5)
