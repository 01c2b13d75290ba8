"""Tracing a model with torch.export, and the errors of models that it can't trace."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import Tensor, nn

from mnist_trainer.errors import CheckpointError, short_reason
from mnist_trainer.export.compress import attach
from mnist_trainer.export.module import ExportModule
from mnist_trainer.export.source import ExportSource


def trace(source: ExportSource) -> torch.export.ExportedProgram:
    """Return the traced model, for any number of images. Raises `CheckpointError` if torch can't trace it."""
    module = ExportModule(source.predictor)
    for member, packed in zip(module.members, source.packed, strict=False):  # float32 models have no packed weights
        attach(member, packed)
    return trace_module(module, torch.zeros(2, 28, 28, dtype=torch.uint8))


def trace_module(module: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Return the traced module, for any number of images; those given are two, because one would be a constant."""
    with convert_errors():
        traced = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)  # names source files of this machine
    return traced


@contextmanager
def convert_errors() -> Iterator[None]:
    """Convert whatever an exporter raises into a `CheckpointError`, and silence its warnings and messages."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # no list is complete: the model may be the user's own
        raise CheckpointError(
            f"torch can't export this model ({short_reason(error)}). Its forward method must not depend on "
            "the values of the images, nor on their number."
        ) from error
    finally:
        logging.disable(level)
