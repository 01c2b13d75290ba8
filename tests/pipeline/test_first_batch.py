"""`mnist-train --show-batch`: what is drawn is what the first step would see."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer import load_config, prepare
from mnist_trainer.pipeline import plan
from mnist_trainer.reports.plots import BATCH_CAPTION, PAIR_COLUMNS, batch_grid
from mnist_trainer.training.losses import MixedLabels


def test_the_images_of_the_first_step_are_drawn_below_their_originals(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["data"]["augment"] = {"rotate": 30, "thickness": 0.5}
    drawn: dict[str, Any] = {}

    def remember(originals: Any, seen: Any, captions: list[str], title: str) -> bytes:
        drawn.update(originals=originals, seen=seen, captions=captions)
        return b"png"

    monkeypatch.setattr(plan, "batch_grid", remember)
    assert plan.first_batch(load_config(tiny)) == b"png"
    images, labels = next(prepare(tiny).batches())
    assert isinstance(labels, torch.Tensor)
    assert np.array_equal(drawn["seen"], images.numpy())
    assert drawn["captions"] == [str(label) for label in labels.tolist()]
    plain = tiny | {"data": {key: value for key, value in tiny["data"].items() if key != "augment"}}
    assert np.array_equal(drawn["originals"], next(prepare(plain).batches())[0].numpy())
    assert not np.array_equal(drawn["originals"], drawn["seen"])
    assert not Path("runs").exists()


def test_mixed_images_are_named_by_both_their_labels() -> None:
    labels = MixedLabels(torch.tensor([7, 1]), torch.tensor([3, 1]), 0.7)
    assert plan.caption(tuple("0123456789"), labels, 0) == "7 + 3"
    assert plan.caption(tuple("0123456789"), torch.tensor([4]), 0) == "4"


def test_the_picture_holds_each_pair(tiny: dict[str, Any]) -> None:
    del tiny
    originals = np.full((PAIR_COLUMNS + 1, 28, 28), 0, np.uint8)
    seen = np.full((PAIR_COLUMNS + 1, 28, 28), 0, np.uint8)
    picture = Image.open(BytesIO(batch_grid(originals, seen, ["5"] * len(seen), "title"))).convert("L")
    dark = np.asarray(picture) < 30
    # 13 pairs of black squares, three dots a pixel: two rows of pairs, the second with one
    assert dark.sum() == pytest.approx(13 * 2 * (28 * 3) ** 2, rel=0.05)
    assert BATCH_CAPTION > 0


@pytest.mark.parametrize("training", [{}, {"mixup": 0.4}, {"adversarial": 1}])
def test_it_draws_for_every_config(tiny: dict[str, Any], training: dict[str, float]) -> None:
    config = load_config(tiny | {"training": training})
    picture = Image.open(BytesIO(plan.first_batch(config)))
    assert picture.format == "PNG"
    assert picture.width > 400
