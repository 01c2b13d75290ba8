from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_trainer.errors import UsageError
from mnist_trainer.storage.run_folder import latest_run
from mnist_trainer.studies.run_diff import compare, difference_table, find_summary
from mnist_trainer.studies.run_summary import RunSummary, read_run

FakeRun = Callable[..., Path]


@pytest.fixture
def first(fake_run: FakeRun) -> RunSummary:
    return read_run(fake_run("runs/first", {"name": "one"}))


@pytest.fixture
def second(fake_run: FakeRun) -> RunSummary:
    record = {"name": "two", "test": None, "threads": 2}
    return read_run(fake_run("runs/second", record, "model.hidden=[16, 8]", "optimizer=sgd", "loss=mse"))


def test_two_runs_side_by_side(first: RunSummary, second: RunSummary) -> None:
    lines, notes = difference_table(compare(first, second))
    assert lines == [
        "                            first             second",
        "config",
        "  model.hidden              [8]               [16, 8]",
        "  loss.name                 cross_entropy     mse",
        "  loss.label_smoothing      0.0               -",
        "  optimizer.name            adam              sgd",
        "  optimizer.lr              0.001             0.01",
        "  optimizer.betas           [0.9, 0.999]      -",
        "  optimizer.eps             1e-08             -",
        "  optimizer.momentum        -                 0.0",
        "  optimizer.nesterov        -                 false",
        "made with",
        "  threads                   1                 2",
        "results",
        "  status                    finished          finished",
        "  stop_reason               epochs            epochs",
        "  epochs                    3                 3",
        "  best_epoch                2                 2",
        "  val_loss (another loss)   0.2500            0.2500",
        "  val_accuracy              95.00 %           95.00 %",
        "  test_loss (another loss)  0.4000            -",
        "  test_accuracy             90.00 %           -",
        "  test_interval             82.60 to 94.50 %  -",
        "  seconds                   12.5              12.5",
        "  parameters                6,370             6,370",
    ]
    assert notes == ["The losses can't be compared: cross_entropy, mean and mse, mean."]


def test_equal_configs_say_so(first: RunSummary) -> None:
    lines, notes = difference_table(compare(first, first))
    assert lines[1].split() == ["config", "the", "same", "the", "same"]
    assert not any("another" in line for line in lines)
    assert "made with" not in lines
    assert notes == []


def test_a_yes_no_model_is_not_compared_without_a_mark(first: RunSummary, fake_run: FakeRun) -> None:
    found = compare(first, read_run(fake_run("runs/third", {}, "data.binary=7", "loss=bce")))
    assert not found.to_json()["losses_comparable"]
    lines, notes = difference_table(found)
    assert sum("accuracy (another task)" in line for line in lines) == 2
    assert notes[0] == "Neither accuracies nor losses can be compared: digits and digits, 7 or not."


def test_an_unknown_config_is_no_difference(first: RunSummary, fake_run: FakeRun) -> None:
    path = fake_run("runs/third")
    (path / "config.yaml").unlink()
    found = compare(first, read_run(path))
    assert found.config is None
    assert not found.to_json()["losses_comparable"]
    lines, notes = difference_table(found)
    assert lines[1].split() == ["config", "known", "unknown"]
    assert notes == ["The losses can't be compared: cross_entropy, mean and unknown.", "third: no config.yaml"]
    assert json.loads(json.dumps(found.to_json()))["config"] is None


def test_columns_are_cut_for_a_narrow_terminal(first: RunSummary, second: RunSummary) -> None:
    lines, _ = difference_table(compare(first, second), 56)
    assert max(map(len, lines)) <= 56
    assert lines[-3].startswith("  test_interval             82.60 to 94.5")


def test_results_that_neither_has_are_left_out() -> None:
    bare = [RunSummary(Path(name), name, status=status) for name, status in (("a", "running"), ("b", "failed"))]
    found = compare(bare[0], bare[1])
    assert [key for key, *_ in found.results] == ["status"]


def test_json_has_pairs(first: RunSummary, second: RunSummary) -> None:
    found = json.loads(json.dumps(compare(first, second).to_json()))
    assert found["runs"] == [str(first.path), str(second.path)]
    assert found["config"]["model.hidden"] == [[8], [16, 8]]
    assert found["made_with"] == {"threads": [1, 2]}
    assert found["results"]["test_accuracy"] == [0.9, None]
    assert found["losses_comparable"] is False


def test_a_run_is_found_by_its_path_its_folder_or_its_name(first: RunSummary, second: RunSummary) -> None:
    place = first.path.parent
    for wanted in (str(first.path), "first", "one"):
        assert find_summary(wanted, place) == first


def test_latest_is_the_run_that_ended_last(first: RunSummary, second: RunSummary) -> None:
    for run in (first, second):
        (run.path / "best.pt").touch()
    place = first.path.parent
    assert find_summary("latest", place).path == latest_run(place).path


@pytest.mark.parametrize("wanted", ["three", "", "on", "x" * 5000])
def test_a_run_that_is_not_there_is_told(first: RunSummary, wanted: str) -> None:
    with pytest.raises(UsageError, match=r"There is no run .*: neither a folder"):
        find_summary(wanted, first.path.parent)


def test_a_name_that_several_runs_have_is_told(first: RunSummary, fake_run: FakeRun) -> None:
    fake_run("runs/again", {"name": "one"})
    with pytest.raises(UsageError, match="has 2 runs of the name one; name a folder: again, first"):
        find_summary("one", first.path.parent)
