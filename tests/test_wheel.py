"""What `pip install .` installs: a wheel is built from a copy of the repository, without a network, and looked into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "configs", "mnist_trainer", "tests", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INFO = f"mnist_trainer-{PROJECT['version']}.dist-info"

pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the wheel."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in COPIED:  # by name, for a virtual environment may lie beside them
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name)
        else:
            shutil.copy(ROOT / name, copy / name)
    for stray in ("runs/one/best.pt", "mnist_trainer/__pycache__/errors.cpython-311.pyc", "mnist.egg-info/PKG-INFO"):
        (copy / stray).parent.mkdir(parents=True, exist_ok=True)
        (copy / stray).write_bytes(b"not for others")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (copy / "out").iterdir()
    assert path.name == f"mnist_trainer-{PROJECT['version']}-py3-none-any.whl"
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files_below(folder: str, pattern: str = "*") -> dict[str, bytes]:
    found = (path for path in (ROOT / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in found}


def test_the_whole_package_is_inside(wheel: dict[str, bytes]) -> None:
    expected = files_below("mnist_trainer")
    assert {name: wheel.get(name) for name in expected} == expected
    assert {"mnist_trainer/py.typed", "mnist_trainer/data/digits.csv.gz"} <= expected.keys()


def test_the_configs_are_data_of_the_package(wheel: dict[str, bytes]) -> None:
    expected = {f"mnist_trainer/{name}": content for name, content in files_below("configs").items()}
    inside = {name: content for name, content in wheel.items() if name.startswith("mnist_trainer/configs/")}
    assert inside == expected
    assert {"mnist_trainer/configs/quickstart.yaml", "mnist_trainer/configs/schema.json"} <= inside.keys()


def test_licences_are_inside(wheel: dict[str, bytes]) -> None:
    assert wheel[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert f"{INFO}/licenses/mnist_trainer/data/LICENSE-digits.md" in wheel
    assert "mnist_trainer/data/LICENSE-digits.md" in wheel


def test_nothing_else_is_inside(wheel: dict[str, bytes]) -> None:
    ours = files_below("mnist_trainer").keys() | {f"mnist_trainer/{name}" for name in files_below("configs")}
    others = {name for name in wheel if not name.startswith(f"{INFO}/")}
    assert others == ours


def test_eight_commands_are_installed(wheel: dict[str, bytes]) -> None:
    lines = wheel[f"{INFO}/entry_points.txt"].decode().split("\n")
    assert [line for line in lines if line] == [
        "[console_scripts]",
        "mnist-eval = mnist_trainer.cli.start:evaluate",
        "mnist-export = mnist_trainer.cli.start:export",
        "mnist-lab = mnist_trainer.cli.start:lab",
        "mnist-predict = mnist_trainer.cli.start:predict",
        "mnist-runs = mnist_trainer.cli.start:runs",
        "mnist-serve = mnist_trainer.cli.start:serve",
        "mnist-sweep = mnist_trainer.cli.start:sweep",
        "mnist-train = mnist_trainer.cli.start:train",
    ]


def test_the_metadata_are_the_projects(wheel: dict[str, bytes]) -> None:
    metadata = message_from_string(wheel[f"{INFO}/METADATA"].decode())
    assert (metadata["Name"], metadata["Version"]) == ("mnist-trainer", PROJECT["version"])
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("MIT", ">=3.11")
    needed = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    assert metadata.get_all("Provides-Extra") == sorted(PROJECT["optional-dependencies"])


def test_shipped_configs_are_found_anywhere_after_the_install(wheel: dict[str, bytes], tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "site-packages", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, content in wheel.items():
        (installed / name).parent.mkdir(parents=True, exist_ok=True)
        (installed / name).write_bytes(content)
    code = (
        "from mnist_trainer.config.load import load_config\n"
        "from mnist_trainer.config.shipped import shipped\n"
        "print(*[load_config(name).name for name in shipped()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
