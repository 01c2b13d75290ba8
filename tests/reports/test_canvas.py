"""A drawing is the same whatever the user's settings of matplotlib are, and leaves them as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_trainer.reports.curves import TrainingSummary, curves

DRAW = """
import sys
from pathlib import Path
from mnist_trainer.reports.curves import TrainingSummary, curves
Path("drawn.png").write_bytes(curves([{"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "lr": 0.1}], TrainingSummary(1),
"title"))
"""
HERE = curves([{"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "lr": 0.1}], TrainingSummary(1), "title")
ODD = "backend: nonsense\ntext.usetex: true\nfont.family: No Such Font\nlines.linewidth: 20\nfigure.facecolor: red\n"


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "MATPLOTLIBRC")}
    command, environment = [sys.executable, "-c", code], environment | variables
    return subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "svg"},
        {"MATPLOTLIBRC": "odd"},
    ],
)
def test_settings_of_the_user_change_no_byte(variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "odd").write_text(ODD)
    done = run(DRAW, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drawn.png").read_bytes() == HERE


@pytest.mark.parametrize("variables", [{"MPLBACKEND": "no backend"}, {"MATPLOTLIBRC": "matplotlibrc"}, {}])
def test_settings_that_stop_matplotlib_are_an_error_before_the_training(
    variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"# gr\xfcn")
    done = run("from mnist_trainer.reports.canvas import check_matplotlib; check_matplotlib()", tmp_path, **variables)
    assert "UsageError: matplotlib can't be loaded with your settings: " in done.stderr


def test_what_a_program_has_set_is_neither_used_nor_changed(tmp_path: Path) -> None:
    code = f"""
import matplotlib, os
matplotlib.use("svg")
matplotlib.rcParams.update({{"lines.linewidth": 20, "text.usetex": True}})
before, environment = matplotlib.rcParams.copy(), dict(os.environ)
{DRAW}
assert (dict(matplotlib.rcParams), dict(os.environ)) == (dict(before), environment)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "drawn.png").read_bytes() == HERE


def test_a_notebook_has_its_settings_afterwards(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 20\n")
    code = f"{DRAW}\nimport matplotlib, os\nprint(matplotlib.rcParams['lines.linewidth'], matplotlib.get_backend())\n"
    done = run(f"{code}\nprint(os.environ['MPLBACKEND'], 'MATPLOTLIBRC' in os.environ)", tmp_path, MPLBACKEND="svg")
    assert done.stdout.split() == ["20.0", "svg", "svg", "False"]
    assert (tmp_path / "drawn.png").read_bytes() == HERE


def test_without_a_backend_pyplot_chooses_one_as_before(tmp_path: Path) -> None:
    asked = "'matplotlib.pyplot' in sys.modules, matplotlib.get_backend(auto_select=False)"
    assert run(f"{DRAW}\nimport matplotlib\nprint({asked})", tmp_path).stdout.split() == ["False", "None"]
