from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from mnist_trainer import Run, predict
from mnist_trainer.cli.mnist_predict import Content
from mnist_trainer.data.digits import load_digits
from mnist_trainer.pictures.page import Expect
from mnist_trainer.pipeline.evaluate import run_evaluation

Command = Callable[..., Any]

LIMITS = (
    "This model cannot refuse: it also reads letters and scribbles as digits. "
    "It learned from 1,797 small images, too few for photographs. "
    "The model that comes with the package can refuse: leave --checkpoint out.\n"
)
"""What is said of a model that was trained on the bundled digits."""


@pytest.fixture
def pictures(here: Path) -> list[str]:
    """A 7 and a 3 as pictures in the present folder."""
    digits = load_digits("test")
    for digit in (7, 3):
        Image.fromarray(digits.images[digits.labels == digit][0].numpy()).save(f"{digit}.png")
    return ["7.png", "3.png"]


def test_it_prints_digit_probability_and_model(command: Command, digits_run: Run, pictures: list[str]) -> None:
    done = command("predict", *pictures, "--checkpoint", digits_run.folder, "--top", "1")
    found = predict(pictures, digits_run.folder)
    assert [prediction.text for prediction in found] == ["7", "3"]
    lines = [f"{entry.path}: {entry.text}  ({100 * (entry.confidence or 0):.1f} %)" for entry in found]
    model = f"model: {digits_run.folder / 'best.pt'} (shared, trained on digits)"
    assert done == (0, "\n".join([*lines, model]) + "\n", LIMITS)


def test_without_a_checkpoint_the_bundled_model_answers(command: Command, pictures: list[str]) -> None:
    done = command("predict", "7.png")
    assert (done.code, done.err) == (0, "")
    answer, model = done.out.splitlines()
    assert answer.startswith("7.png: 7  (")
    assert model.startswith("model: bundled (")
    assert done == command("predict", "7.png", "--checkpoint", "bundled")


def test_the_latest_run_answers_when_asked(
    command: Command, digits_run: Run, pictures: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = command("predict", "7.png", "--checkpoint", "latest")
    message = "There is no finished run under runs. Train one (mnist-train --config quickstart) or name a checkpoint."
    assert none == (4, "", f"{message}\n")
    monkeypatch.chdir(digits_run.folder.parents[1])
    done = command("predict", here / "7.png", "--checkpoint", "latest")
    assert done.out.splitlines()[-1] == f"model: {Path('runs/shared/best.pt')} (shared, trained on digits)"


def test_the_shape_of_the_json(command: Command, digits_run: Run, pictures: list[str]) -> None:
    done = command("predict", *pictures, "--checkpoint", digits_run.folder, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, LIMITS, 1)
    first, second = json.loads(done.out)
    (digit,) = first.pop("digits")
    assert first == {
        "path": "7.png",
        "text": "7",
        "confidence": digit["confidence"],
        "refused": False,
        "reason": None,
        "error": None,
        "can_refuse": False,
    }
    assert list(digit) == ["digit", "confidence", "probabilities", "box", "refused", "reason"]
    assert (digit["digit"], digit["refused"], digit["reason"]) == (7, False, None)
    assert max(digit["probabilities"]) == digit["probabilities"][7] == digit["confidence"]
    assert len(digit["probabilities"]) == 10
    assert len(digit["box"]) == 4
    assert second["text"] == "3"
    assert list(second) == ["path", "text", "digits", "confidence", "refused", "reason", "error", "can_refuse"]


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    command: Command, digits_run: Run, pictures: list[str]
) -> None:
    arguments = ["predict", "lost.png", *pictures, "tiny.yaml", "--checkpoint", digits_run.folder]
    done = command(*arguments)
    assert done.code == 3
    assert [line.split("  ")[0] for line in done.out.splitlines()][:2] == ["7.png: 7", "3.png: 3"]
    assert done.err.removeprefix(LIMITS).splitlines() == [
        "lost.png is not there. Check the spelling and the folder.",
        "tiny.yaml is no picture in a known format. Save it as PNG or JPEG.",
    ]
    done = command(*arguments, "--json")
    assert (done.code, done.err) == (3, LIMITS)
    lost, seven, three, text = json.loads(done.out)
    assert lost == {
        "path": "lost.png",
        "text": "",
        "digits": [],
        "confidence": None,
        "refused": False,
        "reason": None,
        "error": "lost.png is not there. Check the spelling and the folder.",
    }
    assert (seven["text"], three["text"], text["text"]) == ("7", "3", "")


def page(*rows: str) -> Image.Image:
    """White paper with rows of large dark digits."""
    digits = load_digits("test")
    paper = np.full((160 * len(rows), 150 * max(map(len, rows)) + 40), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, sign in enumerate(row):
            image = Image.fromarray(digits.images[digits.labels == int(sign)][0].numpy()).resize((112, 112))
            paper[160 * y + 24 : 160 * y + 136, 150 * x + 40 : 150 * x + 152] = 255 - np.array(image)
    return Image.fromarray(paper)


# --- the JSON against its schema in the docs ---

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "predict.schema.json").read_text(encoding="utf-8"))
TYPES = {"string": str, "array": list, "object": dict, "boolean": bool, "null": type(None), "integer": int}
KNOWN = {"$schema", "title", "description", "type", "items", "properties", "required", "additionalProperties"}
KNOWN |= {"minimum", "maximum", "minItems", "maxItems"}


def misfits(value: Any, schema: Mapping[str, Any], place: str = "") -> list[str]:
    """Where `value` is not what `schema` says, of those keywords of JSON Schema that ours has."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not any(is_number if kind == "number" else type(value) is TYPES[kind] for kind in kinds):
        return [f"{place} is {value!r}, not {kinds}"]
    found = []
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{place} is {value}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{place} has {len(value)} items")
        found += [
            text for index, each in enumerate(value) for text in misfits(each, schema["items"], f"{place}.{index}")
        ]
    if isinstance(value, dict):
        assert schema["additionalProperties"] is False
        required, known = schema["required"], list(schema["properties"])
        assert known[: len(required)] == required
        if list(value)[: len(required)] != required or not set(value) <= set(known):
            return [*found, f"{place} has {list(value)}"]
        found += [
            text for key, each in value.items() for text in misfits(each, schema["properties"][key], f"{place}.{key}")
        ]
    return found


def test_the_json_is_what_the_schema_says(command: Command, digits_run: Run, pictures: list[str], here: Path) -> None:
    page("70", "3").save(here / "page.png")
    Image.new("L", (50, 50), 255).save(here / "blank.png")
    done = command("predict", "page.png", "blank.png", "lost.png", "--checkpoint", digits_run.folder, "--json")
    sure, blank, lost = content = json.loads(done.out)
    assert misfits(content, SCHEMA) == []
    assert (len(sure["digits"]), blank["refused"], lost["error"] is None) == (3, True, False)
    strict = command("predict", "page.png", "--checkpoint", digits_run.folder, "--json", "--min-confidence", "1")
    (refused,) = content = json.loads(strict.out)
    assert misfits(content, SCHEMA) == []
    assert (refused["text"], refused["refused"]) == ("", True)
    assert all(digit["refused"] and digit["reason"] for digit in refused["digits"])


def test_every_page_of_a_scan_is_read(
    command: Command, digits_run: Run, pictures: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seven, three = (Image.open(name) for name in pictures)
    seven.save(here / "scan.tif", save_all=True, append_images=[Image.new("L", (50, 50), 255), three])
    model = ["--checkpoint", digits_run.folder]
    found = predict("scan.tif", digits_run.folder)
    assert [(page.path, page.page, page.text) for page in found] == [
        ("scan.tif", 1, "7"),
        ("scan.tif", 2, ""),
        ("scan.tif", 3, "3"),
    ]
    done = command("predict", "scan.tif", "7.png", *model, "--save-steps", here / "steps", "--show")
    names = ["scan.tif[1]: 7  (", "scan.tif[2]: refused  (", "scan.tif[3]: 3  (", "7.png: 7  ("]
    assert [line[: len(name)] for line in done.out.splitlines() for name in names if line.startswith(name)] == names
    assert len(list((here / "steps").iterdir())) == 4
    content = json.loads(command("predict", "scan.tif", "7.png", *model, "--json").out)
    assert misfits(content, SCHEMA) == []
    assert [page.get("page") for page in content] == [1, 2, 3, None]
    rows = csv.DictReader(StringIO(command("predict", "scan.tif", "7.png", *model, "--csv").out))
    assert [row["page"] for row in rows] == ["1", "2", "3", ""]
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((here / "scan.tif").read_bytes())))
    piped = command("predict", "-", *model)
    assert [line.split(" ")[0] for line in piped.out.splitlines()[:3]] == ["-[1]:", "-[2]:", "-[3]:"]


def test_the_schema_finds_what_is_wrong(command: Command, digits_run: Run, pictures: list[str]) -> None:
    done = command("predict", "7.png", "--checkpoint", digits_run.folder, "--json")
    for path, wrong in [
        (("text",), None),
        (("confidence",), 1.5),
        (("more",), 1),
        (("digits", 0, "box"), [1, 2, 3]),
        (("digits", 0, "box", 0), -1),
        (("digits", 0, "digit"), True),
    ]:
        content = json.loads(done.out)
        *parents, last = (0, *path)
        target = content
        for key in parents:
            target = target[key]
        target[last] = wrong
        assert len(misfits(content, SCHEMA)) == 1, path


# --- more than one picture, more than one digit ---


def test_a_table_has_a_row_for_each_picture(command: Command, digits_run: Run, pictures: list[str], here: Path) -> None:
    page("70", "3").save(here / "page, large.png")
    Image.new("L", (50, 50), 255).save(here / "blank.png")
    names = ["page, large.png", "lost.png", "blank.png", "7.png"]
    done = command("predict", *names, "--checkpoint", digits_run.folder, "--csv")
    assert (done.code, done.err) == (3, LIMITS)
    large, lost, blank, seven = csv.DictReader(StringIO(done.out))
    found = predict(names, digits_run.folder)
    assert list(large) == ["path", "text", "confidence", "refused", "reason", "error", "page", "warnings", "signs"]
    assert [large["path"], large["text"]] == ["page, large.png", "70\n3"]
    assert [lost["text"], lost["error"]] == ["", "lost.png is not there. Check the spelling and the folder."]
    assert [blank["refused"], blank["reason"]] == ["true", found[2].reason]
    assert [seven["refused"], seven["reason"], seven["error"]] == ["false", "", ""]
    assert float(seven["confidence"]) == pytest.approx(found[3].confidence)


def test_a_folder_stands_for_its_pictures(command: Command, digits_run: Run, pictures: list[str], here: Path) -> None:
    (here / "scans" / "more").mkdir(parents=True)
    for name in ("10.png", "9 ü.png"):
        (here / "7.png").rename(here / "scans" / name) if name == "10.png" else page("3").save(here / "scans" / name)
    (here / "scans" / "notes.txt").write_text("no picture")
    (here / "empty").mkdir()
    done = command("predict", "scans", "empty", "3.png", "--checkpoint", digits_run.folder, "--json")
    assert (done.code, [picture["path"] for picture in json.loads(done.out)]) == (
        3,
        [str(Path("scans/9 ü.png")), str(Path("scans/10.png")), "empty", "3.png"],
    )
    assert [picture["text"] for picture in json.loads(done.out)] == ["3", "7", "", "3"]
    assert done.err.removeprefix(LIMITS).splitlines() == [
        "scans: left out files that are not pictures, by their names: notes.txt",
        f"scans: left out its sub-folder; name it too: {Path('scans/more')}",
    ]


def test_a_picture_comes_through_a_pipe(
    command: Command, digits_run: Run, pictures: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((here / "7.png").read_bytes())))
    done = command("predict", "-", "3.png", "--checkpoint", digits_run.folder)
    assert [line.split("  ")[0] for line in done.out.splitlines()[:2]] == ["-: 7", "3.png: 3"]
    for content, message in (
        (b"no picture", "- is no picture in a known format"),
        (b"", "-: there is no picture on stdin"),
    ):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
        done = command("predict", "-", "--checkpoint", digits_run.folder)
        assert (done.code, done.err.removeprefix(LIMITS).startswith(message)) == (3, True)


def test_names_may_begin_with_a_dash(command: Command, digits_run: Run, pictures: list[str], here: Path) -> None:
    for name in ("-7.png", "--7.png"):
        (here / name).write_bytes((here / "7.png").read_bytes())
    options = ["--checkpoint", digits_run.folder]
    done = command("predict", *options, "-7.png", "--", "-7.png", "--7.png")
    assert [line.split("  ")[0] for line in done.out.splitlines()[:3]] == ["./-7.png: 7", "-7.png: 7", "--7.png: 7"]
    assert command("predict", *options, "-8.png").code == 2
    assert command("predict", *options, "--7.png").code == 2


def test_what_a_picture_holds_can_be_told(command: Command, digits_run: Run, pictures: list[str], here: Path) -> None:
    assert get_args(Content) == get_args(Expect)
    page("70", "30").save(here / "page.png")
    counts = {}
    for kind in get_args(Content):
        done = command("predict", "page.png", "--checkpoint", digits_run.folder, "--expect", kind, "--json")
        (found,) = json.loads(done.out)
        counts[kind] = (len(found["digits"]), found["text"].count("\n"))
    assert counts["single"] == (1, 0)
    assert counts["page"] == counts["auto"] == (4, 1)
    assert counts["row"][1] == 0


def test_digits_are_refused_below_the_least_confidence(
    command: Command, digits_run: Run, pictures: list[str], here: Path
) -> None:
    arguments = ["predict", *pictures, "--checkpoint", digits_run.folder]
    first, second = (found.confidence or 0 for found in predict(pictures, digits_run.folder))
    least = (first + second) / 2
    done = command(*arguments, "--min-confidence", least)
    refused, answered = sorted(done.out.splitlines()[:2], key=lambda line: ": refused  (" not in line)
    assert done.code == 0
    assert ": refused  (may be " in refused
    assert "refused" not in answered


@pytest.mark.parametrize("colour", [False, True])
def test_the_pixels_are_drawn_below_their_answer(
    command: Command, digits_run: Run, pictures: list[str], monkeypatch: pytest.MonkeyPatch, colour: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: colour)
    done = command("predict", *pictures, "--checkpoint", digits_run.folder, "--show", "--top", "1")
    lines = done.out.splitlines()
    assert (len(lines), lines[0].split("  ")[0], lines[16].split("  ")[0]) == (33, "7.png: 7", "3.png: 3")
    assert ("\x1b[38;5;" in done.out) is colour
    assert lines[15].startswith("7  ")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in command("predict", *pictures, "--checkpoint", digits_run.folder, "--show").out


def test_the_steps_are_written_for_each_picture(
    command: Command, digits_run: Run, pictures: list[str], here: Path
) -> None:
    Image.new("L", (50, 50), 255).save(here / "blank.png")
    arguments = ["predict", *pictures, "lost.png", "blank.png", "--checkpoint", digits_run.folder]
    done = command(*arguments, "--save-steps", "new/steps")
    assert (done.code, done.out.splitlines()[-1]) == (3, f"Written to {Path('new/steps')}: 3 strips")
    names = ["3-steps.png", "7-steps.png", "blank-steps.png"]
    assert sorted(path.name for path in (here / "new" / "steps").iterdir()) == names
    for name in names:
        with Image.open(here / "new" / "steps" / name) as strip:
            assert strip.width == 1200
    done = command(*arguments, "--save-steps", "new/steps", "--json")
    assert done.err.removeprefix(LIMITS) == f"Written to {Path('new/steps')}: 3 strips\n"
    assert len(json.loads(done.out)) == 4
    done = command("predict", "7.png", "--checkpoint", digits_run.folder, "--save-steps", "7.png")
    assert (done.code, "a file is where a folder is needed" in done.err) == (7, True)


# --- explanations ---


def test_what_decided_is_said_in_words_and_figures(
    command: Command, digits_run: Run, pictures: list[str], here: Path
) -> None:
    page("70", "3").save(here / "page.png")
    arguments = ["predict", "7.png", "page.png", "lost.png", "--checkpoint", digits_run.folder, "--explain"]
    done = command(*arguments)
    answers = predict(["7.png", "page.png"], digits_run.folder, explain=True)
    assert (done.code, len(done.out.splitlines())) == (3, 9)  # a line for 7.png, 3 + 1 for page.png, 4 digits, model
    plain = command(*arguments[:-1])
    assert [line for line in done.out.splitlines() if "that decided most" not in line] == plain.out.splitlines()
    digit = answers[0].digits[0]
    assert digit.explanation is not None
    lost, at_random = (
        100 * (digit.explanation.confidence - other)
        for other in (digit.explanation.confidence_without, digit.explanation.confidence_random)
    )
    assert done.out.splitlines()[1] == (
        f"  7, not {digit.ranked(2)[1][0]}: without the 39 pixels that decided most it reads "
        f"{digit.explanation.answer_without} ({100 * digit.explanation.answer_confidence_without:.1f} %); "
        f"7 loses {lost:.1f} points ({at_random:.1f} without 39 random pixels of the ink)"
    )
    assert [line[:17] for line in done.out.splitlines() if line.startswith("  line")] == [
        "  line 1, digit 1",
        "  line 1, digit 2",
        "  line 2, digit 1",
    ]


def test_explanations_are_drawn_beside_the_steps(
    command: Command, digits_run: Run, pictures: list[str], here: Path
) -> None:
    Image.new("L", (50, 50), 255).save(here / "blank.png")
    page("70", "3").save(here / "page.png")
    arguments = ["predict", "7.png", "--checkpoint", digits_run.folder, "--explain", "--save-steps", "steps"]
    done = command(*arguments)
    assert done.out.splitlines()[-1] == "Written to steps: 7-steps.png, 7-explained.png"
    done = command(*arguments[:-1], "more", "page.png", "blank.png")
    assert done.out.splitlines()[-1] == "Written to more: 3 strips and 2 explanations"
    names = [*(f"{name}-steps.png" for name in ("7", "blank", "page")), "7-explained.png", "page-explained.png"]
    assert sorted(path.name for path in (here / "more").iterdir()) == sorted(names)
    for name, size in (("7", (600, 300)), ("page", (1200, 540))):
        with Image.open(here / "more" / f"{name}-explained.png") as picture:
            assert picture.size == size


def test_explanations_in_json_follow_the_schema(
    command: Command, digits_run: Run, pictures: list[str], here: Path
) -> None:
    arguments = ["predict", "7.png", "--checkpoint", digits_run.folder, "--json"]
    plain, explained = json.loads(command(*arguments).out), json.loads(command(*arguments, "--explain").out)
    assert misfits(explained, SCHEMA) == []
    found = explained[0]["digits"][0].pop("explanation")
    assert plain == explained
    (answer,) = predict("7.png", digits_run.folder, explain=True)
    assert answer.digits[0].explanation is not None
    assert found == answer.digits[0].explanation.to_json()
    assert found["answer"] == 7
    assert found["log_odds"] - found["thinned_log_odds"] == pytest.approx(np.sum(found["attributions"]), rel=0.011)


def test_only_the_first_ten_digits_are_explained(command: Command, here: Path, digits_run: Run) -> None:
    page("704183", "704183").save(here / "page.png")
    (found,) = predict("page.png", checkpoint=digits_run.folder, explain=True)
    assert [digit.explanation is not None for digit in found.digits] == [True] * 10 + [False] * 2
    done = command("predict", "page.png", "--checkpoint", digits_run.folder, "--explain")
    assert done.out.splitlines()[-2] == "  the other 2 digits: not explained"


def test_what_is_refused_is_not_explained(command: Command, digits_run: Run, pictures: list[str]) -> None:
    arguments = ["predict", "7.png", "--checkpoint", digits_run.folder, "--min-confidence", "1"]
    assert command(*arguments, "--explain") == command(*arguments)
    done = command(*arguments, "--explain", "--save-steps", "steps")
    assert done.out.splitlines()[-1] == "Written to steps: 7-steps.png"


def test_explanations_go_with_neither_csv_nor_out(command: Command, pictures: list[str]) -> None:
    done = command("predict", "7.png", "--explain", "--csv")
    message = "A table has no column for explanations: use --json instead of --csv, or leave out --explain."
    assert done == (2, "", f"{message}\n")
    done = command("predict", "test.csv", "--explain", "--out", "a.csv")
    assert done == (2, "", "--out takes no other option but --checkpoint.\n")


@pytest.fixture
def rows(here: Path) -> list[int]:
    """`test.csv` with 40 digits as Kaggle gives them, `labelled.csv` with their labels, which these are."""
    digits = load_digits("test")
    pixels, labels = digits.images[:40].reshape(-1, 784).numpy(), digits.labels[:40].numpy()
    header = ",".join(f"pixel{number}" for number in range(784))
    np.savetxt("test.csv", pixels, "%d", ",", header=header, comments="")
    np.savetxt("plain.csv", pixels, "%d", ",")
    np.savetxt("labelled.csv", np.column_stack((labels, pixels)), "%d", ",", header=f"label,{header}", comments="")
    found: list[int] = labels.tolist()
    return found


def test_the_rows_of_a_table_are_answered_for_kaggle(
    command: Command, digits_run: Run, rows: list[int], here: Path
) -> None:
    done = command("predict", "test.csv", "--checkpoint", digits_run.folder, "--out", "new/submission.csv")
    model = f"model: {digits_run.folder / 'best.pt'} (shared, trained on digits)"
    written = f"Written to {Path('new/submission.csv')}: the predictions for 40 images."
    assert done == (0, f"{written}\n{model}\n", "")
    head, *lines = (here / "new" / "submission.csv").read_text().splitlines()
    assert head == "ImageId,Label"
    predictions = run_evaluation(digits_run.folder).predictions
    assert [line.split(",") for line in lines] == [
        [str(number), str(int(label))] for number, label in enumerate(predictions.predicted[:40], 1)
    ]
    for name, note in (("plain.csv", ""), ("labelled.csv", "labelled.csv: its column of labels is ignored.\n")):
        done = command("predict", name, "--checkpoint", digits_run.folder, "--out", "other.csv")
        assert (done.code, done.err) == (0, note)
        assert (here / "other.csv").read_bytes() == (here / "new" / "submission.csv").read_bytes()


def test_what_is_refused_has_an_answer_in_a_table(command: Command, here: Path) -> None:
    np.savetxt("test.csv", np.zeros((2, 784)), "%d", ",")
    assert command("predict", "test.csv", "--out", "submission.csv").code == 0
    assert [line[:2] for line in (here / "submission.csv").read_text().split()] == ["Im", "1,", "2,"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["7.png", "--out", "a.csv"], 2, "--out is for one CSV file with an image in each row: mnist-predict test.csv"),
        (["test.csv", "plain.csv", "--out", "a.csv"], 2, "--out is for one CSV file"),
        (["test.csv", "--out", "a.csv", "--json"], 2, "--out takes no other option but"),
        (["test.csv", "--out", "a.csv", "--min-confidence", "0.5"], 2, "no other option but --checkpoint"),
        (["test.csv", "--out", "./test.csv"], 2, "Name another file to write to"),
        (["none.csv", "--out", "a.csv"], 3, "none.csv can't be read: No such file"),
        (["broken.csv", "--out", "a.csv"], 3, "broken.csv is damaged: line 1 has 3 columns"),
        (["test.csv"], 3, "test.csv is a table, not a picture; mnist-predict FILE.csv --out FILE reads its rows."),
    ],
)
@pytest.mark.usefixtures("rows", "pictures")
def test_no_other_file_is_answered_as_a_table(
    arguments: list[str], code: int, reason: str, command: Command, here: Path
) -> None:
    (here / "broken.csv").write_text("1,2,3\n")
    before = (here / "test.csv").read_bytes()
    done = command("predict", *arguments)
    assert done.code == code and reason in done.err and "Traceback" not in done.err
    assert not (here / "a.csv").exists() and (here / "test.csv").read_bytes() == before
