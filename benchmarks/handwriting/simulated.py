"""`rows`, `refusals` and `photographs`: pictures of the simulator, by kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

import numpy as np

from handwriting.bench import TALLY, Answer, Bench, Pixels, Sample, head, percent, row, share, tally
from mnist_trainer.pictures.page import Box
from mnist_trainer.simulator.non_digits import NON_DIGITS, non_digit
from mnist_trainer.simulator.photographs import KINDS, page, photograph

ROWS, REFUSALS, PHOTOGRAPHS = 1, 2, 3
"""The first part of a random seed: picture i of kind k is drawn with the seed [part, k, i]."""

LAYOUTS = {"one line": (1, 1), "several lines": (2, 3), "touching": (1, 3)}
"""The least and the largest number of lines, by kind of page."""

CROSSED = (0, 1, 7)
"""Digits that some people write with an additional stroke."""


def rows(bench: Bench) -> Iterator[str]:
    """Yield the table of pages of one to three lines, of two to eight digits each."""
    yield head("rows", *TALLY, "digits right")
    everything: list[Answer] = []
    for name in LAYOUTS:
        answers = bench.read("rows", _pages(bench, name))
        everything += answers
        yield row(name, *tally(answers), percent(digits_right(answers)))
    yield row("**all**", *tally(everything), percent(digits_right(everything)))


def _pages(bench: Bench, name: str) -> Iterator[Sample]:
    images, labels = bench.digits
    for number in range(bench.few):
        random = np.random.default_rng([ROWS, list(LAYOUTS).index(name), number])
        least, most = LAYOUTS[name]
        lines = [
            random.integers(len(images), size=random.integers(2, 9)) for _ in range(random.integers(least, most + 1))
        ]
        picture, _ = page([list(images[line]) for line in lines], random, touching=name == "touching")
        text = "\n".join("".join(map(str, labels[line])) for line in lines)
        yield Sample(f"{name}-{number}", picture, text)


def digits_right(answers: Sequence[Answer]) -> float:
    """Return 1 − (edit distance of the texts without line breaks) / (number of correct digits)."""
    texts = [(answer.text.replace("\n", ""), answer.label.replace("\n", "")) for answer in answers]
    return 1 - sum(edits(read, correct) for read, correct in texts) / sum(len(correct) for _, correct in texts)


def edits(one: str, other: str) -> int:
    """Return the edit distance (Levenshtein 1966)."""
    costs = list(range(len(other) + 1))
    for done, mine in enumerate(one, 1):
        before, costs[0] = costs[0], done
        for place, theirs in enumerate(other, 1):
            before, costs[place] = costs[place], min(costs[place] + 1, costs[place - 1] + 1, before + (mine != theirs))
    return costs[-1]


def refusals(bench: Bench) -> Iterator[str]:
    """Yield the table of pictures without digits."""
    yield head("no digit", "pictures", "refused, with 95 % interval")
    everything: list[Answer] = []
    for kind in NON_DIGITS:
        answers = bench.read("refusals", non_digits(bench, kind))
        everything += answers
        yield row(kind, *_refused(answers))
    yield row("**all**", *_refused(everything))


def _refused(answers: Sequence[Answer]) -> tuple[str, str]:
    count, *_, interval = tally(answers)
    return count, interval


def non_digits(bench: Bench, kind: str) -> Iterator[Sample]:
    """Yield the pictures without digits of a kind."""
    for number in range(bench.few):
        random = np.random.default_rng([REFUSALS, NON_DIGITS.index(kind), number])
        yield Sample(f"{kind}-{number}", non_digit(random, bench.digits[0], kind), "")


def photographs(bench: Bench) -> Iterator[str]:
    """Yield the table of simulated photographs, scans and drawings."""
    yield head("photographs", "right", "refused", "wrong")
    shares: dict[str, tuple[float, float]] = {}
    for kind in KINDS:
        answers = bench.read("photographs", photographed(bench, kind, bench.count))
        shares[kind] = share(answers), share(answers, refused=True)
        yield row(kind, *_shares(*shares[kind]))
    worst = min(shares, key=lambda kind: shares[kind])
    rights, refused = zip(*shares.values(), strict=True)
    yield row("**mean**", *_shares(mean(rights), mean(refused)))
    yield row(f"**worst: {worst}**", *_shares(*shares[worst]))


def _shares(correct: float, refused: float) -> tuple[str, str, str]:
    return percent(correct), percent(refused), percent(1 - correct - refused)


def photographed(bench: Bench, kind: str, count: int) -> Iterator[Sample]:
    """Yield the first `count` photographs of a kind."""
    for number in range(count):
        picture, _, label = drawn(bench, kind, number)
        yield Sample(f"{kind}-{number}", picture, label)


def drawn(bench: Bench, kind: str, number: int) -> tuple[Pixels, Box, str]:
    """Return photograph `number` of a kind, the box of the digit, and its label."""
    images, labels = bench.digits
    random = np.random.default_rng([PHOTOGRAPHS, KINDS.index(kind), number])
    fitting = np.flatnonzero(np.isin(labels, CROSSED)) if kind == "crossed" else np.arange(len(labels))
    at = int(random.choice(fitting))
    picture, shown = photograph(images[at], random, kind, label=int(labels[at]))
    return picture, shown.box, str(labels[at])
