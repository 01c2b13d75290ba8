from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_trainer.data.decoded import fingerprint, keep, recall

IMAGES = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([4, 0, 9])


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    keep([tmp_path], "a", "mark", (IMAGES, LABELS))
    recalled = recall([tmp_path / "nothing", tmp_path], "a", "mark")
    assert recalled is not None
    images, labels = recalled
    assert np.array_equal(images, IMAGES) and np.array_equal(labels, LABELS)
    assert images.flags.writeable and labels.flags.writeable


def test_another_fingerprint_or_no_file_is_nothing(tmp_path: Path) -> None:
    keep([tmp_path], "a", "mark", (IMAGES, LABELS))
    assert recall([tmp_path], "a", "other") is None
    assert recall([tmp_path], "b", "mark") is None
    assert recall([], "a", "mark") is None


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keep([tmp_path / "file" / "under"], "a", "mark", (IMAGES, LABELS))
    assert recall([tmp_path / "file" / "under"], "a", "mark") is None


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_damaged_file_never_gives_other_images(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "whole").exists():
        keep([tmp_path], "whole", "mark", (IMAGES, LABELS))
    content = bytearray((tmp_path / "whole").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) - 300, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "a").write_bytes(content[: data.draw(st.sampled_from([len(content), place]))])
    recalled = recall([tmp_path], "a", "mark")
    if recalled is not None:
        assert np.array_equal(recalled[0], IMAGES) and np.array_equal(recalled[1], LABELS)


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    keep([tmp_path], "a", "mark", (IMAGES, LABELS))
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content.replace(IMAGES[1].tobytes(), IMAGES[2].tobytes()))
    assert recall([tmp_path], "a", "mark") is None


@pytest.mark.parametrize("change", ["content", "time", "name"])
def test_fingerprint_changes_with_the_file(change: str, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"old")
    before = fingerprint([path])
    assert fingerprint([path]) == before
    match change:
        case "content":
            path.write_bytes(b"newer")
        case "time":
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
        case "name":
            path = path.rename(tmp_path / "raw.gz")
    assert fingerprint([path]) != before
