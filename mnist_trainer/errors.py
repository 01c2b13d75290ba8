"""The errors that a user can meet, and the exit code of each.

    TrainerError                1  a bug (also any exception that is not in this tree)
    ├── UsageError              2  a wrong command line
    │   └── ConfigError         2  one or more problems in a config, each with its location
    ├── DataError               3  a data set or a picture that is missing or damaged
    ├── CheckpointError         4  a file that is not a checkpoint, or one that does not fit
    ├── DeviceError             5  a device or process that is missing or fails, or not enough memory
    ├── DivergedError           6  a loss, gradient or weight is not finite
    ├── StorageError            7  disk full, no permission, folder in use
    └── InterruptedRunError   130  stopped by Ctrl-C; the state is saved (143: by another signal)

A message says what happened, where, and how to fix it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import list2cmdline
from unicodedata import category

MAX_SHOWN = 30
"""Maximum number of problems of a config that are printed."""


def escape_controls(text: str) -> str:
    """Return `text` with control characters escaped for a terminal, as `\\x1b`; line feeds stay."""
    return "".join(char if _is_harmless(char) else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str, limit: int = 40) -> str:
    """Return `text` for one line of a message: control characters are escaped, long text is cut."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char == "\n" or category(char) == "Zs"  # macOS puts narrow spaces in screenshot names


def shell_quote(*words: object) -> str:
    """Return `words` quoted for the shell of this system: `runs/one`, `'my runs/one'`."""
    texts = list(map(str, words))
    return list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


class TrainerError(Exception):
    """Base class of the errors of this package; `exit_code` is the exit code of a command that raises it."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the text with control characters escaped: it may quote names from other people."""
        return escape_controls(super().__str__())


class UsageError(TrainerError):
    """A command or a call asks for something impossible."""

    exit_code = 2


@dataclass(frozen=True)
class ConfigProblem:
    """A problem in a config: its `location` (`file:line:column` or `override 2`), the key's `path`, the `message`."""

    location: str
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.location}  " if self.location else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(UsageError):
    """All problems of a config, one line each."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if more := len(self.problems) - len(lines):
            lines.append(f"There are {more:,} more; fix these first.")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the problems, not the text."""
        return type(self), (self.problems,), self.__dict__


class DataError(TrainerError):
    """A data set or a picture is missing, damaged or not what it claims to be."""

    exit_code = 3


class CheckpointError(TrainerError):
    """A file is not a checkpoint of this package, is damaged, or does not fit."""

    exit_code = 4


class DeviceError(TrainerError):
    """A device or another process of the training does not exist, can't be used, fails, or has too little memory."""

    exit_code = 5
    is_cut_off = False
    """Whether this process can't reach the others, so that it prints the error itself."""


class DivergedError(TrainerError):
    """A loss or gradient became infinite or NaN. No step was taken with it, and the best epoch is kept.

    `event` describes what happened and when. `step` is the step in the epoch, from 1, or None.
    """

    exit_code = 6

    def __init__(self, message: str, event: str = "", step: int | None = None) -> None:
        super().__init__(message)
        self.event, self.step = event, step


class StorageError(TrainerError):
    """A folder can't be written: the disk is full, there is no permission, a file is in its place, or it is in use."""

    exit_code = 7


class InterruptedRunError(TrainerError):
    """The run was stopped by a signal after a complete step; its state is saved."""

    exit_code = 130
    terminated_exit_code = 143
    """The exit code of a command that was stopped by another signal than SIGINT."""


def short_reason(error: Exception) -> str:
    """Return the first two lines of an error's text, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(" ".join(lines[:2]) or type(error).__name__, 300)
