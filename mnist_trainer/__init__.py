"""Trains, evaluates and applies models for handwritten digits, each described by one YAML file.

Each folder is a stage. Data flow in one direction: a module imports only from earlier stages, and from errors.py,
files.py and seeds.py:

    configs/*.yaml ─► config ─► pictures ─► simulator ─► data ─► model ─► inference ─► training ─► storage ─► reports
                        └────────────────────────────────── pipeline ──────────────────────────────────────────┘
                                                         ▲
                                           export, studies, lab, serve
                                                         ▲
                                                        cli

The public names are loaded when they are first used, so that importing the package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_trainer.config.load import load_config
    from mnist_trainer.config.schema import Config
    from mnist_trainer.export.write import export_model
    from mnist_trainer.inference.metrics import Evaluation
    from mnist_trainer.inference.reading import Prediction
    from mnist_trainer.pipeline.evaluate import evaluate
    from mnist_trainer.pipeline.predict import predict
    from mnist_trainer.pipeline.preparation import prepare
    from mnist_trainer.pipeline.train import resume, train
    from mnist_trainer.reports.callbacks import Callback, Run
    from mnist_trainer.training.loop import EpochRecord, fit, steps

__all__ = [
    "Callback",
    "Config",
    "EpochRecord",
    "Evaluation",
    "Prediction",
    "Run",
    "evaluate",
    "export_model",
    "fit",
    "load_config",
    "predict",
    "prepare",
    "resume",
    "steps",
    "train",
]

_MODULES = {
    "Callback": "reports.callbacks",
    "Config": "config.schema",
    "EpochRecord": "training.loop",
    "Evaluation": "inference.metrics",
    "Prediction": "inference.reading",
    "Run": "reports.callbacks",
    "evaluate": "pipeline.evaluate",
    "export_model": "export.write",
    "fit": "training.loop",
    "load_config": "config.load",
    "predict": "pipeline.predict",
    "prepare": "pipeline.preparation",
    "resume": "pipeline.train",
    "steps": "training.loop",
    "train": "pipeline.train",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from mnist_trainer.config.shipped import package_version

        return package_version()
    if name not in _MODULES:
        raise AttributeError(f"module 'mnist_trainer' has no attribute '{name}'")
    return getattr(import_module(f"mnist_trainer.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
