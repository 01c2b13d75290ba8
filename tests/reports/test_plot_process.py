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
    monkeypatch.setattr(canvas, "_cores", lambda: 2)


def pid() -> int:
    (pool,) = canvas._pools
    return pool.submit(os.getpid).result()


@pytest.mark.slow
def test_the_process_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    here = picture()
    with plot_process(True):
        monkeypatch.setattr(plots, "render", None)  # so that nothing can be drawn here
        begun = [draw_in_background(plots.confusion, MATRIX, ["a", "b"], title="of two") for _ in range(5)]
        assert [each() for each in reversed(begun)] == [here] * 5
        child = pid()
    assert canvas._pools == []
    assert is_gone(child)


def test_without_a_process_it_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with plot_process(False):
        assert canvas._pools == []
    monkeypatch.setattr(canvas, "_cores", lambda: 1)
    with plot_process(True):
        assert canvas._pools == []
        assert picture().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_process_that_was_killed_is_done_without() -> None:
    with plot_process(True):
        begun = draw_in_background(plots.confusion, MATRIX, ["a", "b"], title="of two")
        os.kill(pid(), signal.SIGKILL)
        assert begun() == picture()
    assert canvas._pools == []


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
        "canvas._cores = lambda: 2\n"
        "with canvas.plot_process(True):\n"
        "    print(canvas._pools[0].submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True).stdout
    assert is_gone(int(out))


def is_gone(process: int) -> bool:
    for _ in range(6000):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
