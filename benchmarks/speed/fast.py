"""`mnist-train --config fast`, a whole process to 99 % on the test images, beside pytorch/examples' MNIST."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from mnist_trainer.config.shipped import shipped
from speed.processes import Spent, python, spend
from speed.rounds import Options, Series, alternate, wall
from speed.rows import Goal, Row, at_least, faster, within
from speed.trainings import ON_MORE, peer, training

TITLE, COMMAND = "99 % as fast as can be, whole process", "mnist-train --config fast"
TORCH = 'python -c "import torch"'
SEEDS = 10
EXAMPLES, CONVNET = "three epochs of pytorch/examples", "three epochs of Keras' convnet"
MEAN, WORST, FASTER, TIMES = 99.0, 98.85, 45, 3.2


def measure(options: Options) -> list[Row]:
    """Ten seeds of ours, two a round, each beside `import torch`; and the peers once a round."""
    if not is_shipped("fast"):
        return [Row(TITLE, COMMAND, open="there is no config fast yet")]
    records: dict[int, dict[str, Any]] = {}
    seeds_a_round = 1 if options.tiny else -(-SEEDS // options.rounds)

    def mine(number: int) -> list[Spent]:
        found = []
        for seed in range(number * seeds_a_round, (number + 1) * seeds_a_round):
            spent, records[seed] = training(options, "fast", seed=seed)
            found.append(spent)
        return found

    def torch(_: int) -> list[Spent]:
        return [spend(python("import torch")) for _ in range(seeds_a_round)]

    work: dict[str, Callable[[int], list[Spent]]] = {"this trainer": mine, TORCH: torch}
    if options.peers:
        work |= {EXAMPLES: _one(peer(options, "examples_mnist", 1)), CONVNET: _one(peer(options, "keras_convnet", 2))}
    results = {
        name: [run for runs in rounds for run in runs]
        for name, rounds in alternate(work, options.rounds, warm_up=not options.tiny).items()
    }
    us, base = wall("this trainer", results["this trainer"]), wall(TORCH, results[TORCH])
    accuracies = Series("test accuracy of the seeds", tuple(100 * r["test"]["accuracy"] for r in records.values()), "%")
    peers = [_of_three(name, results[name]) for name in (EXAMPLES, CONVNET) if name in results]
    mean = statistics.mean(accuracies.values)
    goals: list[Goal] = [
        at_least(f"mean test accuracy of {len(records)} seeds", accuracies, MEAN, mean),
        at_least("worst of them", accuracies, WORST, min(accuracies.values)),
        within(us, base, TIMES),
    ]
    goals += [faster(us, peers[0], FASTER)] if peers else []
    notes = [f"{ON_MORE} Aim: 3.5 s."]
    notes += [_told(name, results[name]) for name in (EXAMPLES, CONVNET) if name in results]
    return [Row(TITLE, COMMAND, (us, base, *peers, accuracies), tuple(goals), tuple(notes))]


def is_shipped(name: str) -> bool:
    """Whether a config of that name comes with the package."""
    return name in shipped()


def _one(run: Callable[[int], Spent]) -> Callable[[int], list[Spent]]:
    return lambda number: [run(number)]


def _of_three(name: str, runs: list[Spent]) -> Series:
    """Seconds of three epochs: the process as it was measured, and its last epoch for each that it did not do."""
    return Series(name, tuple(run.seconds + _missing(run) * run.told["epoch_seconds"][-1] for run in runs))


def _missing(run: Spent) -> int:
    return 3 - len(run.told["epoch_seconds"])


def _told(name: str, runs: list[Spent]) -> str:
    done = len(runs[0].told["epoch_seconds"])
    accuracy = 100 * statistics.median(run.told["test_accuracy"] for run in runs)
    epoch = statistics.median(run.told["epoch_seconds"][-1] for run in runs)
    return (
        f"{name[0].upper()}{name[1:]}: the whole process was measured with {done}, and the last one's time "
        f"({epoch:.1f} s, median) is added {3 - done} times. After {done}: {accuracy:.2f} % on the test images, median."
    )
