"""Every error a user can cause or meet, and the exit code each one ends a command with.

    TrainerError                1  a bug of our own (also any exception that is not in this tree)
    ├── UsageError              2  a wrong command line
    │   └── ConfigError         2  one or more problems in a config, each with its place
    ├── DataError               3  a data set or a picture that is missing, damaged or not one
    ├── CheckpointError         4  a file that is no checkpoint, or one that does not fit
    ├── DeviceError             5  a device that is not there or fails, or not enough memory
    ├── DivergedError           6  a loss, gradient or weight is no longer a finite number
    ├── StorageError            7  disk full, no rights, folder in use
    └── InterruptedRunError   130  stopped by Ctrl-C; what was trained is saved (143: by SIGTERM or SIGHUP)

Messages are written for the person in front of the terminal: what happened, where, and how to mend it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import list2cmdline
from unicodedata import category

MAX_SHOWN = 30
"""Problems of one config that are written out; who has more begins with these."""


def escape_controls(text: str) -> str:
    """`text` for a terminal: what would command or deceive it is escaped, as `\\x1b`; line feeds are left."""
    return "".join(char if _is_harmless(char) else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str, limit: int = 40) -> str:
    """Return `text` for one line of a message: control characters are escaped, long text is cut."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char == "\n" or category(char) == "Zs"  # macOS names screenshots with narrow spaces


def shell_quote(*words: object) -> str:
    """Return `words` quoted for the shell of this system: `runs/one`, `'my runs/one'`."""
    texts = list(map(str, words))
    return list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


class TrainerError(Exception):
    """Base of every error raised on purpose; `exit_code` is what a command ends with."""

    exit_code = 1

    def __str__(self) -> str:
        """The text, with names from strangers that are in it made harmless."""
        return escape_controls(super().__str__())


class UsageError(TrainerError):
    """A command or a call that asks for something that cannot be."""

    exit_code = 2


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake in a config: `location` (`file:line:column` or `override 2`), the key's `path`, the `message`."""

    location: str
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.location}  " if self.location else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(UsageError):
    """All problems of one config at once; the text has one line for each."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if more := len(self.problems) - len(lines):
            lines.append(f"There are {more:,} more; mend these first.")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """How it is pickled: made again from its problems, and not from its text."""
        return type(self), (self.problems,), self.__dict__


class DataError(TrainerError):
    """A data set or a picture that is missing, damaged or not what it claims to be."""

    exit_code = 3


class CheckpointError(TrainerError):
    """A file that is no checkpoint of ours, is damaged, or does not fit what is asked of it."""

    exit_code = 4


class DeviceError(TrainerError):
    """A device that does not exist here, can't be used, fails at its work, or whose memory is too small."""

    exit_code = 5


class DivergedError(TrainerError):
    """A loss or gradient became infinite or not a number; no step is taken along it, and the best epoch is kept.

    `event` says what and when; `step` is the epoch's step, from 1, if it was one.
    """

    exit_code = 6

    def __init__(self, message: str, event: str = "", step: int | None = None) -> None:
        super().__init__(message)
        self.event, self.step = event, step


class StorageError(TrainerError):
    """A folder that cannot be written: full, no rights, a file in its place, already in use."""

    exit_code = 7


class InterruptedRunError(TrainerError):
    """Stopped by a signal after a complete step; the state is saved."""

    exit_code = 130
    terminated_exit_code = 143
    """What a command ends with that was stopped by another signal than Ctrl-C's."""
