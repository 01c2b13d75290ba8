"""Pictures are the same whoever draws them, and are drawn whatever becomes of the process beside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mnist_trainer.reports import painting, plots
from mnist_trainer.reports.painting import paint, painter_beside

MATRIX = np.diag([5, 3])


def picture() -> bytes:
    return paint(plots.confusion, MATRIX, ["a", "b"], title="of two")()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "_cores", lambda: 2)


def present() -> subprocess.Popen[bytes]:
    (painters,) = painting._painters
    return painters.process


def test_the_process_beside_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    here = picture()
    with painter_beside(True):
        process = present()
        monkeypatch.setattr(plots, "render", None)  # so that nothing can be drawn here
        begun = [paint(plots.confusion, MATRIX, ["a", "b"], title="of two") for _ in range(5)]
        assert [each() for each in reversed(begun)] == [here] * 5
    assert process.returncode == 0
    assert painting._painters == []


def test_without_a_process_it_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with painter_beside(False):
        assert painting._painters == []
    monkeypatch.setattr(painting, "_cores", lambda: 1)
    with painter_beside(True):
        assert painting._painters == []
        assert picture().startswith(b"\x89PNG")


def test_a_process_that_was_ended_is_done_without() -> None:
    with painter_beside(True):
        present().kill()
        present().wait()
        assert picture() == picture()
    assert painting._painters == []


@pytest.mark.skipif(not painting.FORKS, reason="one process draws")
def test_a_second_process_is_made_and_done_without_where_it_was_ended() -> None:
    with painter_beside(True):
        first = picture()  # both are there now
        children = Path(f"/proc/{present().pid}/task/{present().pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        assert [picture() for _ in range(4)] == [first] * 4
    assert is_gone(int(children[0]))


def test_a_mistake_is_raised_where_it_is_of_use() -> None:
    with painter_beside(True):
        with pytest.raises(AttributeError, match="sum"):
            paint(plots.confusion, None, ["a"], "of nothing")()  # type: ignore[arg-type]
        assert picture().startswith(b"\x89PNG")  # it draws on


@pytest.mark.slow
def test_it_ends_with_its_parent_and_waits_for_nobody() -> None:
    code = (
        "import os, signal\n"
        "from mnist_trainer.reports import painting\n"
        "painting._cores = lambda: 2\n"
        "with painting.painter_beside(True):\n"
        "    print(painting._painters[0].process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    out, _ = parent.communicate(timeout=600)  # its stdout is the child's no more: this would wait for ever
    assert is_gone(int(out))


def is_gone(process: int) -> bool:
    for _ in range(6000):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
