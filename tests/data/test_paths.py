"""Folders of data sets and caches: `mnist_trainer/data/paths.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_trainer import files
from mnist_trainer.config.schema import Data
from mnist_trainer.data.paths import cache_dirs, data_root, set_cache_variables, user_cache, write_to_first
from mnist_trainer.errors import DataError, StorageError


def test_root_is_the_configs_then_the_environments_then_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_root(Data()) == cache
    monkeypatch.setenv("MNIST_TRAINER_DATA", "")
    assert data_root(Data()) == cache
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(tmp_path / "lab"))
    assert data_root(Data()) == tmp_path / "lab"
    assert data_root(Data(root=str(tmp_path / "own"))) == tmp_path / "own"


def test_root_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert data_root(Data(root="~/sets")) == tmp_path / "sets"


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        data_root(Data(root=str(tmp_path / "file")))
    assert str(caught.value) == f"{tmp_path / 'file'} is a file; data.root (or MNIST_TRAINER_DATA) must name a folder."


@pytest.mark.parametrize(
    ("platform", "below_home"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_user_cache_of_each_system(
    platform: str, below_home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable)
    assert user_cache() == tmp_path / below_home / "mnist_trainer"


def test_a_user_without_a_home_has_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "mnist_trainer"


def test_homes_names_the_cache_once(cache: Path, tmp_path: Path) -> None:
    assert cache_dirs(tmp_path, "MNIST/raw") == (tmp_path / "MNIST" / "raw", cache / "MNIST" / "raw")
    assert cache_dirs(cache, "MNIST/raw") == (cache / "MNIST" / "raw",)


def test_place_goes_on_to_the_next_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    written = write_to_first([tmp_path / "file" / "no", tmp_path / "yes"], "a", lambda path: path.touch())
    assert written == tmp_path / "yes" / "a" and written.exists()


def test_place_says_why_no_folder_takes_the_file(tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(StorageError) as caught:
        write_to_first([tmp_path / "one", tmp_path / "two"], "a", refuse)
    assert str(caught.value) == (
        f"a cannot be written ({tmp_path / 'one'}: Permission denied; {tmp_path / 'two'}: Permission denied). "
        "Name a writable folder with data.root or MNIST_TRAINER_DATA."
    )


def test_a_folder_that_was_made_for_a_file_goes_with_it(tmp_path: Path) -> None:
    def stop(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_to_first([tmp_path / "deep" / "er"], "a", stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "deep").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_to_first([tmp_path / "deep" / "er"], "a", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_simulated_a_file_that_windows_keeps_open_is_left_to_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_use(self: Path, target: Path) -> None:
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(Path, "replace", in_use)
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "RETRY_DELAYS", (0,))
    with pytest.raises(StorageError, match="cannot access the file"):
        write_to_first([tmp_path], "a", lambda path: path.write_text("mine"))
    (tmp_path / "a").write_text("theirs")
    assert write_to_first([tmp_path], "a", lambda path: path.write_text("mine")) == tmp_path / "a"
    assert (tmp_path / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_caches_of_others_lie_in_ours_unless_the_user_says_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    set_cache_variables()
    assert os.environ["MPLCONFIGDIR"] == "mine"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "torch")
    assert not cache.exists()


def test_caches_of_others_stay_where_ours_cannot_be(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "")
    monkeypatch.delenv("MPLCONFIGDIR")
    cache.parent.touch()
    set_cache_variables()
    assert "MPLCONFIGDIR" not in os.environ
