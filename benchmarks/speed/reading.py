"""`mnist-eval` on the 10,000 test images, and `mnist-predict` on one file, beside `import torch`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from speed.fast import TORCH, is_shipped
from speed.processes import ours, python, spend
from speed.rounds import Options, alternate, wall
from speed.rows import Row, within
from speed.trainings import training

EVAL, PREDICT = 2.0, 1.6
TITLE = "Evaluating and predicting, whole processes"


def measure(options: Options) -> list[Row]:
    """Seconds of whole processes: checkpoints of `lecture` and, where it is, `fast`; predictions by the bundled one."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        picture = write_digits(folder / "picture", 1)
        commands = {TORCH: python("import torch"), "mnist-predict, one file": ours("predict", str(picture))}
        for name in ("lecture", "fast") if not options.tiny else ("lecture",):
            if is_shipped(name):
                training(options, name, "report.plots=false", folder=folder / name)
                commands[f"mnist-eval, {name}'s best.pt"] = ours("evaluate", str(folder / name / "best.pt"))
        work = {name: lambda _, command=command: spend(command) for name, command in commands.items()}
        found = alternate(work, options.rounds, warm_up=not options.tiny)
    series = {name: wall(name, runs) for name, runs in found.items()}
    base = series.pop(TORCH)
    goals = tuple(within(one, base, EVAL if "eval" in name else PREDICT) for name, one in series.items())
    command = "mnist-eval RUN/best.pt; mnist-predict picture.png"
    return [Row(TITLE, command, (base, *series.values()), goals)]


def write_digits(folder: Path, count: int) -> Path:
    """A new folder with `count` PNGs of 28×28, written by another process: this one stays small."""
    folder.mkdir()
    spend([sys.executable, str(Path(__file__).parent / "digits.py"), str(folder), str(count)])
    return folder
