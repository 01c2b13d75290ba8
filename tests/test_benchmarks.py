"""Every script in benchmarks/speed runs, in its tiny form and without the peers, so that it cannot rot."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from math import isnan
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RUN = BENCHMARKS / "run"


@pytest.fixture(autouse=True)
def scripts_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def tiny(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(RUN), "--tiny", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.benchmarks
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ("start", "lecture_epoch", "lecture_process", "fast", "large_mlp", "gpu"),
            (
                "| mnist-train --help |",
                "### An epoch of the lecture's network",
                "### The lecture's training, whole process",
                "### 99 % as fast as can be",
                "`precision: auto` took float32",
                "| share of the speed of products in bfloat16 ≥ 45 % |",
                "### One GPU: 99 %",
            ),
        ),
        (
            ("reading", "memory", "growth"),
            (
                "| mnist-predict, one file |",
                "| mnist-eval, lecture's best.pt |",
                "| mnist-train --config lecture |",
                "| training images | epoch, s |",
                "| runs in the folder | mnist-runs, s |",
            ),
        ),
    ],
)
def test_scripts_work(rows: tuple[str, ...], told: tuple[str, ...], tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"

    output = tiny(*rows, "--results", str(results), cwd=tmp_path)

    assert all(line in output for line in told)
    assert not results.exists()  # figures of the tiny form say nothing


def test_unknown_rows_are_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "lectur"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "there is no row lectur" in done.stderr


SPEND = """
import json, sys
from dataclasses import asdict
from speed.processes import python, spend
print(json.dumps(asdict(spend(python(sys.argv[1]), watch=sys.argv[2] == "True"))))
"""


def spent(code: str, watch: bool = False) -> dict[str, Any]:
    """What a Python process that runs `code` takes, measured by a process that has no other children."""
    done = subprocess.run(
        [sys.executable, "-c", SPEND, code, str(watch)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_clock_waits_for_children() -> None:
    child = "import time; time.sleep(0.3)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    assert spent(parent)["seconds"] > 0.3


def test_modules_stay_compiled_as_where_a_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert spent("import sys; print(sys.dont_write_bytecode)")["output"] == "False\n"


def test_our_commands_are_those_of_the_console_scripts() -> None:
    from speed.processes import ours

    scripts = tomllib.loads((BENCHMARKS.parent / "pyproject.toml").read_text())["project"]["scripts"]
    for place in scripts.values():
        done = subprocess.run(ours(place.rpartition(":")[2], "--help"), capture_output=True, text=True, check=False)
        assert done.stdout.startswith("Usage: ")


def test_peak_memory_is_the_commands_own() -> None:
    assert 100 < spent("b' ' * 100_000_000")["peak_mb"] < 130


def test_memory_of_children_counts_together() -> None:
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    for seconds in (0.5, 5, 50):  # on a busy machine the samples may miss a moment
        child = f"import time; held = b' ' * 100_000_000; time.sleep({seconds})"
        parent = f"import subprocess, sys; held = b' ' * 100_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
        found = spent(parent, watch=True)
        if found["together_mb"] > 200:
            break
    assert found["peak_mb"] < 150
    assert found["together_mb"] > 200


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with code 3"):
        spent("raise SystemExit(3)")


def test_rounds_alternate() -> None:
    from speed.rounds import alternate

    done: list[tuple[str, int]] = []
    work = {name: lambda number, name=name: done.append((name, number)) for name in "AB"}

    alternate(work, 2)

    assert done == [("A", 0), ("B", 0), ("A", 0), ("B", 0), ("A", 1), ("B", 1)]


def test_goals_are_ratios_of_medians() -> None:
    from speed.rounds import Series
    from speed.rows import above, faster, within

    ours, theirs = Series("ours", (1.0, 2.0, 9.0)), Series("theirs", (8.0, 4.0, 6.0))

    assert faster(ours, theirs, 3).measured == 3
    assert faster(ours, theirs, 3).met
    assert not faster(ours, theirs, 3.1).met
    assert within(ours, theirs, 0.4).spread == (1 / 8, 9 / 6)
    assert not within(ours, theirs, 0.3).met
    assert above(theirs, ours, 4).met
    assert not above(theirs, ours, 3.9).met


def test_operations_of_a_network() -> None:
    from speed.large_mlp import count_operations

    # Forward 2·(2·3 + 3·4), the gradients of the weights as much, that of what goes into the second layer 2·3·4.
    assert count_operations((2, 3, 4)) == 36 + 36 + 24


def test_results_are_written_between_their_marks(tmp_path: Path) -> None:
    from speed.results import Occasion, keep, occasions, part_lines, write
    from speed.rounds import Series
    from speed.rows import Row, within
    from speed.tables import Point, Table

    machine = {
        "processor": "a CPU", "cores": 2, "units": [], "card": None, "system": "Linux", "python": "3.12", "torch": "2",
        "threads": 2, "peers": {}, "settings": {}, "load": [0.0],
    }  # fmt: skip
    results, kept = tmp_path / "RESULTS.md", tmp_path / "occasions"
    results.write_text("# Results\n\nbefore\n")
    for day, seconds in ((1, 3.0), (2, 1.0)):
        ours, theirs = Series("ours", (seconds,)), Series("theirs", (2.0,))
        rows = {
            "start": [Row("Start", "go", (ours, theirs), (within(ours, theirs, 1),))],
            "gpu": [Row("GPU", "go", open="none")],
        }
        table = Table("Runs", "runs", "list", [Point(1, 0.1, 0.1, 10), Point(10, 1.0, 1.0, 20)])
        keep(Occasion(f"2026-11-0{day} 12:00", machine, rows, [table]), kept)
        write(results, part_lines(occasions(kept)))

    text = results.read_text()

    assert text.startswith("# Results\n\nbefore\n")
    assert text.count("<!-- speed: begin") == 1
    assert "| Start | ours: ≤ 1 × theirs | 1.50, 0.50 × | not always |" in text
    assert "| GPU | | open: none | |" in text
    assert "| 10 | 1.00 | 1.00 | 1.00 | 20 |" in text


def test_a_row_without_peers_does_not_hide_what_was_measured_beside_them() -> None:
    from speed.results import Occasion, latest_rows
    from speed.rounds import Series
    from speed.rows import Row, within
    from speed.shown import shown_lines

    ours, theirs = Series("this trainer", (4.0,)), Series("theirs", (100.0,))
    beside = Occasion("2026-11-01 12:00", {}, {"fast": [Row("Fast", "go", (ours, theirs), (within(ours, theirs, 1),))]})
    alone = Occasion("2026-11-02 12:00", {}, {"fast": [Row("Fast", "go", (Series("this trainer", (3.0,)),))]})
    latest = latest_rows([beside, alone])
    assert latest["fast"][1] is beside
    lines = list(shown_lines({name: rows for name, (rows, _) in latest.items()}))
    assert lines[-1].endswith("| 4.00 s | theirs 100 s |")


def test_growth_is_drawn(tmp_path: Path) -> None:
    from PIL import Image
    from speed.tables import Point, Table, draw, exponent

    points = [Point(1, 0.1, 0.1, 10), Point(10, 1.0, 1.0, 20), Point(100, 100.0, 1.0, 20), Point(1000, -0.1, 1.0, 20)]

    draw([Table("Runs", "runs", "list", points)], tmp_path / "growth.png")

    assert exponent(points[1], points[2]) == pytest.approx(2)
    assert isnan(exponent(points[2], points[3]))  # a difference of times that drowned in noise
    with Image.open(tmp_path / "growth.png") as picture:
        assert len(picture.convert("L").getcolors() or ()) > 10
