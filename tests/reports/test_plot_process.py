"""Plots are the same whichever process draws them, and are drawn whatever happens to that process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mnist_trainer.reports import canvas, plots
from mnist_trainer.reports.canvas import draw_in_background, plot_process

MATRIX = np.diag([5, 3])


def picture() -> bytes:
    return draw_in_background(plots.confusion, MATRIX, ["a", "b"], title="of two")()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "available_cores", lambda: 2)


def pids() -> set[int]:
    """The processes that draw: one after another is asked, one more than there are at most."""
    return {draw_in_background(os.getpid)() for _ in range(3)}  # type: ignore[arg-type, misc]


@pytest.mark.slow
def test_the_process_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    here = picture()
    with plot_process(True):
        monkeypatch.setattr(plots, "render", None)  # so that nothing can be drawn here
        begun = [draw_in_background(plots.confusion, MATRIX, ["a", "b"], title="of two") for _ in range(5)]
        assert [each() for each in reversed(begun)] == [here] * 5
        children = pids()
    assert len(children) == (2 if sys.platform == "linux" else 1)
    assert canvas._processes == []
    assert all(map(is_gone, children))


def test_without_a_process_it_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with plot_process(False):
        assert canvas._processes == []
    monkeypatch.setattr(canvas, "available_cores", lambda: 1)
    with plot_process(True):
        assert canvas._processes == []
        assert picture().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_process_that_was_killed_is_done_without() -> None:
    with plot_process(True):
        begun = draw_in_background(plots.confusion, MATRIX, ["a", "b"], title="of two")
        for process in pids():
            os.kill(process, signal.SIGKILL)
            assert begun() == picture() == picture()
    assert canvas._processes == []


@pytest.mark.slow
def test_an_error_is_raised_where_it_is_of_use() -> None:
    with plot_process(True):
        with pytest.raises(AttributeError, match="sum"):
            draw_in_background(plots.confusion, None, ["a"], "of nothing")()  # type: ignore[arg-type]
        assert picture().startswith(b"\x89PNG")  # it draws on


@pytest.mark.slow
def test_it_ends_with_its_parent() -> None:
    code = (
        "import os, signal\n"
        "from mnist_trainer.reports import canvas\n"
        "canvas.available_cores = lambda: 2\n"
        "with canvas.plot_process(True):\n"
        "    print(*(canvas.draw_in_background(os.getpid)() for _ in range(2)), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True).stdout
    assert all(is_gone(int(child)) for child in out.split())


def is_gone(process: int) -> bool:
    for _ in range(6000):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
