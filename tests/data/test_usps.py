from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_trainer.data.paths import DamagedError
from mnist_trainer.data.usps import parse


def content(text: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(text), np.uint8)


def line(label: int = 3, **places: object) -> str:
    values = [f"{place}:{places.get(f'p{place}', -1)}" for place in range(1, 257)]
    return f"{label} {' '.join(values)}"


def test_same_images_and_labels_as_torchvision(make: Callable[..., Any], tmp_path: Path) -> None:
    from torchvision.datasets import USPS

    made = make("usps")
    made.put(tmp_path)
    reference = USPS(str(tmp_path), train=True)
    images, labels = parse(content(made.raw["usps"]))
    assert images.dtype == np.float32 and images.shape == (12, 16, 16)
    # torchvision cuts off the fraction of a grey level.
    assert np.abs(images * 255 - reference.data).max() <= 1.001
    assert labels.tolist() == reference.targets


def test_values_and_labels_of_one_line() -> None:
    images, labels = parse(content(line(10, p2=1, p17=0.5).encode()))
    assert labels.tolist() == [9]
    assert images[0, 0, :3].tolist() == [0, 1, 0] and images[0, 1, 0] == 0.75


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("<html>\n", "it is no text with a label and 256 numbered values a line"),
        (line() + "\n" + line()[:-5], "it is no text with a label and 256 numbered values a line"),
        ("3 1:0.5 2:0.5", "its lines do not have values numbered from 1 to 256"),
        (line().replace(" 7:", " 8:"), "its lines do not have values numbered from 1 to 256"),
        (line(11), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
        (line(p5=1.5), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
        (line(p5="nan"), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
    ],
)
def test_damage_is_explained(text: str, reason: str) -> None:
    with pytest.raises(DamagedError) as caught:
        parse(content(text.encode()))
    assert str(caught.value).startswith(reason)
