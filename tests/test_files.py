from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from mnist_trainer.errors import StorageError
from mnist_trainer.files import (
    append_line,
    drop_torn_line,
    make_folder,
    remove_folder,
    write_bytes,
    write_file,
    write_text,
)

ADVICE = "Make room there, or choose a folder that can be written."
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


def test_content_is_on_the_disk_before_it_is_moved_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, object]] = []
    replace = os.replace

    def flush(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append(("flush", "folder" if stat.S_ISDIR(status.st_mode) else status.st_size))

    def move(source: Path, target: Path) -> None:
        events.append(("move", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", move)
    write_bytes(tmp_path / "a.bin", b"12345")
    expected = [("flush", 5), ("move", "a.bin"), ("flush", "folder")]
    assert events == (expected if os.name == "posix" else expected[:2])


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

    with pytest.raises(StorageError, match=r"best\.pt can't be written: unexpected pos 64 vs 0\. Make room"):
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
    assert str(caught.value) == f"{place}: a file stands where a folder is needed. Choose another place."
    with pytest.raises(StorageError, match=r"below can't be written"):
        make_folder(place / "below", exist_ok)
    assert place.read_text() == "a file"


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"one\ntwo\n", b"one\ntwo\n"), (b"one\ntw", b"one\n"), (b"one\n\0\0", b"one\n"), (b"on", b""), (b"", b"")],
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "a.log").write_bytes(before)
    drop_torn_line(tmp_path / "a.log")
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
