"""Describe the machine, the versions and the code of a run, for `run.json`."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

import torch

from mnist_trainer.config.shipped import package_version
from mnist_trainer.model.device import matmul_backend
from mnist_trainer.training.state import TrainingState


def git_commit() -> str | None:
    """Return the commit of the current folder's repository, with `+changes` if files differ from it, or None."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def describe_environment(state: TrainingState) -> dict[str, Any]:
    """Return versions, device and what every `auto` became."""
    setup = state.setup
    device = setup.device
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or None,
        "precision": setup.spec.precision,
        "threads": torch.get_num_threads(),
        "products": matmul_backend(),
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "versions": {
            "mnist_trainer": package_version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "platform": platform.platform(),
        "git_commit": git_commit(),
    }


def machine_info(state: TrainingState) -> dict[str, Any]:
    """Return what determines the bits of a training besides the config."""
    return {
        "device": str(state.setup.device),
        "precision": state.setup.spec.precision,
        "threads": torch.get_num_threads(),
        "products": matmul_backend(),
        "torch": str(torch.__version__),  # a subclass of str, which no checkpoint may contain
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
