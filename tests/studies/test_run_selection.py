from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_trainer.errors import UsageError
from mnist_trainer.studies.run_summary import RunSummary, read_runs
from mnist_trainer.studies.run_table import SORT_KEYS, filtered, order_notes, ordered, value_of


@pytest.fixture
def runs(fake_run: Callable[..., Path], tmp_path: Path) -> list[RunSummary]:
    """Three runs and an empty folder; the latest is last."""
    test = {"accuracy": 0.95, "loss": 0.1, "interval": [0.9, 0.97]}
    fake_run(
        "runs/c",
        {"name": "mlp-wide", "started_at": "2026-03-14T15:00:00Z"},
        "optimizer=sgd",
    )
    fake_run("runs/a", {"name": "mlp", "started_at": "2026-03-14T16:00:00Z", "test": test}, "threads=2", "loss=mse")
    fake_run("runs/b", {"name": "cnn", "status": "failed", "started_at": "2026-03-14T17:00:00Z", "test": None})
    (tmp_path / "runs" / "empty").mkdir()
    return read_runs(tmp_path / "runs")


def names(runs: list[RunSummary]) -> str:
    return " ".join(run.folder for run in runs)


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([], "empty c a b"),
        (["status=finished"], "c a"),
        (["status=damaged"], "empty"),
        (["name=mlp"], "a"),
        (["name=mlp*"], "c a"),
        (["name=mlp*", "status=finished", "loss=mse"], "a"),
        (["model=mlp"], "c a b"),
        (["model=ml"], ""),
        (["optimizer=sgd"], "c"),
        (["optimizer.name=adam"], "a b"),
        (["optimizer.lr=1e-3"], "a b"),
        (["optimizer.lr=0.0010"], "a b"),
        (["optimizer.momentum=0"], "c"),
        (["model.hidden=[8]"], "c a b"),
        (["model.hidden=[8"], ""),
        (["threads=null"], "empty c b"),
        (["seed=false"], ""),
        (["report.plots=true"], "c a b"),
        (["report.plots=1"], ""),
        (["best=2"], "c a b"),
        (["test_acc=0.95"], "a"),
        (["folder=?"], "c a b"),
    ],
)
def test_runs_that_fulfil_every_condition(runs: list[RunSummary], conditions: list[str], found: str) -> None:
    assert names(filtered(runs, conditions)) == found


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("adam", "--filter adam: write KEY=VALUE, as in optimizer.name=adam or status=finished."),
        ("=adam", "--filter =adam: write KEY=VALUE"),
        ("optimzer.lr=1", "optimzer.lr is neither a column nor a key of a config. Did you mean optimizer.lr?"),
        ("stat=1", "stat is neither a column nor a key of a config. Did you mean status?"),
        ("quux=1", "quux is neither a column nor a key of a config. A column is test_acc"),
        ("optimizer..lr=1", "optimizer..lr is neither"),
        (".=1", ". is neither"),
    ],
)
def test_a_condition_that_is_none_is_refused(runs: list[RunSummary], condition: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        filtered(runs, [condition])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "rising", "falling"),
    [
        (None, "empty c a b", "b a c empty"),
        ("time", "c a b empty", "b a c empty"),
        ("folder", "a b c empty", "empty c b a"),
        ("test_acc", "c a b empty", "a c b empty"),
        ("interval", "c a b empty", "a c b empty"),
        ("optimizer.lr", "a b c empty", "c a b empty"),
        ("optimizer", "a b c empty", "c a b empty"),
        ("threads", "a empty c b", "a empty c b"),
    ],
)
def test_unknown_values_are_last_in_either_order(
    runs: list[RunSummary], key: str | None, rising: str, falling: str
) -> None:
    assert (names(ordered(runs, key)), names(ordered(runs, key, reverse=True))) == (rising, falling)


def test_runs_without_a_test_are_ordered_by_validation() -> None:
    some = [RunSummary(Path(name), name, val_accuracy=value) for name, value in (("a", 0.9), ("b", 0.8), ("c", None))]
    tested = RunSummary(Path("d"), "d", val_accuracy=0.1, test_accuracy=0.1)
    assert names(ordered([*some, tested], "test_acc")) == "d b a c"
    assert names(ordered([*some, tested], "test_acc", reverse=True)) == "d a b c"


def test_numbers_come_before_text() -> None:
    summaries = [
        RunSummary(Path(str(value)), "a", config={"data": {"validation": value}}) for value in ("x", 0.1, 5000, 2)
    ]
    assert names(ordered(summaries, "data.validation")) == "0.1 2 5000 x"


def test_an_unknown_column_is_refused(runs: list[RunSummary]) -> None:
    with pytest.raises(UsageError, match=r"val_los is neither .* Did you mean val_loss\?"):
        ordered(runs, "val_los")


def test_every_column_can_be_sorted_by(runs: list[RunSummary]) -> None:
    for key in SORT_KEYS:
        assert len(ordered(runs, key)) == len(runs)
        assert value_of(runs[1], key) == getattr(runs[1], SORT_KEYS[key])


def test_losses_of_different_kinds_have_no_common_order(runs: list[RunSummary]) -> None:
    assert order_notes(runs, "val_loss")
    assert order_notes(runs, "test_loss")
    assert not order_notes(runs, "val_acc")
    assert not order_notes(runs, None)
    assert not order_notes([run for run in runs if run.folder != "a"], "val_loss")
