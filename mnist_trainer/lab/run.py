"""Find an experiment, run it, and write its statements and its picture to `runs/lab/NAME/`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.lab.experiment import Experiment

DEFAULT_SIZE = (1200, 600)
"""Width and height of a picture in pixels; an experiment may have its own, `SIZE`."""

LESSONS: dict[str, tuple[str, ...]] = {
    "The neuron": ("exercises", "perceptron"),
    "The layer": ("depth", "signal"),
    "The loss": ("likelihood", "losses", "custom-error"),
    "Gradient descent": ("gradients", "descent", "batches"),
    "The network": ("from-scratch",),
    "Overfitting": ("noise", "overfitting", "size"),
    "A look inside": ("look-inside", "without-labels"),
}
"""The experiments in the order of a lesson."""


def names() -> list[str]:
    """Return the names of all experiments, in the order of a lesson."""
    return [name for lesson in LESSONS.values() for name in lesson]


def phrase(name: str) -> str:
    """Return the first line of the docstring of an experiment, which is not imported."""
    source = Path(__file__).with_name(f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def run_experiment(name: str, *, quick: bool = False, **parameters: Any) -> Experiment:
    """Run the experiment called `name` and return it, with its statements and its picture.

    `parameters` replace the defaults of the experiment's `run`; texts are converted. Raises `UsageError` for an unknown
    name or parameter. torch's random generator is that of the caller afterwards.
    """
    import torch

    from mnist_trainer.lab.experiment import Experiment
    from mnist_trainer.reports.canvas import check_matplotlib, render

    module = _find(name)
    values = _convert(name, module.run, parameters)
    check_matplotlib()
    experiment, start = Experiment(name, quick), perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size, title = getattr(module, "SIZE", DEFAULT_SIZE), phrase(name).rstrip(".")
        experiment.png = render(size, title, lambda figure: module.run(experiment, figure, **values))
    experiment.seconds = perf_counter() - start
    return experiment


def _find(name: str) -> Any:
    """Return the module of an experiment. Raises `UsageError`."""
    from mnist_trainer.config.messages import nearest

    if name not in names():
        near = nearest(name, names())
        hint = f"Did you mean {near}?" if near else "mnist-lab lists them."
        raise UsageError(f"There is no experiment called {name}. {hint}")
    return import_module(f"mnist_trainer.lab.{name.replace('-', '_')}")


def _convert(name: str, run: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `run` with the types of their defaults. Raises `UsageError`."""
    from pydantic import TypeAdapter, ValidationError

    from mnist_trainer.config.messages import nearest

    keywords = [p for p in signature(run).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    defaults = {p.name: p.default for p in keywords}
    values = {}
    for key, value in given.items():
        if key not in defaults:
            near = nearest(key, list(defaults))
            listed = ", ".join(f"{key}={default}" for key, default in defaults.items()) or "none"
            hint = f"Did you mean {near}?" if near else f"It has {listed}."
            raise UsageError(f"The experiment {name} has no parameter called {key}. {hint}")
        adapter: TypeAdapter[Any] = TypeAdapter(type(defaults[key]))
        try:
            values[key] = adapter.validate_strings(value) if isinstance(value, str) else adapter.validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{key}={value}: {error.errors()[0]['msg']} (its default is {defaults[key]}).") from None
    return values
