"""`transformed` and `steadiness`: pictures that say the same in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transpose

from handwriting.bench import TALLY, Bench, Picture, Pixels, Sample, head, percent, row, saved, share, tally
from handwriting.simulated import drawn
from mnist_trainer.simulator.photographs import KINDS

TRANSFORMED, STEADINESS = 4, 6
"""Where the random numbers of a part begin."""

SHEET, LARGE = (300, 260), 140
"""Width and height of a sheet of paper, and the side of an image that is enlarged five times."""

ORIENTATION = 0x0112
TURNED = {  # what a camera writes, and how it then keeps the pixels: the opposite of what makes them upright
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}

STRIP = 4
"""Pixels at the border that are taken for paper. Mirrored again and again they are as rough as the paper is."""

Random = np.random.Generator
Change = Callable[[Pixels, Random], Picture]


def transformed(bench: Bench) -> Iterator[str]:
    """Images of the data set as they are, and on paper: enlarged five times, inverted, off-centre."""
    yield head("images of the data set", *TALLY, "points below as they are")
    plain = 0.0
    for name, change in TRANSFORMS.items():
        answers = bench.read("transformed", _changed(bench, name, change))
        plain = plain or share(answers)
        yield row(name, *tally(answers, decimals=2), f"{100 * (plain - share(answers)):.2f}")


def _changed(bench: Bench, name: str, change: Change) -> Iterator[Sample]:
    for number, (image, label) in enumerate(zip(*(values[: 5 * bench.count] for values in bench.digits), strict=True)):
        random = np.random.default_rng([TRANSFORMED, 0, number])
        yield Sample(f"{name}-{number}", change(image, random), str(label))


def on_paper(image: Pixels, random: Random, way: Resampling = Resampling.BILINEAR) -> Pixels:
    """Dark on white, five times as large, anywhere on a sheet."""
    large = Image.fromarray(255 - image).resize((LARGE, LARGE), way)
    sheet = Image.new("L", SHEET, 255)
    left, top = (int(random.integers(side - LARGE + 1)) for side in SHEET)
    sheet.paste(large, (left, top))
    return np.asarray(sheet)


def _turned(image: Pixels, random: Random) -> Picture:
    orientation = int(random.choice(list(TURNED)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    kept = Image.fromarray(on_paper(image, random)).transpose(TURNED[orientation])
    return saved(kept, "PNG", exif=exif)


def _with_alpha(image: Pixels, random: Random) -> Picture:
    ink = Image.fromarray(255 - on_paper(image, random))
    return saved(Image.merge("LA", (Image.new("L", SHEET), ink)), "PNG")


def _as_jpeg(image: Pixels, random: Random) -> Picture:
    return saved(Image.fromarray(on_paper(image, random)), "JPEG", quality=50)


TRANSFORMS: dict[str, Change] = {
    "as they are": lambda image, _: image,
    "on paper, nearest": partial(on_paper, way=Resampling.NEAREST),
    "on paper, bilinear": on_paper,
    "on paper, bicubic": partial(on_paper, way=Resampling.BICUBIC),
    "on paper, turned by EXIF": _turned,
    "on paper, ink in alpha": _with_alpha,
    "on paper, JPEG of quality 50": _as_jpeg,
}


def steadiness(bench: Bench) -> Iterator[str]:
    """How often the answer to a photograph is another one when the picture is changed, but not what it shows."""
    photographs = list(_with_paper_around(bench))
    before = [answer.text for answer in bench.read(None, photographs)]
    yield head("photographs", "pictures", "other answers", "share")
    for name, change in CHANGES.items():
        answers = bench.read("steadiness", _steady(name, change, photographs, before))
        others = sum(not answer.right for answer in answers)
        yield row(name, str(len(answers)), str(others), percent(others / len(answers)))


def _with_paper_around(bench: Bench) -> Iterator[Sample]:
    """Photographs of each kind in turn whose digit is not at the border: with more paper they show the same."""
    kinds = [kind for kind in KINDS if kind not in ("border", "frame", "checkerboard")]
    found = 0
    for number in count():
        kind = kinds[number % len(kinds)]
        picture, (x, y, width, height), label = drawn(bench, kind, number // len(kinds))
        rows, columns = picture.shape[:2]
        if min(x, y, columns - x - width, rows - y - height) > STRIP:
            yield Sample(f"{kind}-{number}", picture, label)
            found += 1
        if found == bench.few:
            return


def _steady(name: str, change: Change, samples: Sequence[Sample], before: Sequence[str]) -> Iterator[Sample]:
    """The samples, changed; what is right is the answer to them as they were."""
    for number, (sample, text) in enumerate(zip(samples, before, strict=True)):
        picture = change(np.asarray(sample.picture), np.random.default_rng([STEADINESS, 0, number]))
        yield Sample(f"{name.split(':', maxsplit=1)[0]}-{sample.name}", picture, text)


def with_more_paper(picture: Pixels, side: int, part: float) -> Pixels:
    """Larger by a part of itself at one of its four sides, where the paper goes on as it is near the border."""
    upright = np.rot90(picture, side)
    strip = upright[:, :STRIP]
    grown = np.pad(strip, ((0, 0), (round(part * upright.shape[1]), 0), (0, 0)), "symmetric")
    return np.rot90(np.concatenate([grown, upright[:, STRIP:]], axis=1), -side)


def _moved(picture: Pixels, random: Random) -> Pixels:
    return with_more_paper(picture, int(random.integers(4)), random.uniform(0.1, 0.5))


def _padded(picture: Pixels, random: Random) -> Pixels:
    part = random.uniform(0.1, 0.5)
    for side in range(4):
        picture = with_more_paper(picture, side, part)
    return picture


def _scaled(picture: Pixels, random: Random) -> Pixels:
    times = float(np.exp(random.uniform(np.log(0.7), np.log(1.5))))
    height, width = (max(1, round(times * side)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Resampling.BICUBIC))


CHANGES: dict[str, Change] = {
    "moved: more paper on one side": _moved,
    "padded: more paper on all sides": _padded,
    "scaled by 0.7 to 1.5": _scaled,
    "inverted": lambda picture, _: 255 - picture,
    "brightened: 0 to 255 become 55 to 255": lambda picture, _: (55 + picture * (200 / 255)).round().astype(np.uint8),
    "darkened: 0 to 255 become 0 to 200": lambda picture, _: (picture * (200 / 255)).round().astype(np.uint8),
}
