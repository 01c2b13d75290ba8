"""The console scripts, with all process settings that save time; see docs/decisions.md."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from mnist_trainer.errors import escape_controls

USAGE = """\
python -m mnist_trainer train     train a model, or list the configs
python -m mnist_trainer eval      evaluate a trained model
python -m mnist_trainer predict   read digits from pictures
python -m mnist_trainer runs      list runs
python -m mnist_trainer sweep     search for the best config
python -m mnist_trainer lab       run the experiments of the lecture
python -m mnist_trainer export    write a model for other programs
python -m mnist_trainer serve     serve a web page to draw digits and watch training

For example: python -m mnist_trainer train quickstart
Each command has --help. They are installed as mnist-train, mnist-eval, … as well."""

COMMANDS = ("train", "eval", "predict", "runs", "sweep", "lab", "export", "serve")

SPIN_COUNT = "3000"
"""Number of iterations (some dozens of microseconds) of an idle OpenMP thread's busy loop; GNU OpenMP's default is
300,000.

Gain: `fast` takes a fraction of the time while another program is busy. Smaller values make all operations slower. If
torch is built without GNU OpenMP, only this gain is lost.
"""

MALLOC_OPTIONS = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**25), "MALLOC_TRIM_THRESHOLD_": (-1, 2**28)}
"""glibc's variables, with the parameter numbers and bytes of `mallopt`: blocks of up to 32 MiB are allocated
from freed memory, and up to 256 MiB of it are not returned to the system.

Gain: the epoch of `fast` takes 1.7 s instead of 2.7 s, because the memory of a batch is reused. If glibc changes the
numbers, or with another libc, only this gain is lost.
"""


class CompilerPlaceholder(ModuleType):
    """Replaces `torch._dynamo`, which optimizers import at their first step only to mark code as not compiled.

    Gain: 0.9 s of CPU time, nearly as much as `import torch` takes. Access to any other attribute loads the real
    module. If a later torch uses more attributes, only this gain is lost.
    """

    def graph_break(self, *arguments: object, **options: object) -> None:
        """Do nothing, since no graph is compiled."""

    def disable(self, fn: Callable[..., Any], *arguments: object, **options: object) -> Callable[..., Any]:
        """Return `fn`, since it is not compiled anyway."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # accessed by code that inspects all modules
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def leave_compiler_out() -> None:
    """Put the placeholder into `sys.modules`, unless the real module is already imported."""
    sys.modules.setdefault("torch._dynamo", CompilerPlaceholder("torch._dynamo"))


def main() -> None:
    """Run `python -m mnist_trainer train …`; without a command, print the list of commands."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name == "--version":
        name, arguments = "train", [name]
    if name in COMMANDS:
        sys.argv = [f"mnist-{name}", *arguments]
        _run_command(name)
    is_asked = name in ("", "-h", "--help")
    if not is_asked:
        print(f"There is no command {escape_controls(name)}.", file=sys.stderr)
    print(USAGE, file=sys.stdout if is_asked else sys.stderr)
    raise SystemExit(0 if is_asked else 2)


def _set_malloc_options() -> None:
    """Set `MALLOC_OPTIONS` for this process and its children, except variables that the user has set."""
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(AttributeError):  # a C library without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for variable, (parameter, size) in MALLOC_OPTIONS.items():
            if variable not in os.environ:
                os.environ[variable] = str(size)
                mallopt(parameter, size)


def _expand_user(word: str) -> str:
    """Return `word` with `~` at the beginning of a path expanded, also in `--run-dir=~/x`, as not every shell does."""
    option, equals, value = word.partition("=")
    is_option = bool(equals) and option.startswith("--")
    path = os.path.expanduser(value if is_option else word)  # noqa: PTH111 - as a shell does
    return f"{option}={path}" if is_option else path


def _run_command(name: str) -> None:
    """Run a command and end the process with its exit code.

    `os._exit` skips the teardown of torch. Gain: a quarter of the time of `import torch`. Before it, `atexit`
    functions are called and streams are flushed. A library that needs more at exit (threads to join) would be cut off.
    """
    sys.argv[1:] = map(_expand_user, sys.argv[1:])
    if name in ("train", "sweep", "lab"):
        _set_malloc_options()
        leave_compiler_out()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    if "RANK" in os.environ:  # one of several processes
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it has met the others there is nothing to save
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # without a trace of each lost connection
    os.environ["MPLBACKEND"] = "agg"  # the backend that Jupyter sets for child processes may not be installed
    code: object = 0
    try:
        from mnist_trainer.cli.options import run_app

        run_app(name)
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):  # after the functions, which may print
        with suppress(OSError, ValueError):  # the reader of a pipe may have exited
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


# A spawned worker of a series or a sweep imports this file from `__mp_main__`; elsewhere that is `__main__` itself.
if sys.modules.get("__mp_main__") not in (None, sys.modules["__main__"]):
    leave_compiler_out()

train, evaluate, predict, runs, sweep, lab, export, serve = (partial(_run_command, name) for name in COMMANDS)
