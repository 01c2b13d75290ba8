"""Damaged files by the thousand, and what they did: `python -m reliability.fuzz --count 2000` in `benchmarks/`.

Each is fed to the program as a command would do it, many to a process. It passes if it works, or ends with an error
of ours with the exit code that its kind promises and a text that can be printed: no other exception, no warning,
nothing that takes longer than 10 s, no more than 1 GB above what the process had before.
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
PATIENCE = 60
"""Seconds after which a process that says nothing is ended: it hangs where no signal reaches it."""


@dataclass(frozen=True)
class RunResult:
    """How mutation `number` of `kind` ended: `code` is 0 or an exit code; `fault` says what was wrong, if anything."""

    kind: str
    number: int
    code: int
    text: str
    seconds: float
    fault: str = ""


class _HangError(BaseException):
    pass


def run_case(kind: Kind, path: Path, name: str = "", number: int = 0) -> RunResult:
    """Feeds the file at `path` to its kind."""
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
    """What is wrong with a text that a person shall read."""
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
    """The most this process ever had, in MB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1000)


def _limit_memory() -> None:
    """No more address space than now and 4 GB: what is never touched is let be, and the machine lives on."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 4 * 10**9
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def work(names: list[str], numbers: range, begin: int, folder: Path) -> None:
    """In a process of its own: prints an outcome a line, from the one at place `begin` on; before each, its place."""
    kinds = {name: KINDS[name](folder) for name in names}
    for kind in kinds.values():  # what is imported and made once is not counted
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
    """The outcomes of these mutations of each kind, made in a process of its own; another one where that one dies."""
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
            assert place == begin, f"the process ended ({child.returncode}) before it was fed anything"
            yield RunResult(*plan[begin], 1, "", 0.0, f"ends the process ({child.returncode})")
            begin += 1


def _environment() -> dict[str, str]:
    here = Path(__file__).parents[1]
    paths = [str(here), *filter(None, [os.environ.get("PYTHONPATH")]), str(here.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """What the child prints; it is ended when it says nothing for too long."""
    from threading import Timer

    assert child.stdout is not None
    while True:
        timer = Timer(PATIENCE, child.kill)
        timer.start()
        line = child.stdout.readline()
        timer.cancel()
        if not line:
            return
        yield line


def table(outcomes: list[RunResult]) -> Iterator[str]:
    """Lines of Markdown: how many of each kind ended how, and every fault."""
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


def main(count: int = 2000, names: list[str] | None = None, first: int = 0) -> list[RunResult]:
    """Prints the table of `count` mutations of each kind, and returns the outcomes."""
    outcomes = list(run(names or list(KINDS), range(first, first + count)))
    for line in table(outcomes):
        print(line, flush=True)
    return outcomes


def _command() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(KINDS))
    parser.add_argument("--keep", nargs=3, metavar=("KIND", "NUMBER", "FILE"), help="write one mutation to a file")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        names, first, stop, begin, folder = asked.work
        work(names.split(","), range(int(first), int(stop)), int(begin), Path(folder))
    elif asked.keep:
        name, number, file = asked.keep
        with tempfile.TemporaryDirectory() as folder:
            Path(file).write_bytes(KINDS[name](Path(folder)).case(Random(f"{name} {number}")).content)
    elif any(outcome.fault for outcome in main(asked.count, asked.only, asked.first)):
        sys.exit(1)


if __name__ == "__main__":
    _command()
