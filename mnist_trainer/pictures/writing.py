"""Paper, ink and parts of a picture in the view of it in which there is most writing, and least else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import find_ink, floor_of
from mnist_trainer.pictures.paper import REACHES, View, contrast_of, in_one_channel, views_of
from mnist_trainer.pictures.parts import Parts, find_parts
from mnist_trainer.pictures.ruling import find_ruling

SMALL = 320
"""Pixels a side at which views are compared."""

GOOD = 0.9
"""Share of the ink that is writing, at which no other view is tried."""

BONUS = (1.3, 1.15)
"""What views count more for that are likely: even paper; dark ink."""

VIEWS = 3
"""Ways to see a picture that are followed at most."""

LEAST, LEAST_SCORE = 0.3, 1e-9
"""Of the best view's score, for another to be followed; and what a score counts at least."""

LINED = View(light=False, reach=REACHES[-1])
"""The view in which the lines of paper are looked for."""


@dataclass(frozen=True)
class Writing:
    """`contrast` float32 [H, W] in grey levels, `levels` float32 [H, W] of ink from 0 to 1, and the parts of that.

    `cost` is −ln of the view's score as a share of the best one's.
    """

    contrast: NDArray[np.float32]
    levels: NDArray[np.float32]
    parts: Parts
    cost: float = 0.0


def find_writing(pixels: NDArray[np.uint8]) -> list[Writing]:
    """The writing on a picture [H, W] or [H, W, 3] in one view or more, the best first."""
    grey = in_one_channel(pixels)
    views = views_of(grey)
    if views[0].reach is None:
        plain = _seen(grey, views[0], _ruling(grey, views[0]))
        if not plain.levels.any() or plain.parts.share > GOOD:
            return [plain]
    small = _shrunk(grey)
    ruling = _ruling(small, LINED)
    tries = {view: _seen(small, view, ruling) for view in views}
    scores = {view: _score(tries[view], view) for view in views}
    ranking = sorted(views, key=lambda view: -scores[view])[:VIEWS]
    best = max(scores[ranking[0]], LEAST_SCORE)
    followed = [view for view in ranking if view is ranking[0] or scores[view] > LEAST * best]
    if small is not grey:
        ruling = _ruling(grey, LINED)
        tries = {view: _seen(grey, view, ruling) for view in followed}
    return [replace(tries[view], cost=-log(max(scores[view], LEAST_SCORE) / best)) for view in followed]


def _ruling(grey: NDArray[np.uint8], view: View) -> NDArray[np.bool_] | None:
    contrast = contrast_of(grey, view)
    return find_ruling(contrast, floor_of(contrast), photograph=view.reach is not None)


def _seen(grey: NDArray[np.uint8], view: View, ruling: NDArray[np.bool_] | None) -> Writing:
    contrast = contrast_of(grey, view)
    if ruling is not None:
        contrast = np.where(ruling, np.float32(0), contrast)
    ink = find_ink(contrast, photograph=view.reach is not None)
    return Writing(contrast, ink.levels, find_parts(ink, photograph=view.reach is not None))


def _score(seen: Writing, view: View) -> float:
    """How much in a view is writing, and how clearly it is seen."""
    if not seen.parts.parts:
        return 0.0
    main = seen.parts.map == seen.parts.parts[0].number
    strength = float(seen.contrast[main].mean()) / 255
    likely = (BONUS[0] if view.reach is None else 1.0) * (1.0 if view.light else BONUS[1])
    return likely * seen.parts.share * sqrt(max(0.0, strength))


def _shrunk(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    scale = max(grey.shape) / SMALL
    if scale <= 1:
        return grey
    size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
