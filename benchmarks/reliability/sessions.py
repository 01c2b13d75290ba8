"""Run sessions of `mnist-train` that are killed, or get an error, at a chosen system call or time.

`python sessions.py` imports the package once, then forks a process for each session. It reads lists of requests from
stdin, a line of JSON each, and writes a line of JSON with their ends to stdout; `zygote.py` is the client. A request
has `argv`, `cwd`, and one of these events:

- `at`: the number of a system call, from 1 (among those named in `only`, else among all). The call fails with the errno
  `error`; or the disk becomes full except for `leave` bytes; or files cannot grow beyond `limit` bytes; else SIGKILL.
- `after`: SIGKILL after this number of seconds, from the start or from the beginning of the phase `since`; or another
  `signal`, and SIGKILL after two more minutes.

`environment` has variables that are set before.

Counted calls: opening for writing, the first write to each file, fsync, replace, mkdir, unlink.
"""

from __future__ import annotations

import builtins
import gc
import io
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

MARKED = {
    "mnist_trainer.pipeline.train": {
        "prepare_training": "start-up",
        "fit": "epochs",
        "conclude": "evaluation",
    },
    "mnist_trainer.reports.run_plots": {"draw_training": "pictures"},
}
"""The functions, by module, whose first call begins a phase of a training."""

IMPORTED = (
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "mnist_trainer.cli.mnist_train",
    "mnist_trainer.pipeline.train",
    "mnist_trainer.reports.console",
    "mnist_trainer.studies.seed_series",
    "torch._dynamo",
)
"""Modules that are imported once, before the forks, because they take seconds."""


class Calls:
    """Counts system calls, reports each, and causes the event of the request."""

    def __init__(self, report: Callable[[str], None], request: dict[str, Any]) -> None:
        self.report, self.request, self.count = report, request, 0

    def count_call(self, name: str, place: object, half: Callable[[], object] | None = None) -> None:
        """Count a call. At the chosen one, do `half` of it, then cause the event."""
        self.count += name in self.request.get("only", [name])
        self.report(f"{name} {os.path.basename(str(place))}")  # noqa: PTH119 - bytes and descriptors as well
        if name not in self.request.get("only", [name]) or self.count != self.request.get("at"):
            return
        match self.request:
            case {"leave": leave}:
                fill_disk("filler", leave)
            case {"limit": limit}:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            case {"error": error}:
                if half is not None:
                    half()
                raise OSError(error, os.strerror(error), str(place))
            case _:
                if half is not None:
                    half()
                os.kill(os.getpid(), signal.SIGKILL)

    def count_all(self) -> None:
        """Replace the functions of this process by counting ones."""
        for name in ("fsync", "replace", "mkdir", "unlink", "open"):
            setattr(os, name, partial(self._counted, name, getattr(os, name)))
        plain = io.open
        builtins.open = io.open = partial(self._open, plain)  # type: ignore[assignment]

    def _counted(self, name: str, call: Callable[..., Any], place: Any, *rest: Any, **options: Any) -> Any:
        if str(place) != os.devnull:
            self.count_call(name, _name(place))
        return call(place, *rest, **options)

    def _open(self, plain: Callable[..., Any], file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        is_written = set(mode) & set("wax+") and "b" in mode
        if not is_written or isinstance(file, int) or str(file) == os.devnull:
            return plain(file, mode, *rest, **options)
        opener = options.get("opener")
        if opener is None:  # an opener calls os.open, which is counted
            self.count_call("open", file)
        raw = _Counted(self, file, mode, opener=opener)
        if options.get("buffering") == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)


class _Counted(io.FileIO):
    """A file whose first write is counted."""

    def __init__(self, calls: Calls, file: Any, mode: str, opener: Any) -> None:
        super().__init__(file, mode.replace("b", ""), opener=opener)
        self.calls, self.is_new = calls, True

    def write(self, content: Any) -> int:
        if self.is_new:
            self.is_new = False
            part = memoryview(content).cast("B")
            self.calls.count_call("write", self.name, lambda: super(_Counted, self).write(part[: len(part) // 2]))
        return super().write(content)


def fill_disk(path: str, leave: int) -> None:
    """Fill the disk with a file `path`, except for `leave` bytes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    size = 0
    with suppress(OSError):
        while True:
            size += os.write(descriptor, bytes(4096))
    os.ftruncate(descriptor, max(0, size - leave))
    os.close(descriptor)


def _name(place: Any) -> Any:
    """Return the path of a file that may be given as a descriptor."""
    return Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place


def mark_phases(report: Callable[[str], None]) -> None:
    """Report the beginning of each phase of a training."""

    def marked(phase: str, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        report(f"phase {phase}")
        return function(*arguments, **options)

    for module, functions in MARKED.items():
        for name, phase in functions.items():
            setattr(sys.modules[module], name, partial(marked, phase, getattr(sys.modules[module], name)))


def run_session(request: dict[str, Any], trace: int) -> int:
    """Run `mnist-train` in this process and return its exit code. Its events are written to the descriptor `trace`."""
    from mnist_trainer.cli.options import run_app

    began = monotonic()

    def report(what: str) -> None:
        os.write(trace, f"{monotonic() - began:.4f} {what}\n".encode())

    os.chdir(request["cwd"])
    os.environ.update(request.get("environment", {}))
    sys.argv = ["mnist-train", *request["argv"]]
    mark_phases(report)
    Calls(report, request).count_all()
    try:
        run_app("train")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


class Session:
    """A forked process that runs a request."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        pipes = {name: os.pipe() for name in ("out", "err", "trace")}
        self.readers = {reader: name for name, (reader, _) in pipes.items()}
        self.child = os.fork()
        if not self.child:
            self._be_child(*(writer for _, writer in pipes.values()))
        for _, writer in pipes.values():
            os.close(writer)

    def _be_child(self, out: int, err: int, trace: int) -> None:
        code = 70
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            code = run_session(self.request, trace)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def end(self) -> dict[str, Any]:
        """Wait for its end. Return `code` (negative: the signal), `out`, `err`, and the `trace` of events."""
        output = self._listen()
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        return {"code": code, "out": output["out"], "err": output["err"], "trace": output["trace"].splitlines()}

    def _listen(self) -> dict[str, str]:
        """Read all output of the child, and kill it after `after` seconds."""
        after, since = self.request.get("after"), f"phase {self.request.get('since', '')}".encode()
        end = None if after is None or "since" in self.request else monotonic() + after
        output = dict.fromkeys(self.readers.values(), b"")
        while self.readers:
            if after is not None and end is None and since in output["trace"]:
                end = monotonic() + after
            ready = select.select(list(self.readers), [], [], None if end is None else max(0.0, end - monotonic()))[0]
            if not ready:
                number = self.request.pop("signal", signal.SIGKILL)
                os.kill(self.child, number)
                after = None
                end = None if number == signal.SIGKILL else monotonic() + 120
            for reader in ready:
                piece = os.read(reader, 65536)
                output[self.readers[reader]] += piece
                if not piece:
                    del self.readers[reader]
                    os.close(reader)
        return {name: text.decode() for name, text in output.items()}


def warm_up() -> None:
    """Let matplotlib find its fonts. torch must not compute here: its threads do not survive a fork."""
    from mnist_trainer.reports.curves import TrainingSummary, curves

    curves([{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "lr": 1.0}], TrainingSummary(1), "warm")


def main() -> None:
    for module in IMPORTED:
        import_module(module)
    warm_up()
    gc.freeze()  # pages that the garbage collector does not write to stay shared
    for line in sys.stdin:
        sessions = [Session(request) for request in json.loads(line)]
        with ThreadPoolExecutor(len(sessions)) as pool:  # each may have to be killed while the others run
            print(json.dumps(list(pool.map(Session.end, sessions))), flush=True)
    os._exit(0)  # some modules print errors at a normal exit after forks


if __name__ == "__main__":
    main()
