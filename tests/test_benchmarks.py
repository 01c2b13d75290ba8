"""`benchmarks/speed.py` and `serve_load.py` run in their tiny form, and measure what they say."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SPEED = BENCHMARKS / "speed.py"


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed

    return speed


@pytest.mark.benchmarks
def test_every_row_works(tmp_path: Path) -> None:
    before = set((BENCHMARKS / "figures").iterdir())
    done = subprocess.run(
        [sys.executable, str(SPEED), "--tiny"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for told in ("### An epoch of", "### The time before", "| mnist-train --help |", "| mnist-predict, one file |"):
        assert told in done.stdout
    assert set((BENCHMARKS / "figures").iterdir()) == before  # figures of the tiny form say nothing


@pytest.mark.benchmarks
def test_a_server_under_load_answers_rightly(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "serve_load.py"), "--tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("| 6 | 6 | ")


def test_unknown_rows_are_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SPEED), "lectur"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no row lectur" in done.stderr


def test_modules_stay_compiled_as_where_a_package_is_installed(speed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert speed.spend(speed.python("import sys; print(sys.dont_write_bytecode)"))[1] == "False\n"


def test_our_commands_are_those_of_the_console_scripts(speed: Any) -> None:
    scripts = tomllib.loads((BENCHMARKS.parent / "pyproject.toml").read_text())["project"]["scripts"]
    for target in scripts.values():
        assert speed.spend(speed.ours(target.rpartition(":")[2], "--help"))[1].startswith("Usage: ")


def test_memory_and_time_are_the_commands_own(speed: Any) -> None:
    spent, _ = speed.spend(speed.python("held = b' ' * 300_000_000; import time; time.sleep(0.2)"))
    assert spent.peak_mb > 300 and spent.seconds > 0.2


def test_a_command_that_fails_is_no_measurement(speed: Any) -> None:
    with pytest.raises(RuntimeError, match="ended with code 3"):
        speed.spend(speed.python("raise SystemExit(3)"))


def test_rounds_alternate(speed: Any) -> None:
    done: list[tuple[str, int]] = []
    runs = {name: lambda number, name=name: done.append((name, number)) for name in "AB"}
    speed.alternate(runs, 2)
    assert done == [("A", 0), ("B", 0), ("A", 0), ("B", 0), ("A", 1), ("B", 1)]


def test_the_table_has_medians_and_ratios(speed: Any) -> None:
    ours = [speed.Measurement(seconds, 1.0, 10.0, 0.5, 0.99) for seconds in (1.0, 2.0, 9.0)]
    theirs = [speed.Measurement(seconds, 2.0, 20.0) for seconds in (8.0, 4.0, 6.0)]
    lines = list(speed.table({"ours": ours, "theirs": theirs}))
    assert lines[2] == "| ours | 2.00 (1.00 to 9.00) | 1.00 | 10 | 1.00 | 0.50 | 99.00 % |"
    assert lines[3] == "| theirs | 6.00 (4.00 to 8.00) | 2.00 | 20 | 3.00 |  |  |"
