"""The table of exit codes in docs/runs.md: each of them, and the message beside it, from a command that ends so."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from mnist_trainer.errors import TrainerError
from mnist_trainer.files import folder_lock

from .conftest import REPOSITORY, Command, Done

PAGE = (REPOSITORY / "docs" / "runs.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| (?:`(.*)` )?\|$", flags=re.MULTILINE)
TABLE = {int(code): example for code, example in ROW.findall(PAGE)}

COMMANDS = {
    0: ["train", "--config", "tiny.yaml"],
    2: ["train", "--config", "quickstart", "optimizer.lrr=1"],
    3: ["predict", "nothing.png"],
    4: ["eval", "nothing.pt"],
    5: ["train", "--config", "tiny.yaml", "--device", "cuda:9"],
    6: ["train", "--config", "tiny.yaml", "optimizer={name: sgd, lr: 1e30}"],
    7: ["train", "--config", "tiny.yaml", "--run-dir", "busy"],
}
"""What ends with these codes by itself."""


def check(done: Done, code: int) -> None:
    """That a command ended as the row for `code` says."""
    pattern = ".*".join(re.escape(words.strip()) for words in TABLE[code].split("…"))
    assert done.code == code, done.err
    assert re.match(pattern, done.err, flags=re.DOTALL), (TABLE[code], done.err)
    assert "Traceback" not in done.err


def test_the_table_has_every_code() -> None:
    errors = {error.exit_code for error in every(TrainerError)}
    assert set(TABLE) == errors | {0, 143}
    assert list(TABLE) == sorted(TABLE)


def every(error: type[TrainerError]) -> set[type[TrainerError]]:
    return {error}.union(*map(every, error.__subclasses__()))


@pytest.mark.parametrize("code", COMMANDS)
def test_a_command_ends_as_its_row_says(code: int, command: Command, here: Path) -> None:
    (here / "busy").mkdir()
    with folder_lock(here / "busy"):
        check(command(*COMMANDS[code]), code)


def test_a_mistake_of_ours_ends_as_its_row_says(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_trainer.config.load.load_config", lambda *arguments: 1 / 0)
    check(command("train", "--config", "tiny.yaml"), 1)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_ends_it_as_its_row_says(
    name: str, code: int, command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("there is no such signal here")
    monkeypatch.setattr(
        "mnist_trainer.reports.console.Console.on_step_end", lambda *arguments: signal.raise_signal(number)
    )
    if name == "SIGHUP":
        signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it
    check(command("train", "--config", "tiny.yaml"), code)
