"""`sources`: pictures that people made, by folder and by who made them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import numpy as np
from PIL import Image

from handwriting.bench import TALLY, Answer, Bench, Sample, head, row, tally
from mnist_trainer.pictures.listing import is_hidden

Groups = dict[str, list[Answer]]


def sources(bench: Bench) -> Iterator[str]:
    """Yield three tables: by folder, by folder for held-back sources only, and by source."""
    folders = {name: bench.read(f"sources/{name}", samples) for name, samples in real(bench.folders)}
    if not folders:
        yield "Name folders of pictures to read."
        return
    yield from table("folder", folders)
    known = sorted({answer.source for answers in folders.values() for answer in answers})
    held = {name: [answer for answer in answers if is_held_back(answer)] for name, answers in folders.items()}
    names = ", ".join(source for source in known if _is_fifth(source))
    yield f"\nHeld-back sources (the SHA-256 of the name is a multiple of five): {names or 'none'}\n"
    yield from table("folder, held back", {name: answers for name, answers in held.items() if answers})
    yield ""
    everything = [answer for answers in folders.values() for answer in answers]
    yield from table("source", {name: [each for each in everything if each.source == name] for name in known})


def real(places: Iterable[Path]) -> Iterator[tuple[str, Iterator[Sample]]]:
    """Yield name and samples of each of `places`, of their sub-folders, and of `.npz` files in them."""
    for place in places:
        repositories = _repositories(place)
        for folder in (place, *sorted(path for path in place.iterdir() if path.is_dir())):
            if pictures := _pictures(folder):
                yield folder.name, (_sample(path, repositories) for path in pictures)
            for path in sorted(folder.glob("*.npz")):
                yield f"{folder.name}/{path.stem}", _of_set(path)


def _pictures(folder: Path) -> Sequence[Path]:
    kinds = Image.registered_extensions()
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds and not is_hidden(path.name))


def _repositories(place: Path) -> dict[str, str]:
    """Return the source of each file by its path below `place`, from `SOURCES.tsv`, if there is one."""
    path = place / "SOURCES.tsv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        return {line["file"]: line["repository"] for line in csv.DictReader(lines, delimiter="\t")}


def _sample(path: Path, repositories: dict[str, str]) -> Sample:
    """Return the sample of a picture called DIGITS_SOURCE…, with one part DIGITS for each line, or none."""
    first, *rest = path.stem.split("_")
    lines = [first, *takewhile(str.isdecimal, rest[:-1])] if first.isdecimal() else []
    own = rest[max(0, len(lines) - 1) :]
    source = repositories.get(f"{path.parent.name}/{path.name}", own[0] if own else "unknown")
    return Sample(path.stem, path, "\n".join(lines), source)


def _of_set(path: Path) -> Iterator[Sample]:
    """Yield the samples of a `.npz` file with x, uint8 [N, h, w], bright on black, and y [N]."""
    with np.load(path) as content:
        images, labels = content["x"], content["y"]
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        yield Sample(f"{path.stem}-{number}", image, str(label), path.stem)


def table(title: str, groups: Groups) -> Iterator[str]:
    yield head(title, *TALLY)
    for name, answers in groups.items():
        yield row(name, *tally(answers))


def is_held_back(answer: Answer) -> bool:
    """Return whether the source was not looked at while settings were chosen."""
    return _is_fifth(answer.source)


def _is_fifth(source: str) -> bool:
    return int(sha256(source.encode()).hexdigest(), 16) % 5 == 0
