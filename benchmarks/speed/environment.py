"""The peers' own environment: made once, in a folder outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements-peers.txt"
PROGRAMS = HERE / "peers"


def default_folder() -> Path:
    """Where the environment lies if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mnist-trainer-peers"


def make(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, which is made if it is not there; needs a package index.

    It finds torch and torchvision where this interpreter has them: both train with the same ones, and 5 GB need not be
    fetched again.
    """
    interpreter, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        asked = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        place = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        (Path(place) / "torch_of_the_trainer.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([str(interpreter), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)], check=True)
        done.touch()
    return interpreter


def program(interpreter: Path, name: str, *arguments: str) -> list[str]:
    """The command that runs one of the programs in `peers/`."""
    return [str(interpreter), str(PROGRAMS / f"{name}.py"), *arguments]


def plain_environment() -> dict[str, str]:
    """The peers' variables: nothing of the trainer's is on their path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
