from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import IO, Any

import pytest

from mnist_trainer import files
from mnist_trainer.errors import StorageError
from mnist_trainer.files import (
    append_line,
    atomic_write,
    make_folder,
    remove_folder,
    truncate_torn_line,
    write_bytes,
    write_file,
    write_text,
)

ADVICE = "Free some disk space, or choose another folder."
ELSEWHERE = "Choose a folder that can be written."


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_file_holds_what_was_written_and_stands_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\x00new")
    assert files_in(tmp_path) == {"a.bin": b"\x00new"}


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"something old and longer")
    write_bytes(tmp_path / "a.bin", b"new")
    assert files_in(tmp_path) == {"a.bin": b"new"}


def test_text_is_utf8_with_line_feeds_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Größe\n")
    assert files_in(tmp_path) == {"a.txt": b"Gr\xc3\xb6\xc3\x9fe\n"}


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (RuntimeError("PytorchStreamWriter failed"), StorageError),
        (ValueError("a mistake in the writer"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, raised: BaseException, seen: type[BaseException]
) -> None:
    def fail_half_way(stream: IO[bytes]) -> None:
        stream.write(b"half of the ")
        raise raised

    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(seen):
        write_file(tmp_path / "a.bin", fail_half_way)
    assert files_in(tmp_path) == {"a.bin": b"old"}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What is done to the disk, in order: what is flushed (a file with its size, or a folder) and moved."""
    events: list[tuple[str, object]] = []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append(("fsync", "folder" if stat.S_ISDIR(status.st_mode) else status.st_size))
        fsync(descriptor)

    def move(self: Path, target: Path) -> Path:
        events.append(("replace", (self.stat().st_size, target.name)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", move)
    return events


FOLDER: list[tuple[str, object]] = [("fsync", "folder")] if os.name == "posix" else []


def test_a_file_is_written_flushed_moved_and_its_folder_flushed(
    tmp_path: Path, recorded: list[tuple[str, object]]
) -> None:
    def write(stream: IO[bytes]) -> None:
        stream.write(b"12345")
        recorded.append(("write", 5))

    write_file(tmp_path / "a.bin", write)
    order = [("write", 5), ("fsync", 5), ("replace", (5, "a.bin")), *FOLDER]
    assert recorded == order
    recorded.clear()
    with atomic_write(tmp_path / "b.bin") as part:
        part.write_bytes(b"12345")
        recorded.append(("write", 5))
    assert recorded == [event if event[0] != "replace" else ("replace", (5, "b.bin")) for event in order]


def test_a_new_folder_is_flushed_into_the_one_above_it(tmp_path: Path, recorded: list[tuple[str, object]]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert recorded == FOLDER * 2
    make_folder(tmp_path / "a" / "b")
    assert recorded == FOLDER * 2


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folders")
@pytest.mark.parametrize(("number", "fails"), [(errno.EIO, True), (errno.EINVAL, False), (errno.EOPNOTSUPP, False)])
def test_simulated_a_folder_that_cannot_be_flushed_is_told_unless_its_system_never_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", flush)
    if fails:
        with pytest.raises(StorageError, match=r"Input/output error\. The disk or its connection fails"):
            write_bytes(tmp_path / "a.bin", b"new")
    else:
        write_bytes(tmp_path / "a.bin", b"new")
    assert files_in(tmp_path) == {"a.bin": b"new"}


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_simulated_a_step_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "a.bin").write_bytes(b"old")
    with monkeypatch.context() as failing:
        failing.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(StorageError):
            write_bytes(tmp_path / "a.bin", b"new")
    assert files_in(tmp_path) == {"a.bin": b"old"}


def test_simulated_windows_is_asked_again_while_a_reader_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = Path.replace, [1, 2]

    def busy(self: Path, target: Path) -> Path:
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        return replace(self, target)

    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "RETRY_DELAYS", (0.0, 0.0))
    monkeypatch.setattr(Path, "replace", busy)
    write_bytes(tmp_path / "a.bin", b"new")
    assert files_in(tmp_path) == {"a.bin": b"new"}
    refusals.extend(range(5))
    with pytest.raises(StorageError, match="cannot access the file"):
        write_bytes(tmp_path / "a.bin", b"newer")
    assert files_in(tmp_path) == {"a.bin": b"new"}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, ADVICE),
        (errno.EACCES, ELSEWHERE),
        (errno.EROFS, ELSEWHERE),
        (errno.EMFILE, "Raise the limit on open files (ulimit -n), and try again."),
        (errno.EFBIG, f"Raise the limit on the size of files (ulimit -f), or {ELSEWHERE[0].lower()}{ELSEWHERE[1:]}"),
    ],
)
def test_simulated_what_to_do_about_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StorageError) as caught:
        make_folder(tmp_path / "run")
    assert str(caught.value) == f"{tmp_path / 'run'} can't be written: {os.strerror(number)}. {advice}"


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300)
    with pytest.raises(StorageError, match=r"File name too long\. Choose a shorter name\."):
        make_folder(place)
    with pytest.raises(StorageError, match=r"File name too long\. Choose a shorter name\."):
        write_text(place, "text")
    write_text(tmp_path / ("x" * 255), "text")


def test_a_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    def fill(stream: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError) as caught:
        write_file(tmp_path / "best.pt", fill)
    assert str(caught.value) == f"{tmp_path / 'best.pt'} can't be written: No space left on device. {ADVICE}"
    assert caught.value.exit_code == 7


def test_an_error_without_a_number_is_told_in_its_own_words(tmp_path: Path) -> None:
    def fail(stream: IO[bytes]) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(StorageError, match=r"best\.pt can't be written: unexpected pos 64 vs 0\. Free some disk space"):
        write_file(tmp_path / "best.pt", fail)


def test_a_missing_folder_and_a_folder_in_the_place_of_the_file_are_told(tmp_path: Path) -> None:
    lost, taken = tmp_path / "nowhere" / "a.txt", tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(StorageError) as caught:
        write_text(lost, "text")
    assert str(caught.value) == f"{lost} can't be written: {os.strerror(errno.ENOENT)}. {ELSEWHERE}"
    with pytest.raises(StorageError, match="taken can't be written"):
        write_text(taken, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    append_line(tmp_path / "log.txt", "first é")
    append_line(tmp_path / "log.txt", "second")
    assert files_in(tmp_path) == {"log.txt": "first é\nsecond\n".encode()}


def test_a_line_that_cannot_be_appended_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        append_line(tmp_path, "text")
    assert str(caught.value).startswith(f"{tmp_path} can't be written: ")


@pytest.mark.parametrize("taken", [0, 4])
def test_simulated_a_line_that_finds_the_disk_full_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """A full disk takes a part of what is written, and refuses the rest."""

    class Full(io.FileIO):
        room = taken

        def write(self, content: Any, /) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = super().write(content[: self.room])
            self.room -= done
            return done

    def full(path: Path, mode: str, buffering: int, opener: Any) -> Full:
        return Full(path, mode, opener=opener)

    append_line(tmp_path / "a.csv", "first")
    monkeypatch.setattr(files, "open", full, raising=False)
    with pytest.raises(StorageError, match=r"a\.csv can't be written: No space left on device\. Free some disk space"):
        append_line(tmp_path / "a.csv", "second")
    assert files_in(tmp_path) == {"a.csv": b"first\n"}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_or_a_pipe_in_a_strangers_folder_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "log.txt").symlink_to("mine.txt")
    os.mkfifo(tmp_path / "metrics.csv")
    for name in ("log.txt", "metrics.csv"):
        for write in (lambda path: append_line(path, "text"), truncate_torn_line):
            with pytest.raises(StorageError, match=f"{name} can't be written: "):
                write(tmp_path / name)
    write_text(tmp_path / "log.txt", "new")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "log.txt").read_text() == "new" and not (tmp_path / "log.txt").is_symlink()


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b", exist_ok=False)


@pytest.mark.parametrize("exist_ok", [True, False])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path, exist_ok: bool) -> None:
    place = tmp_path / "runs"
    place.write_text("a file")
    with pytest.raises(StorageError) as caught:
        make_folder(place, exist_ok)
    assert str(caught.value) == f"{place}: a file is where a folder is needed. Choose another path."
    with pytest.raises(StorageError) as caught:
        make_folder(place / "below", exist_ok)
    assert str(caught.value) == f"{place}: a file is where a folder is needed. Choose another path."
    assert place.read_text() == "a file"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("target", ["nowhere", "runs"])
@pytest.mark.parametrize("below", [".", "below", "below/it"])
def test_a_link_that_leads_nowhere_or_in_a_circle_is_told(tmp_path: Path, target: str, below: str) -> None:
    place = tmp_path / "runs"
    place.symlink_to(target)
    for exist_ok in (True, False):
        with pytest.raises(StorageError) as caught:
            make_folder(place / below, exist_ok)
        assert str(caught.value) == (f"{place}: a broken link is where a folder is needed. Choose another path.")


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"one\ntwo\n", b"one\ntwo\n"), (b"one\ntw", b"one\n"), (b"one\n\0\0", b"one\n"), (b"on", b""), (b"", b"")],
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "a.log").write_bytes(before)
    truncate_torn_line(tmp_path / "a.log")
    assert (tmp_path / "a.log").read_bytes() == after


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "run" / "plots").mkdir(parents=True)
    (tmp_path / "run" / "plots" / "a.png").write_bytes(b"png")
    remove_folder(tmp_path / "run")
    remove_folder(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="can't be written"):
        remove_folder(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "a file"
