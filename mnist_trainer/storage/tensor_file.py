"""PyTorch files with a checksum, read safely even if a file is foreign, damaged or malicious.

`torch.save` writes an uncompressed ZIP archive: a pickle of the structure, and an entry for the numbers of each tensor.
Each entry has a CRC-32 in the directory of the archive. The checksum is a SHA-256 of all names, sizes and CRCs, in a
separate entry: together they cover every byte. It detects corruption, not tampering.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from mnist_trainer.config.yaml_reader import PICTURE_SIGNATURES
from mnist_trainer.errors import CheckpointError, one_line, short_reason
from mnist_trainer.files import open_model_file

CHECKSUM = "checksum"
"""The name of the entry with the checksum."""

ALLOWED_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v[23]|torch(\.storage)? [A-Z]\w*Storage"
    r"|torch (device|Size|bool|u?int\d+|b?float\d+\w*)"
)
"""The globals in a pickle of tensors and plain values. `weights_only=True` allows more, such as a huge `bytearray`."""

MAX_STRUCTURE_BYTES = 4 << 20
"""The maximum size of a pickle; that of a model has about 5,000 bytes."""

MAX_VALUES, MAX_DEPTH = 1_000_000, 50
"""A model has about 200 values, 5 levels deep. A pickle can contain one value many times, and can contain itself."""


def write_tensors(stream: IO[bytes], content: object) -> None:
    """Write tensors and plain values, with a checksum, to an empty stream that can also be read."""
    torch.save(content, stream)
    with zipfile.ZipFile(stream, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(zipfile.ZipInfo(f"{folder}/{CHECKSUM}"), _checksum(archive))


def read_tensors(path: Path) -> tuple[object, bool]:
    """Return what `torch.save` wrote to `path`, on the CPU, and whether the file has a checksum (which was verified).

    Nothing that could run code is loaded, and no more memory is allocated than the file has bytes. Raises
    `CheckpointError` that says what is wrong with the file.
    """
    with open_model_file(path) as stream:
        # torch and zipfile fail on foreign and damaged files in many ways: no list of exceptions is complete.
        try:
            if not zipfile.is_zipfile(stream):
                raise CheckpointError(_describe_foreign(path, stream))
            with zipfile.ZipFile(stream) as archive:
                has_checksum = _verify_entries(path, archive)
                _check_globals(path, archive)
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content: object = torch.load(stream, map_location="cpu", weights_only=True)
        except CheckpointError:
            raise
        except pickle.UnpicklingError as error:  # torch's message recommends weights_only=False
            raise CheckpointError(_describe_code(path, "more than weights and plain values")) from error
        except Exception as error:
            raise CheckpointError(f"{path} is no checkpoint, or a damaged one ({short_reason(error)}).") from error
    _check_values(path, content)
    return content, has_checksum


def _describe_foreign(path: Path, stream: IO[bytes]) -> str:
    """Return what is wrong with a file that is no ZIP archive."""
    stream.seek(0)
    start = stream.read(1024)
    if not start:
        return f"{path} is empty. Copy it again."
    if start.startswith(b"PK\x03\x04"):
        return f"{path} is cut short: its end is missing. Copy it again."
    kind = "it is not in the format of torch.save"
    if start.startswith(PICTURE_SIGNATURES):
        kind = "it is a picture"
    elif start.isascii() and b"\0" not in start:
        kind = "it is a text file"
    return f"{path} is no checkpoint: {kind}. Name a .pt file, or the folder of a run."


def _describe_code(path: Path, what: str) -> str:
    return f"{path} holds {what} and is not loaded: such a file can run code. Only checkpoints of mnist-train are read."


def _verify_entries(path: Path, archive: zipfile.ZipFile) -> bool:
    """Check sizes, CRCs and the checksum; return whether there is one."""
    entries, size = archive.infolist(), path.stat().st_size
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type or entry.compress_size != entry.file_size for entry in entries):
        raise CheckpointError(
            f"{path} claims to hold {claimed:,} bytes in a file of {size:,}, and is not loaded. "
            "Checkpoints of mnist-train are not compressed."
        )
    names = {entry.filename.casefold() for entry in entries}  # torch ignores case
    if len(names) < len(entries) or sum(name.endswith("/data.pkl") for name in names) != 1:
        raise CheckpointError(f"{path} is no checkpoint: it is an archive, but not in the format of torch.save.")
    wrong = archive.testzip()
    checksum = next((entry.filename for entry in entries if _name(entry) == CHECKSUM), None)
    if checksum and not wrong and archive.read(checksum) != _checksum(archive):
        wrong = checksum
    if wrong:
        name = one_line(wrong, 80)
        raise CheckpointError(f"{path} is damaged: the checksum of its part {name} is wrong. Copy it again.")
    return checksum is not None


def _checksum(archive: zipfile.ZipFile) -> bytes:
    """Return the checksum of all entries but the one that holds it."""
    entries = sorted((_name(entry), entry.file_size, entry.CRC) for entry in archive.infolist())
    return hashlib.sha256(repr([entry for entry in entries if entry[0] != CHECKSUM]).encode()).hexdigest().encode()


def _name(entry: zipfile.ZipInfo) -> str:
    """Return the name without the folder that all entries are in."""
    return entry.filename.partition("/")[2]


def _check_globals(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `CheckpointError` if the pickle, which is not executed, names anything but `ALLOWED_GLOBALS`."""
    (structure,) = (entry for entry in archive.infolist() if entry.filename.casefold().endswith("/data.pkl"))
    if structure.file_size > MAX_STRUCTURE_BYTES:
        size = f"{structure.file_size:,}"
        raise CheckpointError(f"{path} is no checkpoint: {size} bytes of structure are more than any model has.")
    for opcode, argument, _ in pickletools.genops(archive.read(structure)):
        # weights_only=True knows no other opcode that names a global
        if opcode.name == "GLOBAL" and not ALLOWED_GLOBALS.fullmatch(str(argument)):
            name = one_line(str(argument).replace(" ", "."), 80)
            raise CheckpointError(_describe_code(path, f"Python objects besides weights ({name})"))


def _check_values(path: Path, content: object) -> None:
    """Raise `CheckpointError` for content that is larger than the file: repeated values, expanded tensors."""
    stack, count = [(content, 0)], 0
    while stack:
        value, depth = stack.pop()
        count += 1
        if count + len(stack) > MAX_VALUES or depth > MAX_DEPTH:
            raise CheckpointError(f"{path} is no checkpoint: its values are more, or deeper, than any model's.")
        if isinstance(value, Tensor) and value.nbytes > value.untyped_storage().nbytes():
            shape = " × ".join(map(str, value.shape))
            raise CheckpointError(f"{path} claims a tensor of {shape} numbers that it does not hold. It is not loaded.")
        if isinstance(value, Mapping):
            stack.extend((part, depth + 1) for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple | set | frozenset):
            stack.extend((part, depth + 1) for part in value)
