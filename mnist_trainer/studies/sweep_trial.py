"""One trial of a sweep: the values that the sampler chooses, and a training with them. The test set is not read."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.schema import Data
from mnist_trainer.config.sweep import Choice, IntUniform, LogUniform, Parameter, Sweep, Uniform
from mnist_trainer.data.loaders import Splits, load_splits
from mnist_trainer.errors import InterruptedRunError, TrainerError
from mnist_trainer.model.device import choose_threads, convert_device_errors, settings
from mnist_trainer.pipeline.preparation import CustomParts, prepare_training
from mnist_trainer.seeds import seed_for
from mnist_trainer.studies.processes import WorkerContext
from mnist_trainer.training.loop import fit
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class TrialTask:
    """The training of one attempt, by the number that Optuna gave it."""

    number: int
    sweep: Sweep
    values: Mapping[str, Any]
    threads: int


@dataclass(frozen=True)
class Failure:
    """Why a trial failed, and the exit code of its error."""

    reason: str
    code: int


def train_trial(task: TrialTask, context: WorkerContext) -> None:
    """Train the trial and send each epoch; an error of the training is sent as a `Failure`.

    Raises `InterruptedRunError` if a stop is requested.
    """

    def after_step(state: TrainingState) -> None:
        if context.stop_requested():
            raise InterruptedRunError("Stopped.")

    try:
        config = task.sweep.config(task.values)
        with settings(config, choose_threads(config) or task.threads), convert_device_errors():
            state = prepare_training(config, CustomParts(), splits=load_images(config.data))
            for record in fit(state, after_step):
                context.send(record)
    except InterruptedRunError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, TrainerError) else f"{type(error).__name__}: {error}"
        context.send(Failure(reason, getattr(error, "exit_code", 1)))
    finally:
        if torch.cuda.is_available():  # what a trial that ran out of GPU memory may still hold
            gc.collect()
            torch.cuda.empty_cache()


def load_images(data: Data) -> Splits:
    """Return the training and validation images, loaded once a process as long as they stay the same."""
    return _cached_images(data.model_copy(update={"batch_size": 1, "augment": None}))


_cached_images = lru_cache(maxsize=1)(load_splits)


# --- sampler and pruner ---


def suggest(trial: Trial, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return a value for each key of `space`."""
    values: dict[str, Any] = {}
    for key, parameter in space.items():
        match parameter:
            case Uniform() | LogUniform():
                values[key] = trial.suggest_float(key, *parameter.bounds, log=isinstance(parameter, LogUniform))
            case IntUniform(int=(low, high), step=step, log=log):
                high = low + (high - low) // step * step  # Optuna wants the last value itself
                values[key] = trial.suggest_int(key, low, high, step=step, log=log)
            case Choice():
                values[key] = parameter.labels[trial.suggest_categorical(key, list(parameter.labels))]
    return values


def build_sampler(sweep: Sweep, index: int) -> BaseSampler:
    """Return the sampler for trial `index`, seeded by that number.

    So whichever process runs the trial, random and grid give it the same values, and TPE does if the same trials have
    ended by then.
    """
    from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

    seed = seed_for(sweep.settings.seed, "sweep", index) % 2**32
    match sweep.settings.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "grid":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                return PartialFixedSampler(dict(sweep.point(index)), RandomSampler(seed=seed))


def build_pruner(sweep: Sweep) -> BasePruner:
    """Return the pruner, which compares the objective after each epoch with that of the other trials."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    match sweep.settings.pruner:
        case "none":
            return NopPruner()
        case "median":
            return MedianPruner()
        case "hyperband":
            epochs = sweep.space.get("training.epochs")
            longest = max(epochs.samples) if epochs else sweep.config({}).training.epochs
            return HyperbandPruner(min_resource=1, max_resource=int(longest))
