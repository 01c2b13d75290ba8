"""The console scripts end at once, and yet completely."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mnist_trainer.cli.start import MALLOC_OPTIONS, SPIN_COUNT


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


@pytest.mark.parametrize(
    ("arguments", "path"),
    [(["--config=~/no.yaml"], "no.yaml"), (["--config", "~/no.yaml"], "no.yaml"), (["--config=a~.yaml"], "a~.yaml")],
)
def test_a_path_may_begin_with_the_users_folder(
    arguments: list[str], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    expected = path if "a~" in path else str(tmp_path / path)
    assert script("start.train()", *arguments).stderr == f"{expected}  no such file\n"


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
    [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
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


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone")
def test_freed_memory_is_kept_for_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in MALLOC_OPTIONS:
        monkeypatch.delenv(variable, raising=False)
    code = """
        import atexit, os, resource, numpy
        def batch(): return [numpy.ones(2**20, numpy.uint8) for _ in range(8)]
        def faults():
            batch()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20): batch()
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        first = faults()
        atexit.register(lambda: print(first, faults()))
        start.train()
    """
    before, after = map(int, script(dedent(code), "--version").stdout.splitlines()[-1].split())
    assert after < before / 10


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone")
@pytest.mark.parametrize("name", ["train", "sweep"])
def test_other_processes_are_told_unless_the_user_has_said_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1234567")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    shown = "[os.environ.get(name) for name in ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_')]"
    done = script(f"import atexit, os\natexit.register(lambda: print({shown}))\nstart.{name}()", "--version")
    assert done.stdout.splitlines()[-1] == "['1234567', '33554432']"


def module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mnist_trainer", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["train", "eval", "predict", "runs", "sweep"])
def test_the_package_as_a_module_has_all_commands(name: str) -> None:
    done = module(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: mnist-{name} ")


def test_the_package_as_a_module_lists_its_commands() -> None:
    for arguments in ((), ("--help",)):
        done = module(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split()[3] for line in done.stdout.splitlines()[:5]] == [
            "train",
            "eval",
            "predict",
            "runs",
            "sweep",
        ]
    done = module("tran")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("There is no command tran.\n")
    assert module("--version").stdout.startswith("mnist-trainer ")
