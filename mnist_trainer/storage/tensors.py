"""Reading a PyTorch file that may be foreign, damaged or malicious."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from mnist_trainer.errors import CheckpointError


def read_tensors(path: Path) -> object:
    """What `torch.save` wrote to `path`: tensors on the CPU and plain values, nothing that could run code.

    Raises `CheckpointError` that says what is wrong with the file.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file.")
    # torch and zipfile fail on foreign and damaged files in many ways: no list of exceptions is complete.
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()  # torch.load does not look at the checksums
        content: object = None if torn else torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds Python objects besides weights and is not loaded: such a file can run code. "
            "Only checkpoints of mnist-train are read."
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} is no checkpoint, or a damaged one ({first_line(error)}).") from error
    if torn:
        raise CheckpointError(f"{path} is damaged: the checksum of its part {torn} is wrong. Take a whole copy of it.")
    return content


def first_line(error: Exception) -> str:
    """The beginning of an error's text: its first two lines, without the rest that only programmers read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
