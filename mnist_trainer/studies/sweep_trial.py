"""One trial of a sweep: values from the sampler, a training judged on the validation images, the verdict to the study.

The test set is not read. What goes wrong in a trial is its failure, with a reason; what goes wrong with the study's
storage, or a stop, is not.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.schema import Config, Data
from mnist_trainer.config.sweep import Choice, IntUniform, LogUniform, Parameter, Sweep, Uniform
from mnist_trainer.data.loaders import Splits, load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, TrainerError
from mnist_trainer.model.device import settings
from mnist_trainer.model.failures import device_errors
from mnist_trainer.model.threads import choose_threads
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.seeds import seed_for
from mnist_trainer.studies.processes import WorkerContext
from mnist_trainer.studies.sweep_study import StudyStorage, open_study, retry, storage_errors, trial_index
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MOST_DEATHS = 3
"""A trial whose process died so many times is not tried again."""


@dataclass(frozen=True)
class TrialRequest:
    """Leave to make one trial of a study that shall have so many `trials`."""

    serial: int
    sweep: Sweep
    place: StudyStorage
    trials: int
    threads: int


class _FailedError(Exception):
    """The trial came to nothing by its own fault."""


class _SurplusError(Exception):
    """Somebody else began the last trial at the same moment."""


class _UnforeseenError(Exception):
    """A training ended with an error that is none of ours."""


def run_trial(request: TrialRequest, context: WorkerContext) -> int | None:
    """The number of the attempt that was made; None if none was needed, or if somebody else took it over.

    Tells the number as soon as it is known. Raises `StorageError`, and `InterruptedRunError` if a stop is wanted; the
    trial then waits in the study to be repeated.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    study = open_study(request.place, request.sweep.objective)
    study.pruner = build_pruner(request.sweep)
    made: list[int] = []
    with storage_errors(request.place):
        try:
            study.optimize(partial(_objective, request, context, made), n_trials=1, catch=(_FailedError,))
        except InterruptedRunError:
            retry(study, study.get_trials(deepcopy=False)[made[0]], died=False)
            raise
        except (_SurplusError, UpdateFinishedTrialError):
            return None
        except ValueError as error:
            if str(error).startswith("Cannot tell a"):  # it was taken for dead, and is repeated by somebody else
                return None
            raise
        finally:
            _clean_up()
    return made[0]


def _objective(request: TrialRequest, context: WorkerContext, made: list[int], trial: Trial) -> float:
    """The objective of the epoch that the training would keep; after each epoch the pruner is asked."""
    from optuna import TrialPruned

    made.append(trial.number)
    context.send(trial.number)
    sweep = request.sweep
    index = trial_index(trial.study, trial.number)
    if index >= request.trials:
        raise _SurplusError
    best: EpochRecord | None = None
    try:
        if trial.user_attrs.get("deaths", 0) >= MOST_DEATHS:
            raise DeviceError(f"Its process died {MOST_DEATHS} times, as happens when the memory is full.")
        trial.study.sampler = build_sampler(sweep, index)
        config = sweep.config(suggest(trial, sweep.space))
        with closing(_epochs(config, request.threads, context)) as epochs:
            for record in epochs:
                best = record if record.best else best
                trial.report(_objective_value(record, sweep), record.epoch)
                if trial.should_prune():
                    raise TrialPruned
    except InterruptedRunError:
        raise
    except (TrainerError, _UnforeseenError) as error:
        trial.set_user_attr("code", getattr(error, "exit_code", 1))
        trial.set_user_attr("reason", str(error))
        raise _FailedError from error
    finally:
        if best is not None:
            trial.set_user_attr("best", {name: getattr(best, name) for name in ("epoch", "val_loss", "val_accuracy")})
    assert best is not None
    return _objective_value(best, sweep)


def _epochs(config: Config, threads: int, context: WorkerContext) -> Generator[EpochRecord]:
    """The epochs of one training. Raises `TrainerError`s, `InterruptedRunError` among them, and `_UnforeseenError`."""

    def after_step(state: TrainingState) -> None:
        if context.wants_stop:
            raise InterruptedRunError("Stopped.")

    try:
        with settings(config, choose_threads(config) or threads), device_errors():
            yield from fit(prepare(config, splits=load_images(config.data)), after_step)
    except TrainerError:
        raise
    except Exception as error:
        raise _UnforeseenError(f"{type(error).__name__}: {error}") from error


def load_images(data: Data) -> Splits:
    """The images to train and to validate with, loaded once a process as long as they stay the same."""
    return _images(data.model_copy(update={"batch_size": 1, "augment": None}))


@lru_cache(maxsize=1)
def _images(data: Data) -> Splits:
    return load_splits(data)


def _objective_value(record: EpochRecord, sweep: Sweep) -> float:
    figure = record.val_loss if sweep.objective == "val_loss" else record.val_accuracy
    assert figure is not None, "a sweep's base has validation images"
    return figure


def _clean_up() -> None:
    """Gives back what a trial that ran out of a GPU's memory may still hold."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


# --- what Optuna is asked for ---


def suggest(trial: Trial, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """A value for each key of `space`."""
    values: dict[str, Any] = {}
    for key, parameter in space.items():
        match parameter:
            case Uniform():
                values[key] = trial.suggest_float(key, *parameter.bounds)
            case LogUniform():
                values[key] = trial.suggest_float(key, *parameter.bounds, log=True)
            case IntUniform(int=(low, high), step=step):
                values[key] = trial.suggest_int(
                    key, low, low + (high - low) // step * step, step=step, log=parameter.log
                )
            case Choice():
                values[key] = parameter.labels[trial.suggest_categorical(key, list(parameter.labels))]
    return values


def values_of(attempt: FrozenTrial, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """The values that an attempt was made with, as far as it got."""
    return {
        key: parameter.labels[attempt.params[key]] if isinstance(parameter, Choice) else attempt.params[key]
        for key, parameter in space.items()
        if key in attempt.params
    }


def build_sampler(sweep: Sweep, index: int) -> BaseSampler:
    """The sampler for trial `index` alone, with random numbers of its own: whichever process makes the trial, random
    and grid give it the same values, and TPE does if the same trials are known by then."""
    import warnings

    from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

    seed = seed_for(sweep.settings.seed, "sweep", index) % 2**32
    match sweep.settings.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "grid":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is called experimental
                return PartialFixedSampler(dict(sweep.point(index)), RandomSampler(seed=seed))


def build_pruner(sweep: Sweep) -> BasePruner:
    """The pruner; it compares the objective after each epoch with the other trials'."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    match sweep.settings.pruner:
        case "none":
            return NopPruner()
        case "median":
            return MedianPruner()
        case "hyperband":
            longest = sweep.space.get("training.epochs")
            epochs = sweep.config({}).training.epochs if longest is None else max(longest.samples)
            return HyperbandPruner(min_resource=1, max_resource=int(epochs))
