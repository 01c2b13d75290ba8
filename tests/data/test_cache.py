"""Decoded data sets in a cache file: `mnist_trainer/data/cache.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_trainer.data import cache, image_dataset
from mnist_trainer.data.cache import Chunks, code_fingerprint, file_fingerprint, load_cached, load_or_make, save_cache
from mnist_trainer.errors import DataError
from mnist_trainer.pictures import listing

IMAGES = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([4, 0, 9])


@pytest.fixture(autouse=True)
def all_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MIN_CACHED", 1)


@pytest.fixture(params=[image_dataset.MEMORY_FRACTION, 0], ids=["in memory", "mapped"])
def share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", request.param)
    yield request.param


def test_what_was_kept_comes_back(tmp_path: Path, share: float) -> None:
    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
    recalled = load_cached([tmp_path / "nothing", tmp_path], "a", "mark")
    assert recalled is not None
    images, labels = recalled
    assert np.array_equal(images, IMAGES) and np.array_equal(labels, LABELS)
    assert images.flags.writeable is (share > 0) and labels.flags.writeable


@pytest.mark.usefixtures("share")
def test_another_fingerprint_or_no_file_is_nothing(tmp_path: Path) -> None:
    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
    assert load_cached([tmp_path], "a", "other") is None
    assert load_cached([tmp_path], "b", "mark") is None
    assert load_cached([], "a", "mark") is None


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save_cache([tmp_path / "file" / "under"], "a", "mark", (IMAGES, LABELS))
    assert load_cached([tmp_path / "file" / "under"], "a", "mark") is None


@pytest.mark.usefixtures("share")
@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=200)
def test_a_damaged_file_never_gives_other_images(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "whole").exists():
        save_cache([tmp_path], "whole", "mark", (IMAGES, LABELS))
    content = bytearray((tmp_path / "whole").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) - 300, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "a").write_bytes(content[: data.draw(st.sampled_from([len(content), place]))])
    recalled = load_cached([tmp_path], "a", "mark")
    if recalled is not None:
        assert np.array_equal(recalled[0], IMAGES) and np.array_equal(recalled[1], LABELS)


@pytest.mark.usefixtures("share")
def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content.replace(IMAGES[1].tobytes(), IMAGES[2].tobytes()))
    assert load_cached([tmp_path], "a", "mark") is None


@pytest.mark.parametrize("change", ["content", "time", "name"])
def test_fingerprint_changes_with_the_file(change: str, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"old")
    before = file_fingerprint([path])
    assert file_fingerprint([path]) == before
    match change:
        case "content":
            path.write_bytes(b"newer")
        case "time":
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
        case "name":
            path = path.rename(tmp_path / "raw.gz")
    assert file_fingerprint([path]) != before


def test_a_file_of_terabytes_takes_no_memory(tmp_path: Path) -> None:
    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
    with (tmp_path / "a").open("r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        assert load_cached([tmp_path], "a", "mark") is None
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_numpy_reads_the_file_too(tmp_path: Path) -> None:
    save_cache([tmp_path], "a.npy", "mark", (IMAGES, LABELS))
    record = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(record["images"], IMAGES) and np.array_equal(record["labels"], LABELS)


@pytest.mark.usefixtures("share")
@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\1\0v\0{", bytes(900), b"PK\3\4" + bytes(900), b"\x80\4pickle."]
)
def test_a_foreign_file_is_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert load_cached([tmp_path], "a", "mark") is None


def test_what_is_no_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert load_cached([tmp_path], "a", "mark") is None
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "b")
        assert load_cached([tmp_path], "b", "mark") is None


def test_images_stay_while_another_removes_and_damages_their_file(tmp_path: Path) -> None:
    """One process trains, another one deletes, replaces and garbles the file all the time: whole images, or none."""
    done = Event()
    whole = []

    def disturb() -> None:
        for turn in cycle(range(3)):
            if done.is_set():
                return
            match turn:
                case 0:
                    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
                case 1:
                    (tmp_path / "a").write_bytes(bytes(200 + 3 * 792))
                case _:
                    (tmp_path / "a").unlink()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(disturb)
        try:
            for _ in range(300):
                save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
                if (recalled := load_cached([tmp_path], "a", "mark")) is not None:
                    whole.append(recalled)
        finally:
            done.set()
        other.result()
    assert whole
    assert all(np.array_equal(images, IMAGES) and np.array_equal(labels, LABELS) for images, labels in whole)


EIGHT = """
import os, sys
from pathlib import Path
import numpy as np
from mnist_trainer.data.cache import load_cached, save_cache

images = np.arange(20_000 * 784, dtype=np.uint32).astype(np.uint8).reshape(-1, 28, 28)
labels = np.arange(20_000) % 10
homes = [Path(sys.argv[1])]
waiting, begin = os.pipe()

def child():
    os.close(begin)
    os.read(waiting, 1)  # until the parent closes its end
    if load_cached(homes, "a", "mark") is None:
        save_cache(homes, "a", "mark", (images, labels))
    mine = load_cached(homes, "a", "mark")
    return mine is not None and np.array_equal(mine[0], images) and np.array_equal(mine[1], labels)

children = []
for _ in range(8):
    children.append(os.fork())
    if not children[-1]:
        os._exit(0 if child() else 1)
os.close(begin)
ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(ends)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_eight_processes_at_once_on_an_empty_cache(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", EIGHT, str(tmp_path / "new")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout == f"{[0] * 8}\n", done.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]
    recalled = load_cached([tmp_path / "new"], "a", "mark")
    assert recalled is not None and len(recalled[0]) == 20_000


def test_mapped_images_stay_when_another_file_takes_the_place_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    save_cache([tmp_path], "a", "mark", (IMAGES, LABELS))
    recalled = load_cached([tmp_path], "a", "mark")
    assert recalled is not None
    save_cache([tmp_path], "a", "mark", (IMAGES[::-1], LABELS))
    assert np.array_equal(recalled[0], IMAGES)
    (tmp_path / "a").unlink()
    assert np.array_equal(recalled[0], IMAGES)


def counted(calls: list[int], pieces: int = 3, size: int = 2) -> Chunks:
    """`pieces` pieces of `size` images each, number after number; `calls` has one more for each that was made."""

    def make() -> Iterator[np.ndarray]:
        for number in range(pieces):
            calls.append(number)
            yield np.full((size, 28, 28), number % 251, np.uint8)

    return make


@pytest.mark.usefixtures("share")
def test_what_is_made_is_made_once(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        images, labels = load_or_make([tmp_path], "a", "mark", counted(calls), np.arange(6))
        assert images[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2] and labels.tolist() == [0, 1, 2, 3, 4, 5]
        assert images.shape == (6, 28, 28) and images.dtype == np.uint8
    assert calls == [0, 1, 2]
    load_or_make([tmp_path], "a", "other mark", counted(calls), np.arange(6))
    assert calls == [0, 1, 2] * 2


def test_more_can_be_made_than_there_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    size, pieces = 500, 60
    tracemalloc.start()
    try:
        images, _ = load_or_make([tmp_path], "a", "mark", counted([], pieces, size), np.zeros(size * pieces, np.int64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert images.nbytes == 500 * 60 * 784 and peak < images.nbytes / 10
    assert images[::size, 0, 0].tolist() == [*range(pieces)]


@pytest.mark.usefixtures("share")
def test_without_a_place_for_a_file_they_are_made_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    calls: list[int] = []
    images, labels = load_or_make([tmp_path / "file" / "under"], "a", "mark", counted(calls), np.arange(6))
    assert images[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2] and labels.tolist() == [*range(6)] and calls == [0, 1, 2]


def test_a_full_disk_is_seen_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "disk_usage", lambda _: SimpleNamespace(free=6 * 792 - 1))
    calls: list[int] = []
    load_or_make([tmp_path], "a", "mark", counted(calls), np.arange(6))
    assert calls == [0, 1, 2] and not list(tmp_path.iterdir())


def test_what_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Iterator[np.ndarray]:
        yield IMAGES
        raise DataError("a broken picture")

    with pytest.raises(DataError, match="a broken picture"):
        load_or_make([tmp_path], "a", "mark", fail, np.arange(6))
    assert not list(tmp_path.iterdir())


def test_every_file_that_draws_or_reads_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = code_fingerprint()
    for name in ("pictures/listing.py", "simulator/effects.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(listing, "__file__", str(tmp_path / "pictures" / "listing.py"))
    other = code_fingerprint()
    (tmp_path / "simulator" / "effects.py").write_text("another paper")
    assert len({before, other, code_fingerprint()}) == 3
