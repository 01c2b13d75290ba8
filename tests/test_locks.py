"""One process to a folder: `files.folder_lock` and `mnist_trainer/files.py`."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from mnist_trainer import files
from mnist_trainer.errors import StorageError
from mnist_trainer.files import folder_lock, is_locked, lock_holder

ROOT = Path(files.__file__).parents[1]

HOLDER = """
import sys
from pathlib import Path
from mnist_trainer.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("folder_lock", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `folder` until its stdin is closed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "folder_lock\n"
        yield process
        process.kill()


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(StorageError) as caught, folder_lock(folder, **options):
        pass
    assert caught.value.exit_code == 7
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sign(folder: Path, **said: object) -> None:
    text = {"host": socket.gethostname(), "pid": os.getpid(), "started": "2026-03-14 15:09:26+00:00", **said}
    (folder / ".lock").write_text(json.dumps(text))


def test_a_second_process_hears_who_holds_the_folder(tmp_path: Path) -> None:
    with another_process(tmp_path) as other:
        said = json.loads((tmp_path / ".lock").read_text())
        assert (said["host"], said["pid"]) == (socket.gethostname(), other.pid)
        assert (
            refusal(tmp_path)
            == refusal(tmp_path, steal_lock=True)
            == (
                f"{tmp_path} is in use by process {other.pid} on {said['host']}, since {said['started']}. "
                "Wait until it ends, or use another folder."
            )
        )
        assert names(tmp_path) == [".lock"]
        other.communicate("")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_the_process_that_holds_a_folder_is_known(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with another_process(tmp_path) as process:
        assert lock_holder(tmp_path) == process.pid
        process.kill()
        process.wait()
        assert lock_holder(tmp_path) is None
    with folder_lock(tmp_path):
        assert lock_holder(tmp_path) == os.getpid()
    sign(tmp_path, host="elsewhere")
    assert is_locked(tmp_path)
    assert lock_holder(tmp_path) is None


def test_the_lock_of_a_killed_process_is_taken_over_with_what_it_left(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    left = [tmp_path / ".best.pt.0123abcd.part", tmp_path / "plots" / ".curves.png.0123abcd.part"]
    with another_process(tmp_path) as other:
        for part in (*left, tmp_path / ".mine.part"):
            part.touch()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert (tmp_path / ".lock").exists()
        with folder_lock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
            assert [part for part in left if part.exists()] == []
    assert names(tmp_path) == [".mine.part", "plots"]


def test_one_process_holds_a_folder_once(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert f"is in use by process {os.getpid()} on " in refusal(tmp_path)
        with folder_lock(tmp_path / ".."):
            pass
    with folder_lock(tmp_path):
        pass
    assert names(tmp_path) == []


def test_the_lock_goes_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_simulated_the_lock_of_another_host_is_taken_over_when_asked_for(tmp_path: Path) -> None:
    sign(tmp_path, host="far\x1b[31m", pid=7)
    assert refusal(tmp_path) == (
        f"{tmp_path} is in use by process 7 on far\\x1b[31m, since 2026-03-14 15:09:26+00:00. "
        "Wait until it ends, or use another folder. "
        "If that process is dead, replace its lock with --take-over."
    )
    with folder_lock(tmp_path, steal_lock=True):
        assert json.loads((tmp_path / ".lock").read_text())["host"] == socket.gethostname()
    assert names(tmp_path) == []


def test_simulated_a_lock_that_the_network_keeps_for_another_host_is_taken_over_when_asked_for(tmp_path: Path) -> None:
    with another_process(tmp_path):
        sign(tmp_path, host="far")
        assert "replace its lock with --take-over" in refusal(tmp_path)
        with folder_lock(tmp_path, steal_lock=True):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"\0" * 100])
def test_a_lock_that_says_nothing_is_no_hindrance(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    with another_process(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        assert "is in use by another process. Wait until it ends" in refusal(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows always locks")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_simulated_without_locks_a_living_process_holds_and_a_dead_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with folder_lock(tmp_path):
        assert f"is in use by process {os.getpid()} on " in refusal(tmp_path)
    for pid in (subprocess_that_ended(), 2**70, -1, "one", None):
        sign(tmp_path, pid=pid)
        with folder_lock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    sign(tmp_path, host="far")
    assert "--take-over" in refusal(tmp_path)


def subprocess_that_ended() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_a_file_that_is_replaced_while_it_is_taken_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder before removes its file between the opening and the locking of it."""
    try_lock, opened = files.try_lock, []

    def late(stream: IO[bytes]) -> bool | None:
        opened.append(stream)
        if len(opened) == 1:
            (tmp_path / ".lock").unlink()
        return try_lock(stream)

    monkeypatch.setattr(files, "try_lock", late)
    with folder_lock(tmp_path):
        assert len(opened) == 2 and opened[0].closed
        assert f"is in use by process {os.getpid()} on " in refusal(tmp_path)


def test_the_file_of_who_took_over_stays(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        (tmp_path / ".lock").unlink()
        sign(tmp_path, host="far")
    assert names(tmp_path) == [".lock"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """Else a killed training's folder would be in use until its last child has ended."""
    with folder_lock(tmp_path):
        (stream,) = files._open_locks
        descriptor = stream.fileno()
        assert not os.get_inheritable(descriptor)
        if not (child := os.fork()):
            os._exit(0 if stream.closed and not Path(f"/proc/self/fd/{descriptor}").exists() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert f"is in use by process {os.getpid()} on " in refusal(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_lock_that_is_a_link_or_a_pipe_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / ".lock").symlink_to("mine.txt")
    assert f"{tmp_path / '.lock'} can't be written: " in refusal(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    assert refusal(tmp_path) == (
        f"{tmp_path / '.lock'} can't be written: it is not a regular file. Choose a folder that can be written."
    )


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone' / '.lock'} can't be written: " in refusal(tmp_path / "gone")
