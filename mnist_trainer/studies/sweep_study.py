"""Trials and their attempts. A trial whose process died or was stopped is repeated: it keeps its number, 0 to N - 1.

Optuna numbers attempts. An attempt that failed for a reason of its own has that `reason` among its attributes; one
without was cut off, is lost, and another attempt at the same trial waits in the study.

Where a sweep's trials are kept: an Optuna study in a journal file, in SQLite or in PostgreSQL.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, Literal

from mnist_trainer.config.load import differences
from mnist_trainer.config.sweep import Sweep
from mnist_trainer.errors import DataError, StorageError, UsageError
from mnist_trainer.files import truncate_torn_line

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import URL

Attempts = dict[int, list["FrozenTrial"]]
"""Number of a trial → its attempts, the first one first."""


def attempts_of(study: Study) -> Attempts:
    """All attempts, by trial. An attempt that repeats another says at which trial it is; the others are counted."""
    found: Attempts = {}
    count = 0
    for attempt in study.get_trials(deepcopy=False):
        index = attempt.user_attrs.get("trial")
        if index is None:
            index, count = count, count + 1
        found.setdefault(index, []).append(attempt)
    return found


def trial_index(study: Study, number: int) -> int:
    """The trial that attempt `number` is at."""
    return next(index for index, tries in attempts_of(study).items() if any(one.number == number for one in tries))


def was_cut_off(attempt: FrozenTrial) -> bool:
    """Whether it was cut off, so that it says nothing about its values."""
    return attempt.state.name == "FAIL" and "reason" not in attempt.user_attrs


def decisive_attempt(attempts: Sequence[FrozenTrial]) -> FrozenTrial:
    """The attempt that counts: the first one that came to its end, else the last."""
    return next((one for one in attempts if one.state.is_finished() and not was_cut_off(one)), attempts[-1])


def retry(study: Study, attempt: FrozenTrial, died: bool = True) -> None:
    """Makes the study try the same values again; `died` counts against them, see `deaths`."""
    attributes = {
        "trial": trial_index(study, attempt.number),
        "deaths": attempt.user_attrs.get("deaths", 0) + int(died),
    }
    study.enqueue_trial(attempt.params, user_attrs=attributes)


def retry_dead(study: Study, number: int) -> None:
    """The process of attempt `number` is dead: it is marked failed, and repeated."""
    from optuna.trial import TrialState

    attempt = study.get_trials(deepcopy=False)[number]
    if attempt.state == TrialState.RUNNING:
        study.tell(number, state=TrialState.FAIL)
        retry(study, attempt)


def requeue_abandoned(study: Study, trials: int, is_alone: bool) -> None:
    """Takes up what was left behind: the first `trials` trials of which every attempt is lost are tried again.

    If this process `is_alone` with the study, attempts that still seem to run are lost as well.
    """
    from optuna.trial import TrialState

    if is_alone:
        for attempt in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(attempt.number, state=TrialState.FAIL)
    for index, tries in attempts_of(study).items():
        if index < trials and all(map(was_cut_off, tries)):
            retry(study, tries[-1], died=False)


def startable(study: Study, trials: int) -> int:
    """How many trials can be begun: those that wait to be repeated, and those of `trials` that nobody began."""
    found = attempts_of(study)
    waiting = sum(tries[-1].state.name == "WAITING" for index, tries in found.items() if index < trials)
    return waiting + max(0, trials - len(found))


def running(study: Study, trials: int) -> int:
    """How many attempts at the first `trials` trials are under way, here or elsewhere."""
    found = [one for index, tries in attempts_of(study).items() if index < trials for one in tries]
    return sum(one.state.name == "RUNNING" for one in found)


BEAT_SECONDS, SILENT_SECONDS = 15, 60
"""How often a process says in a database that its trial runs, and after which silence it counts as dead."""

CONNECT_SECONDS = 10
_ELSEWHERE: Any = {"name": True, "device": True, "threads": True, "report": True, "data": {"root"}}
"""Of a config: what may differ from one machine to the next."""

_ATTEMPTS = 5


@dataclass(frozen=True)
class StudyStorage:
    """A study: its `name`, and the database (`url`) or the journal file that holds it."""

    name: str
    url: str | None
    journal: Path = Path()
    heartbeat_seconds: int = BEAT_SECONDS
    grace_seconds: int = SILENT_SECONDS

    def __str__(self) -> str:
        """Without the password."""
        if self.url is None:
            return str(self.journal)
        url = _parsed(self.url)
        return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def require_optuna() -> None:
    """Raises `UsageError` if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise UsageError("A sweep needs Optuna: pip install 'mnist-trainer[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it says is said here, in other words


def require_url(url: str) -> None:
    """Raises `UsageError` if `url` is none of a database that can hold a study."""
    from sqlalchemy.exc import ArgumentError

    try:
        kind = _parsed(url).get_backend_name()
    except (ArgumentError, ValueError):
        kind = ""
    if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and _parsed(url).database in (None, "", ":memory:")):
        raise UsageError("--storage takes sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.")


def _parsed(url: str) -> URL:
    from sqlalchemy import make_url

    made = make_url(url)
    if made.get_backend_name() in ("postgres", "postgresql"):  # whatever driver is named: psycopg is what we install
        made = made.set(drivername="postgresql+psycopg")
    if password := made.query.get("password"):  # as libpq also takes it; here it is hidden when shown
        made = made.difference_update_query(["password"]).set(password=str(password))
    return made


@lru_cache(maxsize=1)
def open_study(place: StudyStorage, objective: str) -> Study:
    """The study, made if it is not there; once a process. Raises `StorageError`."""
    import optuna

    require_optuna()
    direction: Literal["minimize", "maximize"] = "minimize" if objective == "val_loss" else "maximize"
    with storage_errors(place):
        storage = _storage(place)
        with suppress(KeyError):  # loading alone writes nothing
            return optuna.load_study(study_name=place.name, storage=storage)
        return optuna.create_study(study_name=place.name, storage=storage, direction=direction, load_if_exists=True)


def join_study(place: StudyStorage, sweep: Sweep, images: str, closing: ExitStack) -> Study:
    """The study, open until `closing` ends. Raises `StorageError`, and `UsageError` if it is not about `sweep`."""
    with storage_errors(place):
        study = open_study(place, sweep.objective)
        closing.callback(close_study, study)
        check_definition(study, sweep, place, images)
    return study


def close_study(study: Study) -> None:
    """Ends the connections to its database."""
    open_study.cache_clear()
    storage: Any = study._storage
    engine = getattr(getattr(storage, "_backend", None), "engine", None)
    storage.remove_session()
    if engine is not None:
        engine.dispose()


def _storage(place: StudyStorage) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if place.url is None:
        path = str(place.journal)
        return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    url = _parsed(place.url)
    waiting = {"connect_timeout": CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {"timeout": 60}
    for attempt in range(_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of heartbeats, which Optuna calls experimental
                return RDBStorage(
                    url.render_as_string(hide_password=False),
                    engine_kwargs={"connect_args": waiting, "pool_pre_ping": True},
                    heartbeat_interval=place.heartbeat_seconds,
                    grace_period=place.grace_seconds,
                    heartbeat_stale_trial_callback=retry,
                )
        except (IntegrityError, ProgrammingError):  # another process made the same tables at the same moment
            if attempt == _ATTEMPTS - 1:
                raise
            sleep(0.5)
    raise AssertionError("unreachable")


def repair_journal(place: StudyStorage) -> None:
    """Drops from a journal, to which nobody else may be writing, a last line that a full disk or a power cut tore.

    Raises `StorageError` if another line is damaged.
    """
    path = place.journal
    if place.url is not None or not path.exists():
        return
    truncate_torn_line(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not _is_record(line):
                raise StorageError(
                    f"{path}: the journal is damaged at its line {number}. Take this line and all after it out, to go "
                    "on with the trials before it, or choose another --run-dir."
                )


def _is_record(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


@contextmanager
def storage_errors(place: StudyStorage) -> Iterator[None]:
    """Turns what a database or a file system says into a `StorageError` without passwords."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, OSError, json.JSONDecodeError) as error:  # the last of a journal
        origin = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        reason = str(origin).partition("\n\tIs the server running")[0]
        if place.url is not None and (password := _parsed(place.url).password):
            reason = reason.replace(str(password), "***")
        advice = "Is there room, and may the file be written?"
        if place.url is not None and _parsed(place.url).get_backend_name() == "postgresql":
            advice = "Is the server running, and are host, port, user, password and database right?"
        reason = " ".join(reason.split()).rstrip(".")
        raise StorageError(f"{place}: the study can't be read or written: {reason}. {advice}") from None


def check_definition(study: Study, sweep: Sweep, place: StudyStorage, images: str) -> None:
    """Notes in a new study what it is about. Raises `UsageError` if it is about something else than `sweep`."""
    ours = definition(sweep)
    theirs = study.user_attrs.get("definition")
    if theirs is None:
        study.set_user_attr("images", images)
        study.set_user_attr("definition", ours)
        return
    if found := list(differences(theirs, ours)):
        raise UsageError(
            f"{place} holds a study of the name '{place.name}' that is about something else: "
            f"{'; '.join(map(str, found))}. Go on with the same, or give the sweep another name and folder."
        )
    if study.user_attrs.get("images", images) != images:  # an earlier version wrote no fingerprint
        raise DataError(
            f"The images have changed since the study '{place.name}' in {place} was begun, so its trials could not be "
            "compared. Put them back as they were, or give the sweep another name and folder."
        )


def definition(sweep: Sweep) -> dict[str, Any]:
    """What trials must share to be compared: all but where they run and how they are called."""
    base = sweep.config({}).model_dump(mode="json", exclude=_ELSEWHERE)
    space = {key: parameter.model_dump(mode="json") for key, parameter in sweep.space.items()}
    settings = sweep.settings.model_dump(mode="json", include={"objective", "sampler", "pruner", "seed"})
    defined: dict[str, Any] = json.loads(json.dumps({**settings, "base": base, "space": space}))
    return defined
