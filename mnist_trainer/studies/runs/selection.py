"""Which runs of a list are meant, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from mnist_trainer.config.document import Place, printable
from mnist_trainer.config.outline import field_at
from mnist_trainer.config.wording import nearest
from mnist_trainer.config.yaml_reader import read_text
from mnist_trainer.errors import UsageError
from mnist_trainer.studies.runs.summary import RunSummary

_NO_COLUMNS = ("path", "loss", "problems", "made_with", "config", "rows")

SORT_KEYS = {
    "folder": "folder",
    **{field.name: field.name for field in fields(RunSummary) if field.name not in _NO_COLUMNS},
    "time": "started_at",
    "best": "best_epoch",
    "val_acc": "val_accuracy",
    "test_acc": "test_accuracy",
    "interval": "test_interval",
}
"""What runs are sorted and filtered by besides their config's keys, and the attribute of `RunSummary` it stands for."""

LOSSES = ("val_loss", "test_loss")
ACCURACIES = ("val_accuracy", "test_accuracy", "test_interval")
BY_VALIDATION = {"test_loss": "val_loss", "test_accuracy": "val_accuracy", "test_interval": "val_accuracy"}
"""How runs that were not tested are ordered instead."""


def value_of(run: RunSummary, key: str) -> Any:
    """A column, or a key of the config: `optimizer.lr`; of a section that has a name its name: `optimizer`."""
    if key in SORT_KEYS:
        return getattr(run, SORT_KEYS[key])
    value: Any = run.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.get("name") if isinstance(value, Mapping) else value


def filtered(runs: Sequence[RunSummary], conditions: Sequence[str]) -> list[RunSummary]:
    """The runs that fulfil every `key=value`; of a text its first word suffices, and `*` stands for anything.

    Raises `UsageError` for what is no condition or asks for a key that there is not.
    """
    tests = [_condition(runs, text) for text in conditions]
    return [run for run in runs if all(test(run) for test in tests)]


def ordered(runs: Sequence[RunSummary], key: str | None, reverse: bool = False) -> list[RunSummary]:
    """The runs by rising `key`, or falling; those without a value are last; among these, runs that were not tested
    are in the order of their validation. Without a key the order stays.

    Raises `UsageError` for an unknown key.
    """
    if key is None:
        return list(reversed(runs) if reverse else runs)
    _check_key(runs, key)
    known = [run for run in runs if value_of(run, key) is not None]
    unknown = [run for run in runs if value_of(run, key) is None]
    if instead := BY_VALIDATION.get(SORT_KEYS.get(key, "")):
        unknown = ordered(unknown, instead, reverse)
    return sorted(known, key=lambda run: _rank(value_of(run, key)), reverse=reverse) + unknown


def is_mixed(runs: Sequence[RunSummary], key: str | None) -> bool:
    """Whether `key` is a loss or an accuracy that is not the same quantity in all `runs`."""
    column = SORT_KEYS.get(key or "")
    known = [run for run in runs if value_of(run, key or "") is not None]
    if column in LOSSES:
        return len({(run.loss, run.task) for run in known}) > 1
    return column in ACCURACIES and len({run.task for run in known}) > 1


def _condition(runs: Sequence[RunSummary], text: str) -> Callable[[RunSummary], bool]:
    key, equals, written = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--filter {printable(text)}: write KEY=VALUE, as in optimizer.name=adam or status=finished.")
    _check_key(runs, key)
    read = read_text(written, Place(override=1))
    wanted = written if read.complaints else read.data

    def matches(run: RunSummary) -> bool:
        value = value_of(run, key)
        if isinstance(value, str):
            return fnmatchcase(value, written) or value.startswith(f"{written} ")
        return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)

    return matches


def _check_key(runs: Sequence[RunSummary], key: str) -> None:
    if key in SORT_KEYS or (key and field_at(tuple(key.split("."))) is not None):
        return
    near = nearest(key, {*SORT_KEYS, *(name for run in runs for name in _keys(run.config))})
    hint = f"Did you mean {near}?" if near else "A column is test_acc, as the table's heads say; a key is optimizer.lr."
    raise UsageError(f"{printable(key)} is neither a column nor a key of a config. {hint}")


def _keys(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers before text: a key may hold either, `auto` or 3."""
    match value:
        case datetime():
            return (0, value.timestamp())
        case int() | float():
            return (0, value)
        case (float(low), _):
            return (0, low)
        case _:
            return (1, str(value))
