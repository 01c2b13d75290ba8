"""What one waits for before anything happens: `--help`, and a mistake in a config."""

from __future__ import annotations

import tempfile
from pathlib import Path

from speed.processes import ours, python, spend
from speed.rounds import Options, alternate, wall
from speed.rows import Row, above

MOST = 0.25
WRONG = "model: {architecture: mlp, hidden: [64]}\nloss: cross_entrophy\n"
PYTHON, HELP, MISTAKE = "python -c pass", "mnist-train --help", "a config error"


def measure(options: Options) -> list[Row]:
    """Seconds of whole processes; three times as many rounds as elsewhere, for they are short."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "wrong.yaml"
        wrong.write_text(WRONG)
        commands = {
            PYTHON: (python("pass"), 0),
            HELP: (ours("train", "--help"), 0),
            MISTAKE: (ours("train", "--config", str(wrong)), 2),
        }
        work = {
            name: lambda _, command=command, code=code: spend(command, expect=code)
            for name, (command, code) in commands.items()
        }
        found = alternate(work, options.rounds if options.tiny else 3 * options.rounds, warm_up=not options.tiny)
    series = {name: wall(name, runs) for name, runs in found.items()}
    goals = tuple(above(series[name], series[PYTHON], MOST) for name in (HELP, MISTAKE))
    return [Row("Help and a config error", f"{HELP}; mnist-train --config wrong.yaml", tuple(series.values()), goals)]
