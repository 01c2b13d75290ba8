"""The Optuna study of a sweep, in a journal file, in SQLite or in PostgreSQL, and its trials.

Optuna numbers attempts. A trial whose process died or was stopped is attempted again and keeps its number, 0 to N - 1.
An attempt whose training failed has a `reason` among its attributes. One without was cut off, and another attempt at
the same trial waits in the study.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, Literal

from mnist_trainer.config.load import differences
from mnist_trainer.config.sweep import Choice, Sweep
from mnist_trainer.errors import DataError, StorageError, UsageError
from mnist_trainer.files import truncate_torn_line
from mnist_trainer.reports.callbacks import Status, TrialRow
from mnist_trainer.training.loop import EpochRecord

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.storages._heartbeat import BaseHeartbeatThread
    from optuna.trial import FrozenTrial, Trial
    from sqlalchemy import URL

HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
"""Seconds between the reports of a running trial to a database, and after how many without one it counts as dead."""

CONNECT_SECONDS = 10

MAY_DIFFER: Any = {"name": True, "device": True, "threads": True, "report": True, "data": {"root"}}
"""Config keys that may differ between machines that work on one study."""

STATUSES: dict[str, Status] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


# --- where the study is stored ---


@dataclass(frozen=True)
class StudyStorage:
    """The `name` of a study, and the database (`url`) or the journal file that holds it."""

    name: str
    url: str | None
    journal: Path = Path()

    @property
    def is_postgresql(self) -> bool:
        """Whether the study is in a PostgreSQL database."""
        return self.url is not None and parse_url(self.url).get_backend_name() == "postgresql"

    def __str__(self) -> str:
        """Return the file or the URL, without the password."""
        if self.url is None:
            return str(self.journal)
        url = parse_url(self.url)
        return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def require_optuna() -> None:
    """Raise `UsageError` if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise UsageError("A sweep needs Optuna: pip install 'mnist-trainer[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def parse_url(text: str) -> URL:
    """Return the URL of a database: PostgreSQL with the installed driver, and without a password in its query.

    Raises `UsageError` if it does not name a database that can hold a study.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    with suppress(ArgumentError, ValueError):
        url = make_url(text)
        if url.get_backend_name() in ("postgres", "postgresql"):
            password = url.query.get("password") or url.password
            url = url.difference_update_query(["password"])
            return url.set(drivername="postgresql+psycopg", password=password and str(password))
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            return url
    raise UsageError("--storage takes sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.")


@contextmanager
def joined_study(storage: StudyStorage, sweep: Sweep, images: str) -> Iterator[Study]:
    """Yield the study of the sweep, and close its connections after the block.

    Raises `StorageError` if it can't be read or written, also by the block, and what `check_definition` raises.
    """
    with storage_errors(storage):
        if storage.url is None and storage.journal.exists():
            truncate_torn_line(storage.journal)  # a full disk or a power cut leaves one
        study = open_study(storage, sweep.objective)
        try:
            check_definition(study, sweep, storage, images)
            yield study
        finally:
            close_study(study)


def open_study(storage: StudyStorage, objective: str) -> Study:
    """Return the study, created if it does not exist."""
    import optuna

    direction: Literal["minimize", "maximize"] = "minimize" if objective == "val_loss" else "maximize"
    backend = _open_journal(str(storage.journal)) if storage.url is None else _open_database(storage)
    with suppress(KeyError):  # loading alone writes nothing
        return optuna.load_study(study_name=storage.name, storage=backend)
    return optuna.create_study(study_name=storage.name, storage=backend, direction=direction, load_if_exists=True)


def close_study(study: Study) -> None:
    """Close the connections to the database."""
    backend: Any = study._storage
    backend.remove_session()
    engine = getattr(getattr(backend, "_backend", None), "engine", None)
    if engine is not None:
        engine.dispose()


def _open_journal(path: str) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def _open_database(storage: StudyStorage, attempts: int = 5) -> BaseStorage:
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    timeout = {"connect_timeout": CONNECT_SECONDS} if storage.is_postgresql else {"timeout": 60}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
            return RDBStorage(
                parse_url(str(storage.url)).render_as_string(hide_password=False),
                engine_kwargs={"connect_args": timeout, "pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=retry,
            )
    except (IntegrityError, ProgrammingError):  # another process created the same tables at the same moment
        if attempts == 1:
            raise
        sleep(0.5)
        return _open_database(storage, attempts - 1)


@contextmanager
def storage_errors(storage: StudyStorage) -> Iterator[None]:
    """Turn the errors of databases and file systems into a `StorageError` without passwords."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        origin = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        reason = " ".join(str(origin).partition("\n\tIs the server running")[0].split()).rstrip(".")
        if storage.url is not None and (password := parse_url(storage.url).password):
            reason = reason.replace(str(password), "***")
        advice = "Is there room, may the file be written, and is it undamaged?"
        if storage.is_postgresql:
            advice = "Is the server running, and are host, port, user, password and database right?"
        raise StorageError(f"{storage}: the study can't be read or written: {reason}. {advice}") from None


def check_definition(study: Study, sweep: Sweep, storage: StudyStorage, images: str) -> None:
    """Record in a new study what it searches and the fingerprint of its `images`.

    Raises `UsageError` if the study is about another sweep, `DataError` if it is about other images.
    """
    base = sweep.config({}).model_dump(mode="json", exclude=MAY_DIFFER)
    space = {key: parameter.model_dump(mode="json") for key, parameter in sweep.space.items()}
    settings = sweep.settings.model_dump(mode="json", include={"objective", "sampler", "pruner", "seed"})
    ours = json.loads(json.dumps({**settings, "base": base, "space": space}))
    theirs = study.user_attrs.get("definition")
    if theirs is None:
        study.set_user_attr("images", images)
        study.set_user_attr("definition", ours)
        return
    if found := list(differences(theirs, ours)):
        raise UsageError(
            f"{storage} holds a study of the name '{storage.name}' that is about something else: "
            f"{'; '.join(map(str, found))}. Continue with the same sweep, or give it another name and folder."
        )
    if study.user_attrs.get("images", images) != images:
        raise DataError(
            f"The images have changed since the study '{storage.name}' in {storage} began, so its trials could not "
            "be compared. Put them back as they were, or give the sweep another name and folder."
        )


# --- trials and their attempts ---


@dataclass
class Attempt:
    """A running attempt of this command at trial `index`; the `heartbeat` shows a database that it is alive."""

    trial: Trial
    index: int
    heartbeat: BaseHeartbeatThread
    best: EpochRecord | None = None


def start_attempt(study: Study) -> Attempt:
    """Start a trial that waits to be retried, else a new one."""
    from optuna.storages._heartbeat import get_heartbeat_thread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna does not know that the heartbeat is started here
        trial = study.ask()
    heartbeat = get_heartbeat_thread(trial._trial_id, study._storage)
    heartbeat.start()
    return Attempt(trial, trial_index(study, trial.number), heartbeat)


def attempts_of(study: Study) -> dict[int, list[FrozenTrial]]:
    """Return the attempts at each trial, by its number. A retry says at which trial it is; the others are counted."""
    found: dict[int, list[FrozenTrial]] = {}
    count = 0
    for attempt in study.get_trials(deepcopy=False):
        index = attempt.user_attrs.get("trial")
        if index is None:
            index, count = count, count + 1
        found.setdefault(index, []).append(attempt)
    return found


def trial_index(study: Study, number: int) -> int:
    """Return the number of the trial that attempt `number` is at."""
    return next(index for index, tries in attempts_of(study).items() if any(one.number == number for one in tries))


def trial_rows(study: Study, sweep: Sweep) -> tuple[TrialRow, ...]:
    """Return the trials that the sweep asks for, as far as they got."""
    found = sorted(attempts_of(study).items())
    return tuple(_trial_row(index, attempts, sweep) for index, attempts in found if index < sweep.trials)


def _trial_row(index: int, attempts: Sequence[FrozenTrial], sweep: Sweep) -> TrialRow:
    """Return the row of the first completed attempt, else of the last one."""
    ended = (one for one in attempts if one.state.is_finished() and not was_cut_off(one))
    attempt = next(ended, attempts[-1])
    status = "waiting" if was_cut_off(attempt) else STATUSES.get(attempt.state.name, "waiting")
    best, params = attempt.user_attrs.get("best", {}), attempt.params
    found = {key: (parameter, params[key]) for key, parameter in sweep.space.items() if key in params}
    return TrialRow(
        trial=index,
        status=status,
        values={key: one.labels[value] if isinstance(one, Choice) else value for key, (one, value) in found.items()},
        curve=dict(sorted(attempt.intermediate_values.items())),
        value=best.get(sweep.objective) if status in ("finished", "pruned") else None,
        seconds=attempt.duration.total_seconds() if attempt.duration else None,
        reason=attempt.user_attrs.get("reason", ""),
        code=attempt.user_attrs.get("code", 1),
        **best,
    )


def was_cut_off(attempt: FrozenTrial) -> bool:
    """Whether the process of the attempt died or was stopped, so that it says nothing about its values."""
    return attempt.state.name == "FAIL" and "reason" not in attempt.user_attrs


def retry(study: Study, attempt: FrozenTrial, died: bool = True) -> None:
    """Enqueue the same values again, and count how often a process `died` of them."""
    deaths = attempt.user_attrs.get("deaths", 0) + int(died)
    trial = trial_index(study, attempt.number)
    study.enqueue_trial(attempt.params, user_attrs={"trial": trial, "deaths": deaths})


def cut_off(study: Study, number: int, died: bool) -> None:
    """Record that the running attempt `number` `died` or was stopped, and retry it."""
    from optuna.trial import TrialState

    attempt = study.get_trials(deepcopy=False)[number]
    if attempt.state == TrialState.RUNNING:  # else another command took it for dead, and retries it
        study.tell(number, state=TrialState.FAIL)
        retry(study, attempt, died)


def requeue_abandoned(study: Study, trials: int, storage: StudyStorage) -> None:
    """Retry those of the first `trials` trials of which every attempt was cut off, and those whose process is dead.

    A journal belongs to one command: attempts in it that still seem to run, while none does, were cut off.
    """
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    if storage.url is None:
        for attempt in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(attempt.number, state=TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        fail_stale_trials(study)
    for index, attempts in attempts_of(study).items():
        if index < trials and all(map(was_cut_off, attempts)):
            retry(study, attempts[-1], died=False)


def open_trials(study: Study, trials: int) -> tuple[int, int]:
    """Return how many of the first `trials` trials can be started, and how many are running, here or elsewhere.

    A trial can be started if it waits to be retried, or if it was never attempted.
    """
    found = attempts_of(study)
    states = [[one.state.name for one in attempts] for index, attempts in found.items() if index < trials]
    waiting = sum(names[-1] == "WAITING" for names in states)
    return waiting + max(0, trials - len(found)), sum(names.count("RUNNING") for names in states)
