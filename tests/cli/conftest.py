"""The commands, called as the console scripts call them: in this process, or in one of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mnist_trainer.cli.common import STOP_SIGNALS
from mnist_trainer.cli.options import run_app

REPOSITORY = Path(__file__).parents[2]

TINY = """\
name: tiny
threads: 1
data: {name: digits, limit: 20, batch_size: 32, validation: 40}
model: {architecture: mlp, hidden: [8]}
training: {epochs: 2}
report: {plots: false, gallery: false}
"""


class Done(NamedTuple):
    """How a command ended: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]

START = """
import signal, sys
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
command, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = f"mnist-{command}"
from functools import partial
from mnist_trainer.cli.options import run_app
main = partial(run_app, command)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a config, `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`command("eval", "latest")` calls mnist-eval in this process."""
    heard = [getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in heard}

    def run(name: str, *arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [f"mnist-{name}", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_app(name)
        out, err = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, out, err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def start(name: str, *arguments: str, script: str = f"{START}\nmain()", **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own; both its outputs are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", script, name, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`process("train", "--help")` starts mnist-train in a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: str) -> subprocess.Popen[str]:
        started.append(start(*arguments, **options))
        return started[-1]

    yield begin
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def completed() -> Command:
    """`completed("train", "--help")` waits for mnist-train in a process of its own."""

    def run(name: str, *arguments: str, **options: str) -> Done:
        child = start(name, *arguments, **options)
        out, err = child.communicate(timeout=600)
        return Done(child.returncode, out, err)

    return run


@pytest.fixture
def light() -> Command:
    """Like `completed`; fails if the command loads anything that takes long to load."""
    watched = """
try:
    main()
finally:
    heavy = ("torch", "torchvision", "numpy", "matplotlib", "cv2", "PIL", "rich")
    print("loaded:", *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""

    def run(name: str, *arguments: str, **environment: str) -> Done:
        child = start(name, *arguments, script=START + watched, **environment)
        out, err = child.communicate(timeout=600)
        err, loaded, names = err.rpartition("loaded:")
        assert (loaded, names.split()) == ("loaded:", []), err + names
        return Done(child.returncode, out, err)

    return run
