"""The console scripts. Each says how threads wait and memory is kept, runs its command, and then the process ends.

Python would take torch down piece by piece, which takes a quarter of the time that loading it takes.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from importlib import import_module

from mnist_trainer.errors import escape_controls

USAGE = """\
python -m mnist_trainer train     train a model, or list the configs
python -m mnist_trainer eval      measure a trained model
python -m mnist_trainer predict   read digits from pictures
python -m mnist_trainer runs      list runs
python -m mnist_trainer sweep     search for the best config

For example: python -m mnist_trainer train quickstart
Each command has --help. They are installed as mnist-train, mnist-eval, … as well."""

SPIN_COUNT = "3000"
"""How many turns of a loop, some dozens of microseconds, a thread that has done its part waits awake for the others.

OpenMP's own 300,000 keep a core busy that the others need where another program wants it too: `fast` then takes
several times as long. With few turns threads sleep between all operations, which costs more than it saves.
"""

MALLOC_OPTIONS = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**25), "MALLOC_TRIM_THRESHOLD_": (-1, 2**28)}
"""glibc's variables, with the parameters and the bytes that `mallopt` takes for them: pieces of up to 32 MiB come from
the memory that was freed, and up to 256 MiB of that are kept.

Else what a batch's tensors held is given back to the system and asked for again, page by page. The epoch of
`fast` takes 1.7 s instead of 2.7 (`python -m mnist_trainer.cli.mnist_train --config fast`, with these variables and
without).
"""


def train() -> None:
    """`mnist-train`."""
    _set_malloc_options()
    _run_command("train")


def evaluate() -> None:
    """`mnist-eval`."""
    _run_command("eval")


def predict() -> None:
    """`mnist-predict`."""
    _run_command("predict")


def runs() -> None:
    """`mnist-runs`."""
    _run_command("runs")


def sweep() -> None:
    """`mnist-sweep`."""
    _set_malloc_options()
    _run_command("sweep")


COMMANDS = {"train": train, "eval": evaluate, "predict": predict, "runs": runs, "sweep": sweep}


def main() -> None:
    """Run `python -m mnist_trainer train …`; without a command, print which there are."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name == "--version":
        name, arguments = "train", [name]
    if name in COMMANDS:
        sys.argv = [f"mnist-{name}", *arguments]
        COMMANDS[name]()
    is_asked = name in ("", "-h", "--help")
    if not is_asked:
        print(f"There is no command {escape_controls(name)}.", file=sys.stderr)
    print(USAGE, file=sys.stdout if is_asked else sys.stderr)
    raise SystemExit(0 if is_asked else 2)


def _set_malloc_options() -> None:
    """For this process and those that it starts, unless the user has said so in another way."""
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(AttributeError):  # there are other C libraries than glibc
        mallopt = ctypes.CDLL(None).mallopt
        for variable, (parameter, size) in MALLOC_OPTIONS.items():
            if variable not in os.environ:
                os.environ[variable] = str(size)
                mallopt(parameter, size)


def _expand_user(word: str) -> str:
    """Expand a `~` at the beginning of a path, also in `--run-dir=~/x`, which not every shell does."""
    option, equals, value = word.partition("=")
    is_option = bool(equals) and option.startswith("--")
    path = os.path.expanduser(value if is_option else word)  # noqa: PTH111 - as a shell does
    return f"{option}={path}" if is_option else path


def _run_command(name: str) -> None:
    sys.argv[1:] = map(_expand_user, sys.argv[1:])
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # OpenMP reads it when torch is loaded
    try:
        import_module(f"mnist_trainer.cli.mnist_{name}").main()
    except SystemExit as ended:
        code = ended.code
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody need listen to the end
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
