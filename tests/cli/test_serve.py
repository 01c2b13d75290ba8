"""`mnist-serve`: its options, and what it prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from mnist_trainer.serve import app, server


@pytest.fixture
def served(here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of the server that a command would have run."""
    settings: dict[str, Any] = {}
    monkeypatch.setattr(app, "create_app", lambda models, **others: settings.update(others, models=models))
    monkeypatch.setattr(server, "run", lambda app, listener: listener.close())
    return settings


def test_it_is_on_this_machine_alone(command: Any, served: dict[str, Any]) -> None:
    done = command("serve", "--port", "0")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("http://127.0.0.1:") and done.out.endswith("/\nCtrl-C ends it.\nStopped.\n")
    assert (served["models"], served["token"], served["can_train"]) == (["bundled"], None, True)
    assert (served["runs_dir"], served["keep_trainings"]) == (Path("runs"), False)


def test_other_machines_need_a_token_and_do_not_train(command: Any, served: dict[str, Any]) -> None:
    done = command("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.code == 0 and "not encrypted" in done.err
    assert len(served["token"]) > 20 and f"/?token={served['token']}\n" in done.out
    assert not served["can_train"]
    command("serve", "--host", "0.0.0.0", "--port", "0", "--allow-training")
    assert served["can_train"]


def test_options_are_those_of_the_server(command: Any, served: dict[str, Any]) -> None:
    command("serve", "a.pt", "b.pt", "--port", "0", "--runs-dir", "my", "--read-only", "--keep-trainings")
    assert (served["models"], served["runs_dir"]) == (["a.pt", "b.pt"], Path("my"))
    assert not served["can_train"] and served["keep_trainings"]
    done = command("serve", "--read-only", "--allow-training")
    assert done.code == 2 and "contradict each other" in done.err


def test_the_page_is_opened(command: Any, served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread.run())
    assert command("serve", "--port", "0", "--open").out.startswith(opened[0] + "\n")


def test_a_second_server_on_the_port_is_one_line(command: Any, served: dict[str, Any]) -> None:
    with server.bind("127.0.0.1", 0) as listener:
        done = command("serve", "--port", str(listener.getsockname()[1]))
    assert done.code == 2 and done.err.count("\n") == 1 and "is in use" in done.err


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_missing_package_is_named(command: Any, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = command("serve")
    assert (done.code, done.err) == (2, f"mnist-serve needs {package}: pip install 'mnist-trainer[serve]'\n")


def test_a_model_that_is_not_there_is_an_error(command: Any, here: Path) -> None:
    done = command("serve", "nothing.pt", "--port", "0")
    assert done.code == 4 and "nothing.pt" in done.err and not done.out
