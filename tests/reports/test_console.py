from __future__ import annotations

import io
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mnist_trainer.reports import console as module
from mnist_trainer.reports.callbacks import Callback, Run, RunInfo, both
from mnist_trainer.reports.console import EPOCH_COLUMNS, Console, table_row
from mnist_trainer.training.loop import EpochRecord

HEAD = "epoch  train loss  val loss  val accuracy        lr  seconds"
BEST = "    3      0.1234    0.0877       97.40 %    0.0012      2.3  * best so far"
OTHER = "    4      0.1234         -             -    0.0012      2.3"
RESULT = "one: test accuracy 99.85 % (3 errors of 2,000; 95 % interval 99.56 to 99.95 %)"


def tell(callback: Callback, info: RunInfo, record: EpochRecord, result: Run) -> None:
    """Everything that a training tells, in its order."""
    callback.on_warning("model.output", "cross_entropy [twice]")
    callback.on_loading("downloading train-images-idx3-ubyte.gz", 0, 9_912_422)
    callback.on_loading("downloading train-images-idx3-ubyte.gz", 5_000_000, 9_912_422)
    callback.on_train_start(info)
    for step in (1, 2):
        callback.on_step_end(3, step, 2)
    callback.on_epoch_end(record)
    callback.on_epoch_end(replace(record, epoch=4, best=False, val_loss=None, val_accuracy=None))
    callback.on_test_start()
    callback.on_train_end(result)


@pytest.fixture
def written(result: Run) -> list[str]:
    folder = result.folder
    return [
        "All epochs are done. Kept: best epoch 3. 31.3 s of training.",
        f"Written to {folder}: best.pt, last.pt, metrics.csv, run.json, config.yaml, plots/curves.png, "
        "plots/confusion.png",
        f"Try next: mnist-eval {folder}",
        RESULT,
    ]


def test_a_pipe_gets_plain_lines(
    info: RunInfo,
    record: EpochRecord,
    result: Run,
    written: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(Console(terminal=False), info, record, result)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "downloading train-images-idx3-ubyte.gz",
        "data   mnist: 55,000 images to train, 5,000 to validate",
        "model  mlp 784-512-256-10, relu, 535,818 parameters",
        "device cpu, float32, 2 threads",
        "seed   0",
        f"folder {Path('runs') / 'one'}",
        HEAD,
        BEST,
        OTHER,
        *written,
    ]
    assert captured.err == "warning: model.output: cross_entropy [twice]\n"


def test_plain_lines_go_where_they_are_sent_at_once(info: RunInfo) -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.getvalue())

    stream = Stream()
    Console(stream).on_train_start(info)
    assert stream.getvalue().startswith("data   mnist")
    assert stream.flushed == len(stream.getvalue())


def test_quiet_prints_the_result_and_warnings_alone(
    info: RunInfo, record: EpochRecord, result: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(Console(quiet=True), info, record, result)
    captured = capsys.readouterr()
    assert captured.out == f"{RESULT}\n"
    assert captured.err.splitlines() == [line for line in captured.err.splitlines() if line.startswith("warning: ")]
    assert captured.err != ""


def test_a_epoch_row_has_no_blanks_behind_it() -> None:
    assert table_row(EPOCH_COLUMNS, EPOCH_COLUMNS) == HEAD
    cells = ("3", "0.1234", "0.0877", "97.40 %", "0.0012", "2.3", "* best so far")
    assert table_row(cells, EPOCH_COLUMNS) == BEST


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich takes what it writes to for a wide terminal with colours."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


def bare(text: str) -> str:
    """What was written, without colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def stylings(text: str, words: str) -> set[str]:
    """The escape codes right before `words`."""
    return set(re.findall(r"\x1b\[([0-9;]*)m" + re.escape(words), text))


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_colours_and_bars(
    info: RunInfo,
    record: EpochRecord,
    result: Run,
    written: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter(range(10, 100))
    monkeypatch.setattr(module, "monotonic", lambda: float(next(times)))
    rich = Console(terminal=True)
    tell(rich, replace(info, name="mlp[1]"), record, result)
    rich.close()
    captured = capsys.readouterr()
    lines = bare(captured.out).replace("\r", "\n").splitlines()
    for line in ("mlp[1]", "  model  mlp 784-512-256-10, relu, 535,818 parameters", HEAD, BEST, OTHER):
        assert line in lines
    for line in written:
        assert line in lines
    assert any(line.startswith("epoch 3/12 ") and line.rstrip().endswith(" 2/2") for line in lines)
    assert any(re.fullmatch(r"downloading train-images-idx3-ubyte\.gz .* 5 MB *", line) for line in lines)
    assert any(re.fullmatch(r"testing and drawing ━+ *", line) for line in lines)
    assert stylings(captured.out, BEST) == {"32"}
    assert stylings(captured.out, OTHER) <= {"0"}  # rich before 14.3 resets the style of plain text, too
    assert stylings(captured.out, "one") == {"1;32"}
    assert bare(captured.err) == "warning: model.output: cross_entropy [twice]\n"
    assert stylings(captured.err, "warning: model.output:") == {"33"}


@pytest.mark.usefixtures("terminal")
def test_the_bar_is_drawn_at_most_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([1.0, 1.05, 1.09, 1.2])
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    rich = Console(terminal=True)
    for step in range(1, 5):
        rich.on_step_end(1, step, 9)
    rich.close()
    assert {int(step) for step in re.findall(r"(\d)/9", bare(capsys.readouterr().out))} == {1, 4}


@pytest.mark.usefixtures("terminal")
def test_closing_takes_the_bar_away_whatever_happened(capsys: pytest.CaptureFixture[str]) -> None:
    rich = Console(terminal=True)
    rich.close()
    rich.on_test_start()
    rich.close()
    rich.close()
    out = capsys.readouterr().out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # the cursor was hidden and is back
    assert rich.bar is None


def test_a_warning_in_the_middle_of_an_epoch_stands_on_a_line_of_its_own() -> None:
    console = Console(terminal=True)
    console.on_step_end(1, 1, 2)
    assert console.bar is not None
    console.on_warning("training.on_divergence", "back")
    assert console.bar is None


def test_the_console_fits_where_the_output_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Console().is_terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert Console().is_terminal
    assert not Console(quiet=True).is_terminal


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal_breaks_neither_a_path_nor_a_row(
    info: RunInfo,
    record: EpochRecord,
    result: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    folder = Path("runs") / "a folder with a long name" / "and one more [in brackets] below it"
    rich = Console(terminal=True)
    tell(rich, replace(info, folder=folder), record, replace(result, folder=folder))
    rich.close()
    captured = capsys.readouterr()
    lines = bare(captured.out).replace("\r", "\n").splitlines()
    for line in (f"  folder {folder}", HEAD, BEST):
        assert line in lines


def test_two_listeners_hear_everything_and_the_first_one_stops(
    info: RunInfo, record: EpochRecord, result: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopping(Callback):
        def on_step_end(self, epoch: int, step: int, steps: int) -> None:
            self.should_stop = step == 2

    main = Stopping()
    together = both(main, Console(terminal=False))
    tell(together, info, record, result)
    assert capsys.readouterr().out.splitlines()[-1] == RESULT
    assert together.should_stop is True
    together.can_stop, main.stopped_by = True, "me"
    assert (main.can_stop, together.stopped_by, together.finish_on_stop) == (True, "me", False)


def test_a_listener_that_only_listens_wants_nothing(
    info: RunInfo, record: EpochRecord, result: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = Callback()
    tell(callback, info, record, result)
    assert not callback.should_stop
    assert capsys.readouterr() == ("", "")


def test_nobody_need_read_to_the_end(info: RunInfo, record: EpochRecord, result: Run) -> None:
    """After `| head` there is no reader; the training must not fail for that."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        console = Console(pipe)
        console.on_train_start(info)
        console.on_epoch_end(record)
        console.on_train_end(result)
