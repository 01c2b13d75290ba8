"""`mnist-lab` and its experiments: statements are checked, files written, bad input is answered in one paragraph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mnist_trainer.cli.mnist_lab import app
from mnist_trainer.errors import UsageError
from mnist_trainer.lab import run
from mnist_trainer.lab.experiment import Experiment

LAB = Path(run.__file__).parent


def test_each_file_is_an_experiment_that_fits_on_two_pages() -> None:
    files = {path.stem.replace("_", "-"): path for path in LAB.glob("*.py")}
    assert set(files) - {"--init--", "run", "experiment"} == set(run.names())
    assert {name: lines for name, path in files.items() if (lines := len(path.read_text().splitlines())) > 120} == {}
    for name in run.names():
        text = files[name].read_text()
        assert "\nSource: notes " in text and "\nExercise: " in text, name


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "held"),
    [
        (5, 5, 0, True),
        (6, 5, 0, False),
        (0.5, 0.52, 0.03, True),
        (0.5, 0.54, 0.03, False),
        (1e-7, "<= 1e-6", 0, True),
        (1e-5, "<= 1e-6", 0, False),
        (float("nan"), "< 1", 0, False),
        (float("nan"), 1.0, 0.1, False),
        (torch.tensor([1, 2]), [1, 2], 0, True),
        (torch.tensor(2.0), "> 1", 0, True),
    ],
)
def test_a_statement_holds_or_not(measured: object, expected: object, tolerance: float, held: bool) -> None:
    experiment = Experiment("some")
    experiment.check("x is right", measured, expected, tolerance)
    assert experiment.held is held
    assert str(experiment).startswith("held  x is right" if held else "failed  x is right: measured ")
    json.dumps(experiment.statements[0].measured)


def test_files_and_lines_of_a_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["perceptron", "--run-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert "held  OR: 5 updates by the perceptron rule\n" in result.output
    assert (tmp_path / "perceptron/perceptron.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "perceptron/perceptron.json").read_text())
    assert record["held"] is True
    assert record["statements"][0] == {
        "statement": "input (1, 1) and all weights ½: output 1.5",
        "expected": "1.5",
        "measured": 1.5,
        "held": True,
    }


def test_a_statement_that_does_not_hold_ends_with_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["perceptron", "rate=0.1", "--run-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "failed  OR: 5 updates by the perceptron rule: measured 6, expected 5\n" in result.output
    assert json.loads((tmp_path / "perceptron/perceptron.json").read_text())["held"] is False


def test_the_list_names_every_experiment_with_its_phrase() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert all(f"  {name} " in result.output and run.phrase(name) in result.output for name in run.names())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["perceptrn"], "There is no experiment called perceptrn. Did you mean perceptron?"),
        (["perceptron", "rat=1"], "has no parameter called rat. Did you mean rate?"),
        (["perceptron", "rate=x"], "rate=x: Input should be a valid number"),
        (["all", "rate=1"], "Parameters belong to one experiment, not to all."),
        (["rate=1"], "No experiment is given."),
        (["perceptron", "perceptron"], "One experiment at a time"),
    ],
)
def test_bad_input_is_one_paragraph_and_writes_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--run-dir", str(tmp_path / "lab")])
    assert result.exit_code == 2
    assert message in result.output and "\n\n" not in result.output
    assert not (tmp_path / "lab").exists()


def test_the_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    run.run_experiment("perceptron", seeds=1)
    assert torch.rand(1) == expected


def test_a_parameter_may_be_a_number_or_a_text() -> None:
    assert not run.run_experiment("perceptron", rate=0.1, seeds=1).held
    with pytest.raises(UsageError, match="its default is"):
        run.run_experiment("perceptron", rate="fast")
