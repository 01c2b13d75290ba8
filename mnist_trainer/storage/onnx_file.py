"""`.onnx` files, read without torch: those of `mnist-export` by ONNX Runtime, twins of bundled models by OpenCV.

Files of `mnist-export` have the input `images`, uint8 [batch, 28, 28], and the outputs `probabilities`, float32
[batch, K], and, of a model that can refuse, `none`, float32 [batch]. Normalization, temperature and the mean over
members are inside. docs/export.md lists the metadata.

A twin is shipped beside its `.pt` file, because the plain install has OpenCV and no ONNX Runtime. It is the network
alone, float32 [batch, 1, 28, 28] → logits [batch, K]: OpenCV 4.10 reads neither uint8 nor scores of one axis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy import float64, uint8
from numpy.typing import NDArray

from mnist_trainer.errors import CheckpointError, ConfigError, UsageError, short_reason
from mnist_trainer.files import open_model_file
from mnist_trainer.storage.run_folder import RunFolder

FORMAT, VERSION = "mnist_trainer", 1

TEST_KEYS = ("accuracy", "interval", "errors", "count")
"""The metrics on the test set that a file records."""

NO_CHECKSUM = "0" * 64

Run = Callable[[NDArray[uint8]], tuple[NDArray[Any], ...]]
"""Maps images uint8 [B, 28, 28] to probabilities [B, K] and, if the model can refuse, the score of "none" [B]."""

BATCH = 64
"""The batch size: larger batches are no faster, and take more memory."""


@dataclass(frozen=True)
class ArrayPredictor:
    """A model that reads NumPy arrays, whatever runs it: OpenCV, ONNX Runtime or torch."""

    run: Run
    gives_probabilities: bool = True
    refusal_threshold: float | None = None

    def read(self, images: NDArray[uint8]) -> tuple[NDArray[float64], NDArray[float64]]:
        """Return the probabilities [N, K] of images [N, 28, 28], and those of "none" [N]; 0 if it cannot refuse.

        N is at least 1. The images go through the model in batches.
        """
        outputs = [self.run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        probabilities, *none = (np.concatenate(each).astype(float64) for each in zip(*outputs, strict=True))
        return probabilities, none[0] if none else np.zeros(len(images))


@dataclass(frozen=True)
class OnnxFile:
    """A file of `mnist-export`, or a twin: its bytes and its metadata."""

    content: bytes
    metadata: Mapping[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(json.loads(self.metadata["classes"]))

    @property
    def members(self) -> list[dict[str, Any]]:
        """The config, and the numbers of images of the splits, of each model."""
        members: list[dict[str, Any]] = json.loads(self.metadata["members"])
        return members

    @property
    def gives_probabilities(self) -> bool:
        """Whether the outputs are probabilities; of values only the order has a meaning."""
        return self.metadata["output"] != "values"

    @property
    def refusal_threshold(self) -> float | None:
        """An image is refused if the score of "none" is at least this; None: the model can't tell."""
        threshold = self.metadata.get("refusal_threshold")
        return None if threshold is None else float(threshold)

    def predictor(self, run: Run) -> ArrayPredictor:
        """Return the predictor whose model is `run`."""
        return ArrayPredictor(run, self.gives_probabilities, self.refusal_threshold)


def import_extra(name: str, purpose: str, extra: str = "export") -> Any:
    """Import a module of an extra. Raises `UsageError` with the install line if it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UsageError(f"{purpose} needs {package}: pip install 'mnist-trainer[{extra}]'") from None


def open_session(content: bytes, threads: int = 1) -> Any:
    """Return an ONNX Runtime session on the CPU. Raises ONNX Runtime's errors, which have no common base class."""
    runtime = import_extra("onnxruntime", "Running an .onnx file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, too
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_session(session: Any) -> Run:
    """Return the function that runs the model."""
    return lambda images: tuple(session.run(None, {"images": images}))


def with_checksum(serialize: Callable[[str], bytes]) -> bytes:
    """Return the bytes of a file with its own SHA-256 inside; `serialize` takes the value of `file_sha256`."""
    content = serialize(NO_CHECKSUM)
    return content.replace(NO_CHECKSUM.encode(), sha256(content).hexdigest().encode())


def read_onnx(path: Path) -> OnnxFile:
    """Return the file that `mnist-export` wrote to `path`, after all checks.

    Raises `CheckpointError` for a damaged file and for ONNX files of other programs, `UsageError` without ONNX Runtime.
    """
    with open_model_file(path) as stream:
        content = stream.read()
    if not content:
        raise CheckpointError(f"{path} is empty. Copy it again.")
    try:
        session = open_session(content)
    except UsageError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is no ONNX file, or a damaged one ({short_reason(error)}).") from error
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    _check_origin(path, metadata, session)
    _check_sum(path, content, metadata.get("file_sha256", ""))
    file = OnnxFile(content, metadata)
    _check_metadata(path, file, [each.shape for each in session.get_outputs()])
    return file


def _check_sum(path: Path, content: bytes, checksum: str) -> None:
    """Raise `CheckpointError` if the file has another checksum."""
    if not checksum or with_checksum(lambda zeros: content.replace(checksum.encode(), zeros.encode())) != content:
        raise CheckpointError(f"{path} is damaged, or was changed after mnist-export wrote it. Export it again.")


def _check_metadata(path: Path, file: OnnxFile, outputs: Sequence[Sequence[Any]]) -> None:
    """Raise `CheckpointError` if the metadata can't be read, or do not fit the shapes of the `outputs`."""
    with metadata_errors(path):
        names = [(member["config"]["name"], member["config"]["data"]["name"]) for member in file.members]
        _ = file.gives_probabilities
        if not names or not all(isinstance(name, str) for name in (*file.classes, *chain(*names))):
            raise ValueError("a name is missing, or is no text")
        if outputs[0][1] != len(file.classes) or len(outputs) != 1 + (file.refusal_threshold is not None):
            raise ValueError(f"{len(file.classes)} classes do not fit the outputs")


@contextmanager
def metadata_errors(path: Path) -> Iterator[None]:
    """Convert the errors of damaged metadata into a `CheckpointError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata can't be read ({short_reason(error)}).") from error


def _check_origin(path: Path, metadata: Mapping[str, str], session: Any) -> None:
    """Raise `CheckpointError` if the file is not of `mnist-export`, or of another version, or takes other images."""
    inputs = [(each.type, each.shape[1:]) for each in session.get_inputs()]
    if inputs != [("tensor(uint8)", [28, 28])]:
        found = ", ".join(f"{each.type.removeprefix('tensor')} {each.shape}" for each in session.get_inputs())
        raise CheckpointError(f"{path} does not take uint8 images [batch, 28, 28], but {found or 'nothing'}.")
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is an ONNX file, but mnist-export did not write it: it doesn't say what its classes are."
        )
    if metadata.get("format_version") != str(VERSION):
        raise CheckpointError(
            f"{path} has format version {metadata.get('format_version')}, and this program reads version {VERSION}. "
            "Export it again with this program, or use it with the program that wrote it."
        )


# --- twins ---

METADATA_FIELD = 14
"""The number of `metadata_props` in ONNX's `ModelProto`; each has a key (1) and a value (2)."""


def read_twin(path: Path) -> tuple[OnnxFile, ArrayPredictor]:
    """Return the twin in `path`, and its predictor, which OpenCV runs. Raises `CheckpointError`."""
    with open_model_file(path) as stream:
        content = stream.read()
    try:
        metadata = _read_metadata(content)
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged. Install the package again.") from error
    _check_sum(path, content, metadata.get("file_sha256", ""))
    file = OnnxFile(content, metadata)
    return file, file.predictor(run_opencv(content, float(metadata["temperature"]), file.refusal_threshold is not None))


def run_opencv(content: bytes, temperature: float, can_refuse: bool) -> Run:
    """Return the function that runs a twin: logits by OpenCV, then what `InferenceSpec` does with logits."""
    import cv2

    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, uint8))

    def run(images: NDArray[uint8]) -> tuple[NDArray[float64], ...]:
        """Return the probabilities [B, K] and, if the model can refuse, the score of "none" [B]."""
        network.setInput(images[:, None].astype(np.float32))
        logits = network.forward().astype(float64)
        shares = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
        probabilities = shares / shares.sum(axis=1, keepdims=True)
        none = np.exp(-np.logaddexp(0, np.logaddexp.reduce(logits, axis=1)))  # 1 / (1 + Σ exp z)
        return (probabilities, none) if can_refuse else (probabilities,)

    return run


def recorded_test(path: Path) -> dict[str, Any] | None:
    """Return the metrics on the test set of the model in `path`; None if they were not measured, or not recorded.

    The keys are `accuracy, interval, errors, count`. They are in the `run.json` beside a `best.pt`, in the metadata of
    an exported file, or in those of the twin beside a `.pt` file.
    """
    test = RunFolder(path.parent).read_record().get("test") if path.name == "best.pt" else None
    if test is None:
        with suppress(OSError, LookupError, ValueError):
            metadata = _read_metadata(path.with_suffix(".onnx").read_bytes())
            if path.suffix == ".onnx" or sha256(path.read_bytes()).hexdigest() in metadata["checkpoint_sha256"]:
                test = json.loads(metadata["test"])
    return {key: test[key] for key in TEST_KEYS} if isinstance(test, dict) and {*TEST_KEYS} <= {*test} else None


def _read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file. Raises `LookupError` or `ValueError` if it is damaged."""
    entries = [dict(_fields(entry)) for number, entry in _fields(content) if number == METADATA_FIELD]
    return {entry[1].decode(): entry[2].decode() for entry in entries}


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of each field with a length in a message of Protocol Buffers.

    Source: https://protobuf.dev/programming-guides/encoding. Raises `IndexError` if the message is cut short, and
    `ValueError` for a field of fixed size, which the messages here do not have.
    """
    at = 0

    def varint() -> int:
        """Return the number of variable length that begins at `at`, and move `at` behind it."""
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        size = varint()  # of kind 0 it is the value itself
        if kind == 2:
            yield number, message[at : at + size]
            at += size
        elif kind:
            raise ValueError(f"field {number} is of kind {kind}")
