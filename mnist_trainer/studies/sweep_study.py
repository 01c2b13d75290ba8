"""The Optuna study of a sweep, in a journal file, in SQLite or in PostgreSQL: its trials, its sampler and its pruner.

Optuna numbers attempts. A trial whose process died or was stopped is attempted again and keeps its number, 0 to N - 1.
An attempt whose training failed has a `reason` among its attributes. One without a reason was cut off, and another
attempt at the same trial waits in the study.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Any, Literal

from mnist_trainer.config.load import differences
from mnist_trainer.config.sweep import Choice, IntUniform, LogUniform, Sweep, Uniform
from mnist_trainer.errors import DataError, StorageError, UsageError
from mnist_trainer.files import truncate_torn_line
from mnist_trainer.reports.callbacks import Status, TrialRow
from mnist_trainer.seeds import seed_for
from mnist_trainer.training.loop import EpochRecord

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.trial import FrozenTrial, Trial
    from sqlalchemy import URL

HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
"""Seconds between the reports of a running trial to a database, and after how many without one it counts as dead."""

CONNECT_SECONDS = 10

MAY_DIFFER: Any = {"name": True, "device": True, "threads": True, "report": True, "data": {"root"}}
"""Config keys that may differ between machines that work on one study."""

STATUSES: dict[str, Status] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
"""The status of a trial, by Optuna's name for the state of its attempt."""


@dataclass
class Attempt:
    """A running attempt of this command at trial `index`, and its best epoch so far."""

    trial: Trial
    index: int
    best: EpochRecord | None = None


class SweepStudy:
    """The study of a sweep, in the database `url` or in the file `journal`; `running` are the attempts of this command.

    Needs Optuna (see `require_optuna`). Raises `UsageError` if `url` does not name a database that can hold a study.
    """

    study: Study  # set by `open`
    database: RDBStorage | None = None

    def __init__(self, sweep: Sweep, url: str | None = None, journal: Path = Path()) -> None:
        self.sweep, self.journal = sweep, journal
        self.url = None if url is None else parse_url(url)
        self.name = "sweep" if url is None else sweep.name
        self.running: dict[int, Attempt] = {}

    def __str__(self) -> str:
        """Return the file or the URL, without the password."""
        if self.url is None:
            return str(self.journal)
        return self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=True)

    @contextmanager
    def opened(self, images: str) -> Iterator[None]:
        """Open the study, created if it does not exist, and close it after the block. `images` is a fingerprint.

        Raises `StorageError` if the study can't be read or written, also by the block; `UsageError` if it is about
        another sweep; `DataError` if it is about other images.
        """
        with self.storage_errors():
            if self.url is None and self.journal.exists():
                truncate_torn_line(self.journal)  # left by a full disk or a power cut
            self.open()
            closed = Event()
            heartbeats = Thread(target=self._send_heartbeats, args=(closed,), daemon=True)
            heartbeats.start()
            try:
                self._check_definition(images)
                yield
            finally:
                closed.set()
                heartbeats.join()
                self.close()

    def open(self) -> None:
        """Load the study, or create it."""
        import optuna

        self.database = None if self.url is None else _open_database(self.url, self._retry)
        storage = self.database or _open_journal(str(self.journal))
        direction: Literal["minimize", "maximize"] = "minimize" if self.sweep.objective == "val_loss" else "maximize"
        try:  # loading alone writes nothing
            self.study = optuna.load_study(study_name=self.name, storage=storage)
        except KeyError:
            self.study = optuna.create_study(
                study_name=self.name, storage=storage, direction=direction, load_if_exists=True
            )
        self.study.pruner = build_pruner(self.sweep)

    def close(self) -> None:
        """Close the connections to the database."""
        if self.database is not None:
            self.database.remove_session()
            self.database.engine.dispose()

    @contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Turn the errors of databases and file systems into a `StorageError` without passwords."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
            origin = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
            reason = " ".join(str(origin).partition("\n\tIs the server running")[0].split()).rstrip(".")
            if self.url is not None and self.url.password:
                reason = reason.replace(self.url.password, "***")
            advice = "Is there room, may the file be written, and is it undamaged?"
            if self.url is not None and _is_postgresql(self.url):
                advice = "Is the server running, and are host, port, user, password and database right?"
            raise StorageError(f"{self}: the study can't be read or written: {reason}. {advice}") from None

    def _check_definition(self, images: str) -> None:
        """Record in a new study what it searches, and the fingerprint of its images; compare an old one with them."""
        base = self.sweep.config({}).model_dump(mode="json", exclude=MAY_DIFFER)
        space = {key: parameter.model_dump(mode="json") for key, parameter in self.sweep.space.items()}
        settings = self.sweep.settings.model_dump(mode="json", include={"objective", "sampler", "pruner", "seed"})
        ours = json.loads(json.dumps({**settings, "base": base, "space": space}))
        theirs = self.study.user_attrs.get("definition")
        if theirs is None:
            self.study.set_user_attr("images", images)
            self.study.set_user_attr("definition", ours)
            return
        if found := list(differences(theirs, ours)):
            raise UsageError(
                f"{self} holds a study of the name '{self.name}' that is about something else: "
                f"{'; '.join(map(str, found))}. Continue with the same sweep, or give it another name and folder."
            )
        if self.study.user_attrs.get("images", images) != images:
            raise DataError(
                f"The images have changed since the study '{self.name}' in {self} began, so its trials could not "
                "be compared. Put them back as they were, or give the sweep another name and folder."
            )

    # --- trials ---

    def attempts(self) -> dict[int, list[FrozenTrial]]:
        """Return the attempts at each trial, by its number. A retry names its trial; the other attempts are counted."""
        found: dict[int, list[FrozenTrial]] = {}
        count = 0
        for attempt in self.study.get_trials(deepcopy=False):
            index = attempt.user_attrs.get("trial")
            if index is None:
                index, count = count, count + 1
            found.setdefault(index, []).append(attempt)
        return found

    def rows(self) -> tuple[TrialRow, ...]:
        """Return the trials that the sweep asks for, as far as they got."""
        found = sorted(self.attempts().items())
        return tuple(_trial_row(index, attempts, self.sweep) for index, attempts in found if index < self.sweep.trials)

    def count_open(self) -> tuple[int, int]:
        """Return how many trials of the sweep can be started, and how many are running, here or elsewhere.

        A trial can be started if it waits to be retried, or if it was never attempted.
        """
        found, trials = self.attempts(), self.sweep.trials
        states = [[one.state.name for one in attempts] for index, attempts in found.items() if index < trials]
        waiting = sum(names[-1] == "WAITING" for names in states)
        return waiting + max(0, trials - len(found)), sum(names.count("RUNNING") for names in states)

    def start(self) -> Attempt:
        """Start an attempt at a trial that waits to be retried, else at a new one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna does not know that heartbeats are sent
            trial = self.study.ask()
        attempt = Attempt(trial, self._trial_of(trial.number))
        self.running[trial.number] = attempt
        self._record_heartbeat(trial.number)
        return attempt

    def suggest(self, attempt: Attempt) -> dict[str, Any]:
        """Return the values that the sampler chooses for an attempt, by config key."""
        self.study.sampler = build_sampler(self.sweep, attempt.index)
        trial, values = attempt.trial, {}
        for key, parameter in self.sweep.space.items():
            match parameter:
                case Uniform() | LogUniform():
                    values[key] = trial.suggest_float(key, *parameter.bounds, log=isinstance(parameter, LogUniform))
                case IntUniform(int=(low, high), step=step, log=log):
                    high = low + (high - low) // step * step  # Optuna wants the last value itself
                    values[key] = trial.suggest_int(key, low, high, step=step, log=log)
                case Choice():
                    values[key] = parameter.labels[trial.suggest_categorical(key, list(parameter.labels))]
        return values

    def report(self, number: int, record: EpochRecord) -> bool:
        """Record an epoch of a running attempt, and return whether the attempt should be pruned.

        An attempt that another command took for dead is no longer `running`, because that command retries it.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        attempt = self.running[number]
        attempt.best = record if record.kept else attempt.best
        try:
            attempt.trial.report(getattr(record, self.sweep.objective), record.epoch)
            return attempt.trial.should_prune()
        except UpdateFinishedTrialError:
            del self.running[number]
            return False

    def end(self, number: int, state: str, best: Mapping[str, Any], **attributes: Any) -> int:
        """Record the state and the best epoch of an attempt; return its trial.

        Nothing is recorded if another command took the attempt for dead.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        attempt = self.running.pop(number)
        value = best[self.sweep.objective] if state == "COMPLETE" else None
        with suppress(UpdateFinishedTrialError):
            for name, attribute in {"best": best, **attributes}.items():
                attempt.trial.set_user_attr(name, attribute)
            self.study.tell(attempt.trial, value, TrialState[state], skip_if_finished=True)
        return attempt.index

    def cut_off(self, number: int, died: bool) -> int:
        """Record that the process of a running attempt `died` or was stopped, and retry it; return its trial."""
        from optuna.trial import TrialState

        index = self.running.pop(number).index
        attempt = self.study.get_trials(deepcopy=False)[number]
        if attempt.state == TrialState.RUNNING:  # else another command took it for dead, and retries it
            self.study.tell(number, state=TrialState.FAIL)
            self._retry(self.study, attempt, died)
        return index

    def requeue_abandoned(self) -> None:
        """Retry the trials of which every attempt was cut off, and those whose process is dead.

        A journal belongs to one command: attempts in it that still seem to run, while none does, were cut off.
        """
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        if self.url is None:
            for attempt in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self.study.tell(attempt.number, state=TrialState.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental
            fail_stale_trials(self.study)
        for index, attempts in self.attempts().items():
            if index < self.sweep.trials and all(map(was_cut_off, attempts)):
                self._retry(self.study, attempts[-1], died=False)

    def _retry(self, study: Study, attempt: FrozenTrial, died: bool = True) -> None:
        """Enqueue the same values again, and count how often a process `died` of them. Also called by Optuna."""
        deaths = attempt.user_attrs.get("deaths", 0) + int(died)
        study.enqueue_trial(attempt.params, user_attrs={"trial": self._trial_of(attempt.number), "deaths": deaths})

    def _trial_of(self, number: int) -> int:
        """Return the number of the trial of attempt `number`."""
        found = self.attempts().items()
        return next(index for index, attempts in found if any(one.number == number for one in attempts))

    def _send_heartbeats(self, closed: Event) -> None:
        while not closed.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # the trials themselves report that the database can't be reached
                for number in list(self.running):
                    self._record_heartbeat(number)

    def _record_heartbeat(self, number: int) -> None:
        """Record in the database that a running attempt is alive."""
        if self.database is not None:
            study = self.database.get_study_id_from_name(self.name)
            self.database.record_heartbeat(self.database.get_trial_id_from_study_id_trial_number(study, number))


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
    """Return whether the process of the attempt died or was stopped, so that it says nothing about its values."""
    return attempt.state.name == "FAIL" and "reason" not in attempt.user_attrs


# --- storage ---


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


def _is_postgresql(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def _open_journal(path: str) -> JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def _open_database(url: URL, retry: Callable[[Study, FrozenTrial], None], attempts: int = 5) -> RDBStorage:
    """Return the storage in a database; `retry` is called with the study and each attempt that is found dead."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    timeout = {"connect_timeout": CONNECT_SECONDS} if _is_postgresql(url) else {"timeout": 60}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
            return RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs={"connect_args": timeout, "pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=retry,
            )
    except (IntegrityError, ProgrammingError):  # another process created the same tables at the same moment
        if attempts == 1:
            raise
        sleep(0.5)
        return _open_database(url, retry, attempts - 1)


# --- sampler and pruner ---


def build_sampler(sweep: Sweep, index: int) -> BaseSampler:
    """Return the sampler for trial `index`, seeded by that number.

    Thus `random` and `grid` give a trial the same values whichever process runs it; `tpe` does if the same trials have
    ended before.
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
