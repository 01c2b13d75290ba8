"""Replace values in nested data, such as the content of a checkpoint, by unexpected ones."""

from __future__ import annotations

from random import Random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 10**30, -(10**30), 0.0, -0.5, 1e300, float("nan"), float("inf"), "", "x", "\x1b[31mx"),
    *(
        "a\nb",
        "x" * 5000,
        "10",
        [],
        {},
        [[]],
        [None],
        {"": None},
        {1: 2},
        [0] * 1000,
        ("a",),
        "mnist",
        "values",
        "sigmoid",
    ),
)


def made_hostile(value: Any, random: Random, depth: int) -> Any:
    """Return a copy of nested data in which one value, about `depth` levels down, is unexpected or missing."""
    import torch

    if depth and isinstance(value, dict) and value:
        key = random.choice(sorted(value, key=str))
        copy = dict(value)
        if random.random() < 0.1:
            del copy[key]
        elif random.random() < 0.1:
            copy[random.choice(HOSTILE[13:18])] = copy.pop(key)
        else:
            copy[key] = made_hostile(value[key], random, depth - 1)
        return copy
    if depth and isinstance(value, list | tuple) and value:
        at = random.randrange(len(value))
        return [*value[:at], made_hostile(value[at], random, depth - 1), *value[at + 1 :]][
            : random.choice((None, None, at))
        ]
    if isinstance(value, torch.Tensor) and random.random() < 0.8:
        ways = (
            lambda: value * float("nan"),
            lambda: value * 1e38 * 1e38,
            lambda: value[:1],
            lambda: value.reshape(-1),
            lambda: value.to(random.choice((torch.float64, torch.int64, torch.bool, torch.complex64, torch.float16))),
            lambda: torch.empty(0),
            lambda: torch.zeros(1).expand(10**12),
            value.to_sparse,
        )
        return random.choice(ways)()
    return random.choice(HOSTILE)
