"""The report on runs as one HTML file: `mnist_trainer/studies/html_report.py`."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import train
from mnist_trainer.cli.options import run_app
from mnist_trainer.config.load import load_config
from mnist_trainer.reports.html import VOID
from mnist_trainer.studies.html_report import report_html
from mnist_trainer.studies.run_summary import read_metrics, read_run

FakeRun = Callable[..., Path]
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "b", "br", "span", "code", "pre", "div"),
    *("dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption"),
    *("details", "summary"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "src", "alt", "tabindex"}


class Page(HTMLParser):
    """The text of a page, its commands and pictures; it must be well-formed, and refer to nothing outside itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.commands: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.all = " ".join("".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text.append("" if tag == "span" else " ")
        values = dict(attrs)
        assert tag in TAGS
        assert set(values) <= ATTRIBUTES
        assert (values.get("src") or "data:image/").startswith("data:image/")
        if tag == "img":
            assert values["alt"]
            self.pictures.append(str(values["alt"]))
        if tag == "pre":
            self.commands.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self.text.append(data)
        if "pre" in self.open:
            self.commands[-1] += data


def report_on(*folders: Path) -> Page:
    return Page(report_html([read_run(folder) for folder in folders]))


def add_plots(folder: Path, *names: str) -> None:
    (folder / "plots").mkdir()
    for name in names:
        (folder / "plots" / name).write_bytes(PIXEL if name.endswith(".png") else b"<svg/>")


DIAGNOSIS = {
    "healthy": False,
    "findings": [{"rule": "too_short", "text": "Too short."}],
    "suggestion": "training.epochs=9",
}
SESSION = {"status": "killed", "started_at": "2026-03-14T15:09:26.535+00:00", "finished_at": None, "ended": None}
SESSION |= {"began": {"phase": "train", "epochs": 0, "steps": 0}}
LAST = {"status": "finished", "finished_at": "2026-03-14T15:10:26.535+00:00", "ended": {"phase": "train", "epochs": 3}}
DATA = {"name": "mnist", "train_count": 55_000, "validation_count": 5_000, "split_seed": 4, "fingerprint": "abc123"}


def test_a_report_says_what_was_trained_on_what_and_what_came_of_it(fake_run: FakeRun) -> None:
    record = {"data": DATA, "diagnosis": DIAGNOSIS, "git_commit": "deadbeef"}
    folder = fake_run("runs/one", record, "optimizer.lr=0.1", "data=mnist")
    add_plots(folder, "curves.png", "confusion.png", "mistakes.svg", "weights.png", "sample.png")
    page = report_on(folder)
    for text in (
        "90.00 % test accuracy",
        "95 % interval 82.60 to 94.50 %; test loss 0.4000 (cross_entropy, mean)",
        "Of 100 test images it classifies 90 correctly: about 1 image in 10 is wrong.",
        "the accuracy is between 82.60 and 94.50 %, with 95 % confidence: 100 images can't tell it more exactly.",
        "55,000 training, 5,000 validation, 100 test",
        "data.split_seed 4",
        "abc123",
        "mlp 784-8-10, relu on mnist",
        "6,370",
        "3 of 3; epoch 2 is kept",
        "All epochs are done.",
        "Too short.",
        "To try next: training.epochs=9",
        "torch 2.11.0",
        "deadbeef",
    ):
        assert text in page.all
    changed, whole, repeat = page.commands
    assert changed.splitlines()[-3:] == ["  lr: 0.1", "training:", "  epochs: 3"]
    assert (
        load_config(str(folder / "config.yaml"))
        == load_config(_yaml(folder, changed))
        == load_config(_yaml(folder, whole))
    )
    assert [picture.split(" ")[0] for picture in page.pictures] == ["Curves", "Confusion", "The", "Weights"]
    config, again = folder / "config.yaml", folder.with_name("one-again")
    assert repeat == f"mnist-train --config {config} threads=1 --run-dir {again}\nmnist-eval {again}"


def _yaml(folder: Path, text: str) -> str:
    (folder / "written.yaml").write_text(text)
    return str(folder / "written.yaml")


def test_a_finished_run_without_plots_says_what_is_missing_and_draws_its_curves(fake_run: FakeRun) -> None:
    folder = fake_run("runs/one")
    add_plots(folder, "confusion.pdf")
    (folder / "plots" / "mistakes.png").write_text("no picture")
    page = report_on(folder)
    assert page.pictures == ["Curves of loss, accuracy and learning rate over 3 epochs of small"]
    assert "Not in the run's folder: confusion.png and mistakes.png." in page.all
    assert f"mnist-eval {folder} --split test --out report" in page.commands


def test_without_a_test_the_result_is_that_of_validation(fake_run: FakeRun) -> None:
    page = report_on(fake_run("runs/one", {"test": None}, "report.test=false"))
    assert "95.00 % validation accuracy 95 % interval 88.00 to 98.00 %" in page.all
    assert (
        "Epoch and settings are chosen by validation images, so this may be a little too high: it is no test."
        in page.all
    )
    assert "test accuracy" not in page.all
    assert "Where it is wrong (validation images)" in page.all


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (1.0, "100 correctly: none is wrong."),
        (0.99, "about 1 image in 100 is wrong."),
        (0.2, "20 correctly: 80 are wrong."),
    ],
)
def test_the_rate_of_mistakes_in_words(fake_run: FakeRun, accuracy: float, words: str) -> None:
    test = {"accuracy": accuracy, "count": 100, "interval": [0.1, 1.0]}
    assert words in report_on(fake_run("runs/one", {"test": test})).all


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            "running",
            "This training is still running; 3 of 9 epochs are complete. The figures are those of the epoch",
        ),
        ("interrupted", "This training was interrupted before its end; 3 of 9 epochs are complete."),
        ("failed", "This training failed with an error (DivergedError); 3 of 9 epochs are complete."),
    ],
)
def test_a_run_that_is_not_finished_says_so(fake_run: FakeRun, status: str, words: str) -> None:
    record = {"status": status, "stop_reason": "DivergedError", "test": None, "validation": None, "finished_at": None}
    folder = fake_run("runs/one", {**record, "epochs": 0}, "training.epochs=9")
    add_plots(folder, "curves.png", "confusion.png", "mistakes.png")  # of an earlier session, with fewer epochs
    page = report_on(folder)
    assert words in page.all
    assert "95.00 % validation accuracy" in page.all
    assert len(page.pictures) == 1
    assert base64.b64encode(PIXEL).decode() not in report_html([read_run(folder)])


def test_a_run_before_its_first_epoch_has_no_figures(fake_run: FakeRun) -> None:
    record = {"status": "running", "test": None, "validation": None, "epochs": 0, "best_epoch": None}
    page = report_on(fake_run("runs/one", record, metrics=None))
    assert "0 of 3 epochs are complete. There is no accuracy" in page.all
    assert "There are no curves: no epoch is complete." in page.all
    assert page.pictures == []


def test_losses_without_probabilities_and_without_validation(fake_run: FakeRun) -> None:
    test = {"accuracy": 0.5, "count": 100, "loss": 0.3, "interval": [0.4, 0.6]}
    rows = "epoch,phase,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second\n"
    rows += "1,train,1.5,0.5,,,0.001,2.0,100.0\n"
    record = {
        "test": test,
        "validation": None,
        "best_epoch": 1,
        "data": {**DATA, "name": "usps", "validation_count": 0},
    }
    overrides = ("loss=mse", "data=usps", "data.validation=0")
    page = report_on(fake_run("runs/one", record, *overrides, metrics=rows))
    assert "test loss 0.3000 (mse, mean)" in page.all
    assert "on usps" in page.all
    assert "55,000 training, 0 validation, 100 test" in page.all


def test_sessions_are_listed_if_a_training_was_resumed(fake_run: FakeRun) -> None:
    folder = fake_run("runs/one", {"sessions": [SESSION, {**SESSION, **LAST}]})
    page = report_on(folder)
    assert "The training ran in 2 sessions: it was resumed once." in page.all
    assert "0 to ? killed" in page.all
    assert "0 to 3 finished" in page.all
    assert "sessions: it" not in report_on(fake_run("runs/two", {"sessions": [{**SESSION, **LAST}]})).all


def test_own_parts_are_named_because_no_command_repeats_them(fake_run: FakeRun) -> None:
    page = report_on(fake_run("runs/one", {"custom": {"loss": "my_loss"}}))
    assert "loss: my_loss" in page.all
    assert "This training has parts of its own, written in Python" in page.all


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\" ' &amp; \x1b]0;\u202e"


def test_hostile_names_are_text(fake_run: FakeRun) -> None:
    findings = [{"rule": HOSTILE, "text": HOSTILE}]
    record = {
        **dict.fromkeys(("name", "model", "device", "device_name", "platform", "git_commit", "stop_reason"), HOSTILE),
        **{
            "status": "failed",
            "data": {**DATA, "name": HOSTILE, "fingerprint": HOSTILE},
            "versions": {HOSTILE: HOSTILE},
        },
        **{"custom": {HOSTILE: HOSTILE, "loss": HOSTILE}, "sessions": [{**SESSION, "status": HOSTILE}] * 2},
        "diagnosis": {"healthy": False, "findings": findings, "suggestion": HOSTILE},
    }
    folder = fake_run('runs/<b onclick="a">', record)
    page = report_on(folder)  # fails at an element or an attribute that a report does not have
    assert page.all.count("<script>alert(1)</script>") > 15
    assert "\x1b" not in page.all
    both = report_on(folder, fake_run("runs/two", {"test": None}))
    assert "A: <script>" in both.all


def test_damaged_folders_are_named_not_raised(fake_run: FakeRun, tmp_path: Path) -> None:
    for place, record in (("none", None), ("types", {"data": 3, "test": [], "sessions": {}, "diagnosis": "a"})):
        page = report_on(fake_run(f"runs/{place}", record))
        assert "This folder is damaged: " in page.all
    (tmp_path / "empty").mkdir()
    page = report_on(tmp_path / "empty")
    assert "empty folder" in page.all
    assert "The config is not known." in page.all


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two small trainings on the bundled digits, in `runs/`."""
    monkeypatch.chdir(tmp_path)
    config = {
        "threads": 1,
        "data": {"name": "digits", "limit": 20, "batch_size": 32, "validation": 40},
        "training": {"epochs": 2},
        "report": {"plots": False, "gallery": False},
    }
    models = ({"architecture": "mlp", "hidden": [8]}, {"architecture": "mlp", "hidden": [16]})
    first, second = (
        train({**config, "name": name, "model": model}, run_dir=Path("runs") / name).folder
        for name, model in zip(("eight", "sixteen"), models, strict=True)
    )
    return first, second


def test_several_runs_are_compared_image_by_image(pair: tuple[Path, Path], fake_run: FakeRun) -> None:
    from mnist_trainer.pipeline.evaluate import compare

    other = fake_run("runs/other", {"name": "other"}, "data=mnist")
    page = report_on(*pair, other)
    found = compare(*pair).comparison
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    assert f"B: sixteen {found.only_second} {found.only_first} {p} " in page.all
    assert "Validation loss and accuracy over the epochs of 3 runs" in page.pictures
    assert "model.hidden [8] [16] [8]" in page.all
    assert "C can't be compared" not in page.all  # it has another data set
    assert [text for text in page.all.split("What was trained on what")[1:] if text] != []


def test_what_keeps_runs_from_being_compared_is_told(pair: tuple[Path, Path]) -> None:
    (pair[1] / "best.pt").write_bytes(b"damaged")
    page = report_on(*pair)
    assert "B: sixteen can't be compared with A. runs/sixteen/best.pt" in page.all
    record = json.loads((pair[0] / "run.json").read_text())
    (pair[0] / "run.json").write_text(json.dumps({**record, "test": None}))
    assert "This needs two single runs with a test result on the same data." in report_on(*pair).all


def test_of_many_comparisons_some_are_significant_by_chance(fake_run: FakeRun) -> None:
    """Of four runs on three data sets only two are compared with each other."""
    tasks = ["mnist", "mnist", "kmnist", "usps"]
    runs = [fake_run(f"runs/{n}", {"data": {"name": name}}, f"data={name}") for n, name in enumerate(tasks)]
    assert "Of 20 " not in report_on(*runs).all
    assert (
        "Of 20 tests of equally good models, one is significant by chance on average." in report_on(*[runs[0]] * 4).all
    )


def test_the_commands_in_a_report_on_the_current_folder(fake_run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_run("runs/one")
    monkeypatch.chdir(folder)
    config, again = folder / "config.yaml", folder.with_name("one-again")
    expected = f"mnist-train --config {config} threads=1 --run-dir {again}\nmnist-eval {again}"
    assert report_on(Path()).commands[-1] == expected


@pytest.mark.parametrize(("seeds", "option"), [([0, 1, 2], "3"), ([0], "1"), ([5], "5,"), ([3, 5], "3,5")])
def test_the_seeds_of_a_series_in_a_command(fake_run: FakeRun, seeds: list[int], option: str) -> None:
    page = report_on(fake_run("runs/series", {"kind": "seeds", "seeds": seeds}, metrics=None))
    assert f" --seeds {option} " in page.commands[-1]


def test_equal_configs_are_told_to_be_equal(fake_run: FakeRun) -> None:
    page = report_on(fake_run("runs/one", {"test": None}), fake_run("runs/two", {"test": None}))
    assert "Neither the configs nor the versions and devices differ." in page.all


def test_the_command_in_a_report_repeats_the_training_bit_by_bit(pair: tuple[Path, Path]) -> None:
    train_again, evaluate = report_on(pair[0]).commands[-1].splitlines()
    words = shlex.split(train_again)
    assert (words[0], evaluate) == ("mnist-train", "mnist-eval runs/eight-again")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="0"):
        patch.setattr("sys.argv", words)
        run_app("train")
    rows = [read_metrics(folder / "metrics.csv", []) for folder in (pair[0], Path("runs/eight-again"))]
    timeless = [[{k: v for k, v in row.items() if "second" not in k} for row in each] for each in rows]
    assert timeless[0] == timeless[1] != []


def test_a_series_has_the_mean_over_its_seeds_and_their_table(tmp_path: Path) -> None:
    from mnist_trainer.studies.seed_series import train_seeds

    config: dict[str, Any] = {
        "threads": 1,
        "data": {"name": "digits", "limit": 10, "validation": 20},
        "model": {"architecture": "mlp", "hidden": [4]},
        "training": {"epochs": 1},
        "report": {"gallery": False, "plots": False},
    }
    folder = train_seeds(config, [3, 5], run_dir=tmp_path / "series").folder
    page = report_on(folder)
    assert "It is the mean over the runs of the series, which differ only in their seed." in page.all
    assert "Seeds 3, 5" in page.all
    assert "seed-3 mlp 784-4-10, relu on digits 3 1 1 " in page.all
    assert page.pictures == ["Curves of loss, accuracy and learning rate over 0 epochs of run"]
    assert "--seeds 3,5" in page.commands[-1]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings on the bundled digits with all plots."""
    folder = tmp_path_factory.mktemp("real")
    config = {"threads": 1, "data": {"name": "digits", "validation": 100}, "training": {"epochs": 2}}
    model = {"architecture": "mlp", "hidden": [32]}
    plots = ({"format": "png"}, {"format": "svg"})
    return [train({**config, "model": model, "report": each}, run_dir=folder / each["format"]).folder for each in plots]


@pytest.mark.slow
def test_a_real_run_has_all_its_plots(real: list[Path]) -> None:
    for folder in real:
        page = report_on(folder)
        assert len(page.pictures) == 4
        assert "Not in the run's folder" not in page.all


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_fault(
    real: list[Path],
    tmp_path: Path,
    theme: str,
    browser: Any,
    accessibility_faults: Callable[[Any], list[str]] | None,
) -> None:
    if accessibility_faults is None:
        pytest.skip("needs axe-core: npm pack axe-core, and its axe.min.js in AXE_CORE")
    (tmp_path / "two.html").write_text(report_html([read_run(folder) for folder in real]))
    page = browser.new_page(color_scheme=theme)
    page.goto((tmp_path / "two.html").as_uri())
    assert accessibility_faults(page) == []
    page.close()
