"""The console scripts end at once, and yet completely."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mnist_trainer.cli.start import SPINS


def script(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys\nfrom mnist_trainer.cli import start\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "runs", "sweep"])
def test_each_has_its_command(name: str) -> None:
    done = script(f"sys.argv[0] = 'mnist'\nstart.{name}()", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mnist-trainer")


def test_the_exit_code_is_the_commands() -> None:
    done = script("start.train()", "--config", "nothing.yaml")
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr


def test_what_is_to_be_done_at_the_end_is_done_and_nothing_is_taken_down() -> None:
    code = (
        "import atexit\n"
        "class Slow:\n"
        "    def __del__(self): print('taken down')\n"
        "kept = Slow()\n"
        "atexit.register(print, 'at exit')\n"
        "start.train()\n"
    )
    done = script(code, "--version")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "at exit"


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_sleep_soon_unless_the_user_has_said_how_they_wait(
    theirs: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    done = script(
        "import atexit, os\natexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT')))\nstart.runs()", "--help"
    )
    assert done.stdout.splitlines()[-1] == expected
