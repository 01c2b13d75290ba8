"""The trials of a sweep: a sampler chooses values, and a training with them is compared by its validation images.

The test set is not read. An error of a training fails its trial, with a reason; an error of the study's storage or a
stop does not.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.schema import Data
from mnist_trainer.config.sweep import Choice, IntUniform, LogUniform, Parameter, Sweep, Uniform
from mnist_trainer.data.loaders import Splits, load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, TrainerError
from mnist_trainer.model.device import choose_threads, settings
from mnist_trainer.model.memory import convert_device_errors
from mnist_trainer.pipeline.preparation import CustomParts, prepare_training
from mnist_trainer.seeds import seed_for
from mnist_trainer.studies.processes import WorkerContext
from mnist_trainer.studies.sweep_study import StudyStorage, open_study, open_trials, retry, storage_errors, trial_index
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

MAX_DEATHS = 3
"""A trial whose process died so many times is not retried."""


@dataclass(frozen=True)
class TrialRequest:
    """The task of worker number `worker`: to run trials until the study has `trials` of them."""

    worker: int
    sweep: Sweep
    storage: StudyStorage
    trials: int
    threads: int


class _FailedError(Exception):
    """The trial fails: `args` are the reason and an exit code; without them another process runs this trial."""


def run_trials(request: TrialRequest, context: WorkerContext) -> None:
    """Run trials until none can be started or a stop is requested.

    Sends ("started", number) and ("ended", number) for each attempt. Raises `StorageError`, and `InterruptedRunError`
    if a trial is stopped, which is then retried later.
    """
    study = open_study(request.storage, request.sweep.objective)
    study.pruner = build_pruner(request.sweep)
    with storage_errors(request.storage):
        while not context.stop_requested() and open_trials(study, request.trials)[0]:
            number = _run_trial(study, request, context)
            if number is not None:
                context.send(("ended", number))


def _run_trial(study: Study, request: TrialRequest, context: WorkerContext) -> int | None:
    """Return the number of the attempt that was made; None if another process took it for dead and retries it."""
    from optuna.exceptions import UpdateFinishedTrialError

    numbers: list[int] = []
    try:
        study.optimize(partial(_objective, request, context, numbers), n_trials=1, catch=(_FailedError,))
    except InterruptedRunError:
        retry(study, study.get_trials(deepcopy=False)[numbers[0]], died=False)
        raise
    except UpdateFinishedTrialError:
        return None
    except ValueError as error:
        if str(error).startswith("Cannot tell a"):
            return None
        raise
    finally:
        if torch.cuda.is_available():  # what a trial that ran out of GPU memory may still hold
            gc.collect()
            torch.cuda.empty_cache()
    return numbers[0]


def _objective(request: TrialRequest, context: WorkerContext, numbers: list[int], trial: Trial) -> float:
    """Return the objective of the best epoch. The pruner is asked after each epoch."""
    from optuna import TrialPruned

    numbers.append(trial.number)
    context.send(("started", trial.number))
    sweep, index = request.sweep, trial_index(trial.study, trial.number)
    if index >= request.trials:  # another process started the last trial at the same moment
        raise _FailedError
    trial.study.sampler = build_sampler(sweep, index)
    best: EpochRecord | None = None
    try:
        if trial.user_attrs.get("deaths", 0) >= MAX_DEATHS:
            reason = f"Its process died {MAX_DEATHS} times, as happens when the memory is full."
            raise _FailedError(reason, DeviceError.exit_code)
        with closing(_epochs(sweep, suggest(trial, sweep.space), request.threads, context)) as epochs:
            for record in epochs:
                best = record if record.best else best
                trial.report(_objective_value(record, sweep), record.epoch)
                if trial.should_prune():
                    raise TrialPruned
    except _FailedError as failure:
        reason, code = failure.args
        trial.set_user_attr("code", code)
        trial.set_user_attr("reason", reason)
        raise
    finally:
        if best is not None:
            trial.set_user_attr("best", {name: getattr(best, name) for name in ("epoch", "val_loss", "val_accuracy")})
    assert best is not None
    return _objective_value(best, sweep)


def _epochs(sweep: Sweep, values: Mapping[str, Any], threads: int, context: WorkerContext) -> Generator[EpochRecord]:
    """Yield the epochs of one training. Raises `InterruptedRunError`, and `_FailedError` for any other error."""

    def after_step(state: TrainingState) -> None:
        if context.stop_requested():
            raise InterruptedRunError("Stopped.")

    try:
        config = sweep.config(values)
        with settings(config, choose_threads(config) or threads), convert_device_errors():
            yield from fit(prepare_training(config, CustomParts(), splits=load_images(config.data)), after_step)
    except InterruptedRunError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, TrainerError) else f"{type(error).__name__}: {error}"
        raise _FailedError(reason, getattr(error, "exit_code", 1)) from error


def load_images(data: Data) -> Splits:
    """Return the training and validation images, loaded once a process as long as they stay the same."""
    return _cached_images(data.model_copy(update={"batch_size": 1, "augment": None}))


_cached_images = lru_cache(maxsize=1)(load_splits)


def _objective_value(record: EpochRecord, sweep: Sweep) -> float:
    value = record.val_loss if sweep.objective == "val_loss" else record.val_accuracy
    assert value is not None, "the base config of a sweep has validation images"
    return value


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
