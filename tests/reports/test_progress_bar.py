"""The progress bar of the console, and what `progress_text` writes behind it."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console as RichConsole

from mnist_trainer.reports import console as module
from mnist_trainer.reports.console import Console, duration_text, progress_text
from mnist_trainer.training.state import TrainingState


class Totals:
    """Sums of an epoch; counts how often they are read, which waits for an accelerator."""

    images = 12_800

    def __init__(self) -> None:
        self.read = 0

    def averages(self) -> tuple[float, float, dict[str, float]]:
        self.read += 1
        return 0.08766, 0.97, {}


def state(epoch: int = 0, seconds: float = 0.0, max_minutes: float | None = None) -> TrainingState:
    """100 of 400 steps of an epoch were done in 2 s; 10 epochs are asked for."""
    training = SimpleNamespace(epochs=10, max_minutes=max_minutes)
    setup = SimpleNamespace(config=SimpleNamespace(training=training), steps_per_epoch=400)
    content = {"setup": setup, "step": 100, "epoch": epoch, "epoch_seconds": 2.0, "seconds": seconds}
    return cast(TrainingState, SimpleNamespace(**content, totals=Totals()))


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (state(), "epoch 0:06, run 1:18 left"),
        (state(epoch=5, seconds=50), "epoch 0:06, run 0:46 left"),  # epochs take 10 s with their validation
        (state(epoch=9, seconds=90), "epoch 0:06, run 0:06 left"),
        (state(max_minutes=1), "epoch 0:06, run 0:58 left"),
        (state(max_minutes=0.05), "epoch 0:01, run 0:01 left"),
    ],
)
def test_the_pace_has_loss_speed_and_time_left(given: TrainingState, left: str) -> None:
    assert progress_text(given) == f"loss 0.0877  6,400 img/s  {left}"


def test_a_clock_has_hours_where_there_are_any() -> None:
    assert [duration_text(seconds) for seconds in (0.4, 65, 3599, 3723)] == ["0:00", "1:05", "59:59", "1:02:03"]


def test_the_totals_are_read_only_when_the_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.05, 1.09, 1.2])
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    console, given = Console(terminal=True), state()
    console.on_fit_start(given)
    for step in range(1, 5):
        console.on_step_end(1, step, 400)
    console.close()
    assert cast(Any, given.totals).read == 2


@pytest.mark.parametrize(("columns", "width"), [(80, 7), (120, 40), (60, 14)])
def test_the_bar_takes_the_room_that_the_line_has(columns: int, width: int) -> None:
    console = Console(terminal=True)
    console.rich = RichConsole(file=io.StringIO(), force_terminal=True, width=columns, height=20)
    console.show_bar("epoch 12/12", 215, 430, f"215/430  {progress_text(state())}")
    console.close()
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", cast(io.StringIO, console.rich.file).getvalue())
    lines = [line for line in re.split(r"[\r\n]", written) if line.strip()]
    assert all(line.startswith("epoch 12/12 ") and len(line) <= columns for line in lines)
    assert {len(re.findall("[━╸╺]", line)) for line in lines} == {width}
    assert lines[0].rstrip().endswith("left" if columns > 60 else "6,400 img/s")


def test_a_notebook_without_widgets_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    console = Console(terminal=True)
    console.rich = RichConsole(file=io.StringIO(), force_jupyter=True)
    console.show_bar("epoch 1/2", 1, 2, "1/2")
    assert console.bar is None
