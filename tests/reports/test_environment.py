from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from mnist_trainer import prepare
from mnist_trainer.config.shipped import package_version
from mnist_trainer.reports.run_writer import describe_environment, git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    git(tmp_path, "init")
    assert git_commit() is None  # no commit yet
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit() == commit
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "new.txt").write_text("untracked files change no result")
    assert git_commit() == commit
    (tmp_path / "a.txt").write_text("two")
    assert git_commit() == f"{commit}+changes"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_what_auto_became_is_described() -> None:
    state = prepare(
        {
            "data": {"name": "digits", "limit": 5},
            "model": {"architecture": "mlp", "hidden": [4]},
            "device": "cpu",
            "precision": "bfloat16",
        }
    )
    found = describe_environment(state)
    assert found["device"] == "cpu"
    assert found["precision"] == "bfloat16"
    assert found["deterministic"] is True
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"] == {
        "mnist_trainer": package_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    assert json.loads(json.dumps(found)) == found
    assert str(Path.cwd()) not in json.dumps(found)
