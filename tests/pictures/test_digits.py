from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.digits import page_of, read_page, read_single
from mnist_trainer.pictures.page import Glyph, Page

Draw = Callable[..., NDArray[np.uint8]]
SAMPLES = Path(__file__).parent / "samples"


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two images, in grey levels."""
    return float(np.abs(one.astype(int) - other).mean())


def difference_but_for_a_pixel(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The least `difference` with one image moved by a pixel at most, for a centroid may be rounded either way."""
    steps = (-1, 0, 1)
    return min(difference(np.roll(one, (down, right), (0, 1)), other) for down in steps for right in steps)


def only(page: Page) -> Glyph:
    """The one glyph of a page on which there is nothing else."""
    (glyph,) = page.glyphs
    return glyph


def image_of(picture: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return only(page_of(picture)).image


@given(x=st.integers(0, 116), y=st.integers(0, 100))
def test_it_does_not_matter_where_the_digit_is(draw_seven: Draw, x: int, y: int) -> None:
    digit = only(page_of(draw_seven(at=(x, y))))
    assert np.array_equal(digit.image, image_of(draw_seven()))
    assert digit.box == (x, y, 84, 120)


@given(unit=st.integers(6, 60))
def test_it_hardly_matters_how_large_the_digit_is(draw_seven: Draw, unit: int) -> None:
    digit = only(page_of(draw_seven(size=(500, 700), at=(30, 40), unit=unit)))
    assert difference_but_for_a_pixel(digit.image, image_of(draw_seven())) < 6
    assert digit.box == pytest.approx((30, 40, 7 * unit, 10 * unit), abs=2)


@given(ink=st.integers(0, 100), paper=st.integers(130, 255), unit=st.integers(2, 14), thickness=st.floats(0.5, 2))
def test_inverting_the_picture_changes_nothing(
    draw_seven: Draw, ink: int, paper: int, unit: int, thickness: float
) -> None:
    drawn = draw_seven(ink=ink, paper=paper, unit=unit, thickness=thickness)
    assert difference(image_of(drawn), image_of(255 - drawn)) < 0.5


MODES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "1": lambda drawn: drawn.convert("1"),
    "LA": lambda drawn: drawn.convert("LA"),
    "P": lambda drawn: drawn.convert("P"),
    "P adaptive": lambda drawn: drawn.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
    "RGB": lambda drawn: drawn.convert("RGB"),
    "RGBA": lambda drawn: drawn.convert("RGBA"),
    "CMYK": lambda drawn: drawn.convert("RGB").convert("CMYK"),
    "I;16": lambda drawn: Image.fromarray(np.asarray(drawn).astype(np.uint16) * 257),
    "alpha": lambda drawn: Image.merge("LA", (Image.new("L", drawn.size), drawn.point(lambda level: 255 - level))),
    "white alpha": lambda drawn: Image.merge(
        "LA", (Image.new("L", drawn.size, 255), drawn.point(lambda level: 255 - level))
    ).convert("RGBA"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_of_the_file_does_not_matter(tmp_path: Path, draw_seven: Draw, mode: str) -> None:
    drawn = draw_seven()
    path = tmp_path / ("digit.tif" if mode == "CMYK" else "digit.png")
    MODES[mode](Image.fromarray(drawn)).save(path)
    digit = only(read_page(path))
    assert difference(digit.image, image_of(drawn)) < 0.5
    assert digit.box == (60, 50, 84, 120)


def test_a_transparent_palette_colour_is_no_ink(tmp_path: Path, draw_seven: Draw) -> None:
    drawn = draw_seven()
    image = Image.fromarray((drawn < 128).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 40, 30, 20])
    image.save(tmp_path / "digit.gif", transparency=0)
    digit = only(read_page(tmp_path / "digit.gif"))
    assert np.array_equal(digit.image, image_of(drawn))


@pytest.mark.parametrize("quality", [30, 90])
def test_a_photograph_taken_sideways_is_read_upright(tmp_path: Path, draw_seven: Draw, quality: int) -> None:
    drawn = draw_seven(size=(3000, 2400), at=(900, 300), unit=150, ink=40, paper=220)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    sideways = Image.fromarray(drawn).transpose(Image.Transpose.ROTATE_90)
    sideways.save(tmp_path / "photo.jpg", exif=exif, quality=quality)
    digit = only(read_page(tmp_path / "photo.jpg"))
    assert difference(digit.image, image_of(draw_seven())) < 5
    assert digit.box == pytest.approx((900, 300, 1050, 1500), abs=4)


@pytest.mark.parametrize("values", [lambda drawn: drawn > 99, lambda drawn: drawn / 255, lambda drawn: drawn * 200])
def test_arrays_of_other_types_are_read(
    draw_seven: Draw, values: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
) -> None:
    drawn = draw_seven()
    assert np.array_equal(image_of(values(drawn.astype(np.int64))), image_of(drawn))


def test_a_rendered_image_passes_through_unchanged(draw_seven: Draw) -> None:
    digit = only(page_of(draw_seven()))
    again = only(page_of(digit.image))
    assert np.array_equal(again.image, digit.image)
    x, y, width, height = again.box
    outside = digit.image.copy()
    outside[y : y + height, x : x + width] = 0
    assert not outside.any() and height == 20


@pytest.mark.parametrize("way", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_an_enlarged_inverted_digit_is_read_as_it_was(draw_seven: Draw, way: Image.Resampling) -> None:
    original = image_of(draw_seven())
    sheet = Image.new("L", (260, 300), 255)
    sheet.paste(Image.fromarray(255 - original).resize((140, 140), way), (110, 20))
    assert difference_but_for_a_pixel(image_of(sheet), original) < (0.5 if way is Image.Resampling.NEAREST else 6)


def test_real_digits_are_read_as_they_were(mnist_root: Path) -> None:
    raw = np.fromfile(mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte", np.uint8, count=16 + 300 * 784)
    differences = []
    for original in raw[16:].reshape(-1, 28, 28):
        assert np.array_equal(image_of(original), original)
        sheet = np.full((190, 210), 255, np.uint8)
        sheet[15:155, 60:200] -= original.repeat(5, axis=0).repeat(5, axis=1)
        image = read_single(sheet)
        assert image is not None
        differences.append(difference_but_for_a_pixel(image, original))
    assert np.mean(np.array(differences) < 1) > 0.9
    assert np.mean(differences) < 1


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("0_transparent.png", (120, 89, 153, 227)),
        ("2_photo.jpg", (24, 29, 43, 72)),
        ("4_thin.png", (8, 3, 15, 22)),
        ("5_palette.png", (54, 16, 96, 160)),
    ],
)
def test_handwriting_is_found_where_it_is(name: str, box: tuple[int, int, int, int]) -> None:
    digit = only(read_page(SAMPLES / name))
    assert digit.box == pytest.approx(box, abs=1)


def test_handwriting_resembles_real_digits_of_its_kind(mnist_root: Path) -> None:
    raw = mnist_root / "MNIST" / "raw"
    known = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, count=16 + 5000 * 784)[16:].reshape(-1, 784) / 255
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, count=8 + 5000)[8:]
    for path in sorted(SAMPLES.glob("*.[pj]*g")):
        digit = only(read_page(path))
        likeness = known @ digit.image.ravel().astype(np.float32)
        nearest = np.bincount(labels[np.argsort(likeness)[-5:]])
        assert nearest.argmax() == int(path.name[0]), path.name


def test_a_blank_picture_is_named() -> None:
    for blank in (Image.new("RGB", (200, 200), "white"), np.zeros((28, 28), np.uint8)):
        page = page_of(blank)
        assert (page.layouts, page.reason) == ((), "no ink: nothing on it stands out from the paper")
        assert read_single(blank) is None


@pytest.mark.parametrize("name", ["LA", "RGBA"])
def test_a_wholly_transparent_picture_holds_no_ink(name: str) -> None:
    assert not page_of(Image.new(name, (50, 50))).layouts


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((0, 5)), "an array of shape [0, 5] is neither [H, W] nor [H, W, 3] nor [H, W, 4]"),
        (np.zeros(5), "an array of shape [5] is neither [H, W] nor [H, W, 3] nor [H, W, 4]"),
        (np.zeros((5, 5, 2)), "an array of shape [5, 5, 2] is neither [H, W] nor [H, W, 3] nor [H, W, 4]"),
        (np.zeros((5, 5, 3)), "colours must be uint8, these are float64"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(values: NDArray[np.uint8], reason: str) -> None:
    with pytest.raises(DataError) as error:
        page_of(values)
    assert str(error.value) == f"The picture can't be read: {reason}."


def test_a_picture_in_memory_is_left_as_it_was(tmp_path: Path, draw_seven: Draw) -> None:
    path = tmp_path / "large.jpg"
    Image.fromarray(draw_seven(size=(3300, 2000), unit=150)).convert("RGB").save(path)
    with Image.open(path) as image:
        page_of(image)
        assert (image.size, image.mode) == ((3300, 2000), "RGB")


def test_reading_pictures_needs_no_torch() -> None:
    code = "import sys, mnist_trainer.pictures.digits; print({'torch', 'cv2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
