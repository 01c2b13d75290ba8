"""`fast` on one GPU, where there is one: its training alone and the whole command."""

from __future__ import annotations

import torch

from speed.fast import is_shipped
from speed.rounds import Options, Series, alternate, wall
from speed.rows import Goal, Row
from speed.trainings import training

TITLE, COMMAND = "One GPU: 99 %", "mnist-train --config fast --device cuda"
MOST = 0.3


def measure(options: Options) -> list[Row]:
    """Seconds of training as run.json has them, beside whole processes."""
    if not torch.cuda.is_available():
        return [Row(TITLE, COMMAND, open="there is no GPU on this machine")]
    if not is_shipped("fast"):
        return [Row(TITLE, COMMAND, open="there is no config fast yet")]
    work = {"fast": lambda seed: training(options, "fast", "device=cuda", seed=seed)}
    found = alternate(work, options.rounds, warm_up=not options.tiny)["fast"]
    records = [record for _, record in found]
    alone = Series("training alone", tuple(record["timings"]["training_seconds"] for record in records))
    accuracy = Series("test accuracy", tuple(100 * record["test"]["accuracy"] for record in records), "%")
    whole = wall("whole command", [spent for spent, _ in found])
    goals = (Goal(f"training alone: ≤ {MOST} s on an H200-class card", alone.median, "s", alone.median <= MOST),)
    return [Row(TITLE, COMMAND, (alone, whole, accuracy), goals, (f"On {torch.cuda.get_device_name()}.",))]
