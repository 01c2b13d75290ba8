"""Fuzzing: give thousands of damaged files to the program, each as a command would read it, many in one process.

A file passes if it is read, or if reading it raises an error of the package with an exit code that is documented for
its kind and a printable message. Another exception, a warning, more than 10 s, or 1 GB more memory is a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from reliability.kinds import KINDS, Kind

SECONDS = 10
MEGABYTES = 1000
SILENCE_SECONDS = 60
"""A process that prints nothing for so long is killed: it hangs in code that no signal interrupts."""


@dataclass(frozen=True)
class RunResult:
    """The outcome of mutation `number` of `kind`: exit code, message, and the fault, if there is one."""

    kind: str
    number: int
    code: int
    text: str
    seconds: float
    fault: str = ""


class _HangError(BaseException):
    pass


def run_case(kind: Kind, path: Path, name: str = "", number: int = 0) -> RunResult:
    """Read the file at `path` as its kind does, with limits of time and memory."""
    began, before = time.perf_counter(), peak_memory()
    code, text, fault = 0, "", ""
    try:
        with warnings.catch_warnings(record=True) as caught, _alarm():
            warnings.simplefilter("always")
            try:
                text = "\n".join(kind.feed(path))
            except Exception as error:
                code, text = getattr(error, "exit_code", 1), str(error)
                if code not in kind.codes:
                    fault = f"{type(error).__name__}, exit code {code}"
        if caught and not fault:
            fault = f"warns: {caught[0].message}"
    except _HangError:
        fault = f"takes longer than {SECONDS} s"
    taken = peak_memory() - before
    if taken > MEGABYTES:
        fault = fault or f"takes {taken:.0f} MB"
    fault = fault or _text_fault(text, is_error=code != 0)
    return RunResult(name, number, code, text[:2000], time.perf_counter() - began, fault)


def _text_fault(text: str, is_error: bool) -> str:
    """Return what is wrong with a message, or an empty text."""
    odd = [char for char in text if not char.isprintable() and char != "\n"]
    if odd:
        return f"prints {odd[0]!r}"
    if is_error and ("\n\n" in text or not text.strip() or "Traceback" in text or len(text) > 20_000):
        return "is no paragraph"
    return ""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise _HangError

    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def peak_memory() -> float:
    """Return the peak memory of this process in MB, or 0 on a system without `resource`."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1000)


def _limit_memory() -> None:
    """Limit the address space to 4 GB more than now, so that a fault cannot fill the memory of the machine."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 4 * 10**9
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def work(names: list[str], numbers: range, begin: int, folder: Path) -> None:
    """Print the index and the outcome of each mutation as lines of JSON, from index `begin` on, in a child process."""
    kinds = {name: KINDS[name](folder) for name in names}
    for kind in kinds.values():  # imports and caches do not count
        with suppress(Exception):
            case = kind.case(Random("first"))
            (folder / case.file).write_bytes(case.content)
            kind.feed(folder / case.file)
    _limit_memory()
    for place, (name, number) in enumerate(_plan(names, numbers)[begin:], begin):
        print(json.dumps(place), flush=True)
        case = kinds[name].case(Random(f"{name} {number}"))
        path = folder / case.file
        path.write_bytes(case.content)
        print(json.dumps(asdict(run_case(kinds[name], path, name, number))), flush=True)


def _plan(names: list[str], numbers: range) -> list[tuple[str, int]]:
    return [(name, number) for name in names for number in numbers]


def run(names: list[str], numbers: range) -> Iterator[RunResult]:
    """Yield the outcomes of these mutations of each kind. They run in a child process; if it dies, in another one."""
    plan, begin = _plan(names, numbers), 0
    while begin < len(plan):
        with tempfile.TemporaryDirectory() as folder:
            place = None
            arguments = [",".join(names), str(numbers.start), str(numbers.stop), str(begin), folder]
            command = [sys.executable, "-m", "reliability.fuzz", "--work", *arguments]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as child:
                for line in _lines(child):
                    caught = json.loads(line)
                    if isinstance(caught, int):
                        place = caught
                    else:
                        yield RunResult(**caught)
                        begin += 1
        if begin < len(plan):
            assert place == begin, f"the process ended ({child.returncode}) before the first file"
            yield RunResult(*plan[begin], 1, "", 0.0, f"ends the process ({child.returncode})")
            begin += 1


def _environment() -> dict[str, str]:
    here = Path(__file__).parents[1]
    paths = [str(here), *filter(None, [os.environ.get("PYTHONPATH")]), str(here.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines that the child prints. It is killed if it prints nothing for too long."""
    from threading import Timer

    assert child.stdout is not None
    while True:
        timer = Timer(SILENCE_SECONDS, child.kill)
        timer.start()
        line = child.stdout.readline()
        timer.cancel()
        if not line:
            return
        yield line


def table(outcomes: list[RunResult]) -> Iterator[str]:
    """Yield lines of Markdown: the number of outcomes of each kind, and every fault."""
    yield "| kind | mutations | work | exit code | slowest | faults |"
    yield "|---|---|---|---|---|---|"
    for name in dict.fromkeys(outcome.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.kind == name]
        codes = Counter(outcome.code for outcome in own)
        caught = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()) if code)
        slowest, faults = max(outcome.seconds for outcome in own), sum(bool(outcome.fault) for outcome in own)
        yield f"| {name} | {len(own):,} | {codes[0]:,} | {caught} | {slowest:.1f} s | {faults} |"
    for outcome in outcomes:
        if outcome.fault:
            yield f"- {outcome.kind} {outcome.number}: {outcome.fault}: {outcome.text[:300]!r}"


def main(arguments: list[str]) -> None:
    """Print the table of outcomes. Exits with 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="reliability.py fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="mutations of each kind (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation (%(default)s)")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="this kind; may be repeated")
    parser.add_argument("--keep", nargs=3, metavar=("KIND", "NUMBER", "FILE"), help="write one mutation to a file")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.work:
        names, first, stop, begin, folder = asked.work
        work(names.split(","), range(int(first), int(stop)), int(begin), Path(folder))
    elif asked.keep:
        name, number, file = asked.keep
        with tempfile.TemporaryDirectory() as folder:
            Path(file).write_bytes(KINDS[name](Path(folder)).case(Random(f"{name} {number}")).content)
    else:
        outcomes = list(run(asked.only or list(KINDS), range(asked.first, asked.first + asked.count)))
        print("\n".join(table(outcomes)))
        sys.exit(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    main(sys.argv[1:])
