"""Paper, light and camera: what each effect does to a sheet; `mnist_trainer/simulator/effects.py`, `scene.py`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.simulator.effects import LIGHT, PENS, SURFACE, PicturePlan, jpeg_compress, render_scene
from mnist_trainer.simulator.scene import (
    DrawnInk,
    Scene,
    clouds,
    grain,
    overlay,
    paste,
    random_colour,
    slope,
    waves,
)

Levels = NDArray[np.float32]


def writing(size: int = 160, box: tuple[int, int] = (60, 100)) -> DrawnInk:
    ink = np.zeros((size, size), np.float32)
    ink[box[0] : box[1], box[0] : box[1]] = 1
    return DrawnInk(ink, 40, 4)


def sheet() -> Scene:
    return Scene(np.full((3, 160, 160), 200, np.float32), writing())


@pytest.mark.parametrize("name", [*SURFACE, *LIGHT])
def test_every_effect_is_seen_and_stays_finite(name: str) -> None:
    for seed in range(8):
        scene = sheet()
        (SURFACE | LIGHT)[name](scene, np.random.default_rng(seed))
        assert scene.planes.dtype == np.float32
        assert np.isfinite(scene.planes).all()
        assert scene.planes.std() > 0.1


@pytest.mark.parametrize("name", ["table_edge", "finger"])
@pytest.mark.parametrize("box", [(60, 100), (20, 60), (25, 150)])
def test_what_lies_at_the_border_leaves_the_writing_free(name: str, box: tuple[int, int]) -> None:
    for seed in range(20):
        scene = Scene(np.full((3, 160, 160), 200, np.float32), writing(box=box))
        LIGHT[name](scene, np.random.default_rng(seed))
        inside = slice(box[0] + 2, box[1] - 2)
        assert scene.planes[:, inside, inside].min() > 90
        assert scene.planes.min() < 190


def test_light_leaves_the_ink_darker_than_the_paper_beside_it() -> None:
    for seed in range(20):
        scene = sheet()
        scene.planes[:, 60:100, 60:100] = 60
        for name in ("shadow", "hard_shadow", "vignette"):
            LIGHT[name](scene, np.random.default_rng(seed))
        assert (scene.planes[:, 70:90, 60:64] < 0.6 * scene.planes[:, 70:90, 54:58]).mean() > 0.9


@pytest.mark.parametrize("pen", PENS)
@pytest.mark.parametrize("medium", ["d", "p", "b"])
def test_every_pen_leaves_ink_on_every_medium(pen: str, medium: str) -> None:
    for seed in range(5):
        picture = render_scene(writing(), PicturePlan(medium, pen, frozenset()), np.random.default_rng(seed)).mean(
            axis=2
        )
        difference = picture[65:95, 65:95].mean() - picture[:50].mean()
        assert difference > 30 if medium == "b" else difference < -30


def test_drawings_are_clean() -> None:
    picture = render_scene(writing(), PicturePlan("d", "round", frozenset()), np.random.default_rng(1))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


def test_jpeg_keeps_colours_and_grows_worse_with_less_quality() -> None:
    rows = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = np.stack(np.broadcast_arrays(rows[:, None], rows, np.uint8(30)), axis=-1)
    errors = [np.abs(jpeg_compress(picture, quality).astype(int) - picture).mean() for quality in (95, 50, 10)]
    assert errors == sorted(errors)
    assert errors[0] < 3


def test_colours_have_the_brightness_asked_for() -> None:
    for seed in range(20):
        colour = random_colour(128, 20, np.random.default_rng(seed))
        assert colour.shape == (3, 1, 1)
        assert float((colour.ravel() * [0.299, 0.587, 0.114]).sum()) == pytest.approx(128, abs=1)


@pytest.mark.parametrize("table", [grain, clouds])
def test_tables_of_noise_are_normal_and_are_not_changed(table: type[grain]) -> None:
    first, second = (table((300, 500), np.random.default_rng(2)) for _ in range(2))
    assert first.shape == (300, 500)
    assert abs(float(first.mean())) < 0.5
    assert 0.5 < first.std() < 1.5
    assert np.array_equal(first, second)


def test_waves_are_smooth() -> None:
    hills = waves((200, 200), np.random.default_rng(0))
    assert np.abs(np.diff(hills, axis=0)).max() < 0.1 * np.ptp(hills)


def test_slopes_point_where_they_should() -> None:
    assert slope((4, 6), 0)[0].tolist() == [-3, -2, -1, 0, 1, 2]
    assert slope((4, 6), np.pi / 2)[:, 0] == pytest.approx([-2, -1, 0, 1], abs=1e-5)


def test_an_overlay_covers_as_far_as_its_alpha() -> None:
    planes, alpha = np.full((3, 1, 3), 100, np.float32), np.array([[0, 0.5, 1]], np.float32)
    overlay(planes, alpha, np.array([200, 100, 0], np.float32)[:, None, None])
    assert planes[:, 0].tolist() == [[100, 150, 200], [100, 100, 100], [100, 50, 0]]


@pytest.mark.parametrize(("top", "left", "covered"), [(0, 0, 16), (-2, 3, 8), (8, 8, 4), (-9, 0, 0)])
def test_pasting_stops_at_the_border(top: int, left: int, covered: int) -> None:
    ink = np.zeros((10, 10), np.float32)
    paste(ink, np.full((4, 4), 255, np.uint8), top, left)
    assert ink.sum() == pytest.approx(covered)
