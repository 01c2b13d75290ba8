"""A picture in, a page of glyphs out; its ink by the best background: `mnist_trainer/pictures/read.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mnist_trainer.data.digits import load_digits
from mnist_trainer.errors import DataError
from mnist_trainer.pictures.page import Expect, Glyph, Page
from mnist_trainer.pictures.read import (
    CROWDED,
    NO_INK,
    OTHER_PAGES,
    Writing,
    find_writing,
    read_image,
    read_page,
    read_pages,
    read_single,
)
from mnist_trainer.simulator.photographs import page

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
    """Of the likeliest glyph, if a picture holds one digit."""
    return read_image(picture, "single").glyphs[0].image


@given(x=st.integers(0, 116), y=st.integers(0, 100))
def test_it_does_not_matter_where_the_digit_is(draw_seven: Draw, x: int, y: int) -> None:
    digit = read_image(draw_seven(at=(x, y)), "single").glyphs[0]
    assert np.array_equal(digit.image, image_of(draw_seven()))
    assert digit.box == (x, y, 84, 120)


@given(unit=st.integers(6, 60))
def test_it_hardly_matters_how_large_the_digit_is(draw_seven: Draw, unit: int) -> None:
    digit = only(read_image(draw_seven(size=(500, 700), at=(30, 40), unit=unit)))
    assert difference_but_for_a_pixel(digit.image, image_of(draw_seven())) < 6
    assert digit.box == pytest.approx((30, 40, 7 * unit, 10 * unit), abs=2)


@given(ink=st.integers(0, 100), paper=st.integers(130, 255), unit=st.integers(3, 14), thickness=st.floats(0.5, 1.5))
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
    digit = only(read_image(draw_seven()))
    again = only(read_image(digit.image))
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


@pytest.mark.slow
def test_real_digits_are_read_as_they_were(mnist_root: Path) -> None:
    """Enlarged on paper, in one of the ways in which they are seen; and hardly otherwise in the likeliest one."""
    raw = np.fromfile(mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte", np.uint8, count=16 + 300 * 784)
    nearest, likeliest = [], []
    for original in raw[16:].reshape(-1, 28, 28):
        assert np.array_equal(image_of(original), original)
        sheet = np.full((190, 210), 255, np.uint8)
        sheet[15:155, 60:200] -= original.repeat(5, axis=0).repeat(5, axis=1)
        image = read_single(sheet)
        assert image is not None
        likeliest.append(difference_but_for_a_pixel(image, original))
        images = [glyph.image for glyph in read_image(sheet).glyphs]
        nearest.append(min(difference_but_for_a_pixel(image, original) for image in images))
    assert np.mean(np.array(nearest) < 1) > 0.9
    assert np.mean(nearest) < 1
    assert np.mean(likeliest) < 2


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


SAMPLES_OF_ONE = sorted(path for path in SAMPLES.glob("[0-9]_*"))


def test_handwriting_resembles_real_digits_of_its_kind(mnist_root: Path) -> None:
    """By the nearest of 5,000 real ones, without a model."""
    raw = mnist_root / "MNIST" / "raw"
    known = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, count=16 + 5000 * 784)[16:].reshape(-1, 784) / 255
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, count=8 + 5000)[8:]
    wrong = []
    for path in SAMPLES_OF_ONE:
        image = read_single(path)
        assert image is not None, path.name
        nearest = np.bincount(labels[np.argsort(known @ image.ravel().astype(np.float32))[-5:]])
        if nearest.argmax() != int(path.name[0]):
            wrong.append(path.name)
    assert len(SAMPLES_OF_ONE) >= 40
    assert len(wrong) <= len(SAMPLES_OF_ONE) / 10, wrong


def test_a_blank_picture_is_named() -> None:
    for blank in (Image.new("RGB", (200, 200), "white"), np.zeros((28, 28), np.uint8)):
        page = read_image(blank)
        assert (page.layouts, page.reason) == ((), "no ink: nothing on it stands out from the paper")
        assert read_single(blank) is None


@pytest.mark.parametrize("name", ["LA", "RGBA"])
def test_a_wholly_transparent_picture_holds_no_ink(name: str) -> None:
    assert not read_image(Image.new(name, (50, 50))).layouts


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
        read_image(values)
    assert str(error.value) == f"The picture can't be read: {reason}."


def test_a_picture_in_memory_is_left_as_it_was(tmp_path: Path, draw_seven: Draw) -> None:
    path = tmp_path / "large.jpg"
    Image.fromarray(draw_seven(size=(3300, 2000), unit=150)).convert("RGB").save(path)
    with Image.open(path) as image:
        read_image(image)
        assert (image.size, image.mode) == ((3300, 2000), "RGB")


def test_reading_pictures_needs_no_torch() -> None:
    code = "import sys, mnist_trainer.pictures.read; print({'torch', 'cv2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


DIGITS = st.sampled_from("0123456789")


@given(digit=DIGITS, right=st.integers(3, 400), down=st.integers(3, 300))
def test_moving_a_digit_on_its_sheet_changes_nothing(write: Draw, digit: str, right: int, down: int) -> None:
    here, there = (read_image(write(digit, (600, 500), at), "single") for at in ((200, 150), (right, down)))
    assert np.array_equal(here.glyphs[0].image, there.glyphs[0].image)
    assert len(here.layouts) == len(there.layouts) == 1


@given(digit=DIGITS, height=st.integers(30, 350))
def test_enlarging_a_digit_changes_little(write: Draw, digit: str, height: int) -> None:
    seen = read_image(write(digit, (600, 500), (100, 60), height), "single")
    assert difference_but_for_a_pixel(only(seen).image, image_of(write(digit))) < 20


@pytest.mark.slow
@given(digit=DIGITS, margin=st.integers(1, 300), level=st.sampled_from([255, 250, 180]))
def test_padding_the_paper_changes_nothing(write: Draw, digit: str, margin: int, level: int) -> None:
    drawn = np.minimum(write(digit), level)
    wide = np.pad(drawn, margin, constant_values=level)
    assert difference(image_of(wide), image_of(drawn)) < 0.5
    assert len(read_image(wide, "single").layouts) == 1
    x, y, *_ = only(read_image(wide)).box
    assert (x - margin, y - margin) == only(read_image(drawn)).box[:2]


@pytest.mark.slow
@given(digit=DIGITS, scale=st.floats(0.3, 1), shift=st.integers(0, 70))
def test_inverting_or_fading_changes_nothing(write: Draw, digit: str, scale: float, shift: int) -> None:
    drawn = write(digit)
    faded = (drawn * scale + shift).clip(0, 255).astype(np.uint8)
    for other in (255 - drawn, faded, 255 - faded):
        assert difference_but_for_a_pixel(image_of(other), image_of(drawn)) < 2
        assert len(read_image(other, "single").layouts) == 1


@given(text=st.text("0123456789", min_size=2, max_size=7), scale=st.sampled_from([1, 2, 3]), invert=st.booleans())
def test_a_row_has_the_same_glyphs_however_it_is_shown(write: Draw, text: str, scale: int, invert: bool) -> None:
    drawn = write(text, (80 * len(text) + 100, 180))
    shown = np.pad(drawn, 20, constant_values=255).repeat(scale, 0).repeat(scale, 1)
    plain, other = (read_image(each, "row").layouts[0].lines[0] for each in (drawn, 255 - shown if invert else shown))
    assert (plain.end, len(plain.glyphs)) == (other.end, len(other.glyphs))
    assert [(glyph.first, glyph.end) for glyph in plain.glyphs] == [(glyph.first, glyph.end) for glyph in other.glyphs]
    apart = [glyph for glyph in plain.glyphs if glyph.cost == 0]
    assert len(apart) >= len(text)


@pytest.mark.parametrize("shrink", [1, 3])
def test_boxes_are_in_pixels_of_the_upright_picture(tmp_path: Path, write: Draw, shrink: int) -> None:
    drawn = write("40", (1500, 900), (200, 300), 400).repeat(shrink, 0).repeat(shrink, 1)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    Image.fromarray(drawn).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png", exif=exif)
    (line,) = read_page(tmp_path / "turned.png", "row").layouts[0].lines
    boxes = [glyph.box for glyph in line.glyphs if glyph.end - glyph.first == 1]
    expected = [(200, 300, 225, 400), (600, 300, 225, 400)]
    assert len(boxes) == 2
    for box, wanted in zip(boxes, expected, strict=True):
        assert box == pytest.approx(tuple(side * shrink for side in wanted), abs=4 * shrink)


def test_steps_show_how_it_was_read(draw_seven: Draw) -> None:
    drawn = draw_seven(ink=60, paper=220)
    assert read_image(drawn).steps is None
    steps = read_image(drawn, steps=True).steps
    assert steps is not None
    assert np.array_equal(steps.upright, drawn) and steps.scale == 1
    assert np.ptp(steps.flattened[drawn > 128]) <= 2 and steps.flattened[0, 0] >= 253
    assert np.array_equal(steps.ink == 255, drawn < 128)
    large = read_image(drawn.repeat(10, 0).repeat(10, 1), steps=True).steps
    assert large is not None
    assert large.scale == pytest.approx(2200 / large.upright.shape[0], rel=0.01)
    assert large.upright.shape == large.flattened.shape == large.ink.shape


def test_an_open_file_is_read_as_its_path_is(draw_seven: Draw, tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    Image.fromarray(draw_seven()).save(path)
    (page,) = read_pages(BytesIO(path.read_bytes()), name="standard input")
    assert isinstance(page, Page)
    assert np.array_equal(page.glyphs[0].image, read_page(path).glyphs[0].image)
    with pytest.raises(DataError, match=r"^standard input is no picture in a known format\."):
        next(read_pages(BytesIO(b"seven"), name="standard input"))


def test_a_training_picture_has_one_page(draw_seven: Draw, tmp_path: Path) -> None:
    sheet = Image.fromarray(draw_seven())
    sheet.save(tmp_path / "two.tif", save_all=True, append_images=[sheet])
    with pytest.raises(DataError, match=r"two\.tif has more than one page\. Save each page as a picture of its own\."):
        read_single(tmp_path / "two.tif")


def test_an_image_in_memory_is_its_present_page(draw_seven: Draw, tmp_path: Path) -> None:
    sheet = Image.fromarray(draw_seven())
    sheet.save(tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (50, 50), 255)])
    with Image.open(tmp_path / "two.tif") as image:
        first = read_image(image)
        image.seek(1)
        second = read_image(image)
    assert (len(first.glyphs) > 0, len(second.glyphs)) == (True, 0)
    assert first.warnings == second.warnings == (OTHER_PAGES,)
    assert read_image(sheet).warnings == ()


@pytest.mark.parametrize("even", [True, False])
def test_a_page_of_print_is_not_read(even: bool) -> None:
    sheet = np.full((1500, 1500), 230, np.uint8)
    random = np.random.default_rng(0)
    for y in range(10, 1488, 18):
        for x in range(10, 1488, 10):
            sheet[y : y + 8, x + random.integers(0, 6)] = sheet[y + random.integers(0, 8), x : x + 6] = 30
    light = 1 if even else np.linspace(0.6, 1, 1500)
    page = read_image((sheet * light).astype(np.uint8))
    assert not page.layouts and page.reason in (CROWDED, NO_INK)


def ends_of_chains(end: int, glyphs: tuple[Glyph, ...]) -> bool:
    ends = {0}
    for glyph in sorted(glyphs, key=lambda glyph: glyph.first):
        if glyph.first in ends:
            ends.add(glyph.end)
    return end in ends


def check(page: Page, size: tuple[int, int]) -> None:
    """That it is a page that can be answered, or says why not."""
    assert bool(page.layouts) != bool(page.reason)
    for layout in page.layouts:
        assert layout.lines and np.isfinite(layout.cost)
        for line in layout.lines:
            assert ends_of_chains(line.end, line.glyphs)
    for glyph in page.glyphs:
        assert glyph.image.shape == (28, 28) and glyph.image.dtype == np.uint8 and glyph.image.any()
        x, y, width, height = glyph.box
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= size[0] and y + height <= size[1]


SIZES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 600)),
    st.tuples(st.integers(1, 600), st.integers(1, 3)),
    st.tuples(st.integers(60, 220), st.integers(60, 220)),
)
CONTENTS = ("one level", "noise", "grains", "slope", "shapes", "shapes in noise", "shapes on a slope")


def content(kind: str, height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Grey levels [height, width] of one of `CONTENTS`."""
    import cv2

    pixels = np.full((height, width), random.integers(0, 256), np.uint8)
    if kind == "noise":
        return random.integers(0, 256, (height, width)).astype(np.uint8)
    if kind == "grains":
        return np.where(random.random((height, width)) < random.choice([0.002, 0.05, 0.5]), 0, pixels).astype(np.uint8)
    if kind.startswith("shapes"):
        for _ in range(random.integers(1, 10)):
            start, end = random.integers(-5, [width + 5, height + 5], (2, 2)).tolist()
            colour, pen = int(random.integers(0, 256)), int(random.integers(1, 12))
            match random.integers(0, 4):
                case 0 | 1:
                    cv2.line(pixels, start, end, colour, pen, cv2.LINE_AA)
                case 2:
                    cv2.rectangle(pixels, start, end, colour, -1)
                case _:
                    cv2.circle(pixels, start, 2 * pen, colour, max(1, pen // 2))
    values = pixels.astype(np.float64)
    if "noise" in kind:
        values += random.normal(0, 12, values.shape)
    if "slope" in kind:
        values *= np.linspace(0.3, 1, width)
    return values.clip(0, 255).astype(np.uint8)


def in_mode(mode: str, grey: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """A picture of that mode: further channels are the first one, mixed up."""
    image = Image.fromarray(grey)
    other = Image.fromarray(random.permuted(grey, axis=int(random.integers(0, 2))))
    match mode:
        case "1" | "L" | "CMYK" | "YCbCr" | "HSV" | "LAB":
            return image.convert("RGB").convert(mode) if mode != "LAB" else Image.merge("LAB", (image, other, image))
        case "LA" | "RGB" | "RGBA":
            return Image.merge(mode, [image, *[other] * (len(mode) - 1)])
        case "P":
            return image.convert("P")
        case "P with transparency":
            palette = image.convert("P")
            palette.info["transparency"] = int(random.integers(0, 256))
            return palette
        case "I;16":
            return Image.fromarray(grey.astype(np.uint16) * np.uint16(random.integers(1, 258)))
        case "I":
            return Image.fromarray(grey.astype(np.int32) * int(random.integers(-9, 99999)))
        case _:
            values = (grey - 100) * np.float32(10.0 ** random.integers(-30, 30))
            values[random.random(grey.shape) < 0.02] = random.choice([np.nan, np.inf, -np.inf])
            return Image.fromarray(values)


ALL_MODES = (
    *("1", "L", "LA", "P", "P with transparency", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    size=SIZES,
    kind=st.sampled_from(CONTENTS),
    mode=st.sampled_from(ALL_MODES),
    expect=st.sampled_from(get_args(Expect)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_picture_is_a_page_or_has_a_reason(
    size: tuple[int, int], kind: str, mode: str, expect: Expect, seed: int
) -> None:
    random = np.random.default_rng(seed)
    image = in_mode(mode, content(kind, size[1], size[0], random), random)
    check(read_image(image, expect, steps=True), size)


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(0, 40), min_size=0, max_size=4),
    kind=st.sampled_from(
        [np.uint8, np.bool_, np.int64, np.float16, np.float32, np.float64, np.uint16, np.complex64, "U1"]
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_array_is_a_page_or_an_error(shape: list[int], kind: str, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 255, shape)
    try:
        page = read_image(np.asarray(values).astype(kind))
    except DataError as error:
        assert str(error).startswith("The picture can't be read: ")
    else:
        check(page, (shape[1], shape[0]))


Y, X = np.mgrid[-1:1:220j, -1:1:200j]


def best(pixels: NDArray[np.uint8]) -> Writing:
    return find_writing(pixels)[0]


def overlap(levels: NDArray[np.float32], drawn: NDArray[np.uint8]) -> float:
    """Shared pixels of found (at least half strong) and drawn ink, as a share of those in either."""
    found, truth = levels >= 0.5, drawn < 128
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("thickness", [0.2, 1.2, 2.5])
@pytest.mark.parametrize("light_on_dark", [False, True])
def test_ink_of_any_thickness_is_found_on_plain_paper(draw_seven: Draw, thickness: float, light_on_dark: bool) -> None:
    drawn = draw_seven(thickness=thickness)
    assert overlap(best(255 - drawn if light_on_dark else drawn).levels, drawn) == 1


def test_bold_ink_that_fills_a_tight_cut_is_still_the_ink(draw_seven: Draw) -> None:
    drawn = draw_seven(size=(88, 124), at=(2, 2), thickness=3)
    assert (drawn < 128).mean() > 0.5
    assert max(overlap(each.levels, drawn) for each in find_writing(drawn)) == 1


@pytest.mark.parametrize(
    "light",
    [
        1 - 0.35 * (X**2 + Y**2),
        0.75 + 0.25 * X,
        0.6 + 0.2 * X - 0.2 * Y,
        np.where(0.7 * X + Y > 0.1, 1, 0.55),
    ],
    ids=["vignette", "from the right", "from a corner", "a hard shadow"],
)
@pytest.mark.parametrize("thickness", [0.5, 0.9])
def test_uneven_light_and_noise_do_not_count_as_ink(
    draw_seven: Draw, light: NDArray[np.float64], thickness: float
) -> None:
    drawn = draw_seven(thickness=thickness, paper=240)
    noise = np.random.default_rng(0).normal(0, 3, drawn.shape)
    photo = np.clip(drawn * light + noise, 0, 255).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.9


@pytest.mark.parametrize(("paper", "ink", "deviation"), [(200, 60, 45), (50, 210, 45), (150, 90, 25)])
def test_strong_noise_is_smoothed_away(draw_seven: Draw, paper: int, ink: int, deviation: float) -> None:
    drawn = draw_seven(thickness=0.8)
    noise = np.random.default_rng(0).normal(0, deviation, drawn.shape)
    photo = np.clip(np.where(drawn < 128, ink, paper) * (0.8 + 0.2 * X) + noise, 0, 255).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.7


def test_what_is_between_digits_on_a_board_is_not_the_ink(write: Draw) -> None:
    """A row of chalk digits, as near to each other as their strokes are broad: dark ink would be the board."""
    drawn = write("888888", (480, 160), (40, 30), 100, spacing=0.66)
    board = ((40 + 0.45 * (255 - drawn)) * np.linspace(0.75, 1, 480)).astype(np.uint8)
    assert overlap(best(board).levels, drawn) > 0.7


def test_a_shadow_on_one_half_is_no_ink_even_where_the_other_half_is_of_one_level(draw_seven: Draw) -> None:
    drawn = draw_seven(paper=240, ink=30)
    shaded = np.where(X + 0.2 * Y > 0.35, 0.6, 1) * drawn + np.random.default_rng(0).normal(0, 1.5, drawn.shape)
    assert overlap(best(np.clip(shaded, 0, 255).astype(np.uint8)).levels, drawn) > 0.8


def test_paper_that_is_even_in_its_smaller_part_is_seen_in_other_ways_too(draw_seven: Draw) -> None:
    def ways(width: float) -> int:
        """In how many a 7 is seen on paper that falls off by 22 grey levels over some share of its width."""
        shade = 22 * np.clip((X - 1 + 2 * width) / (2 * width), 0, 1)
        return len(find_writing((draw_seven(paper=240, ink=30) - shade).clip(0, 255).astype(np.uint8)))

    assert (ways(0.2), ways(0.95)) == (1, 3)


@pytest.mark.parametrize("seed", [109, 252, 254])
def test_what_is_broad_is_not_the_ink(seed: int) -> None:
    """A shadow, an unevenly lit board, and the paper between strokes beneath a finger."""
    random, digits = np.random.default_rng([9, seed]), load_digits("train").images.numpy()
    chosen = random.integers(0, len(digits), int(random.integers(2, 9)))
    assert np.mean(best(page([[digits[each] for each in chosen]], random)[0]).levels > 0.5) < 0.08


@pytest.mark.parametrize(("side", "size", "pen"), [(16, 60, 2), (16, 90, 1), (12, 60, 4)])
def test_squares_that_stand_for_nothing_are_no_ink(side: int, size: int, pen: int) -> None:
    import cv2

    y, x = np.mgrid[:160, :150]
    drawn = np.full((160, 150), 255, np.uint8)
    cv2.polylines(drawn, [np.array([(30, 20), (30 + size, 20), (30 + size // 2, 20 + 3 * size // 2)])], False, 0, pen)
    squares = np.where((y // side + x // side) % 2, 190, 255)
    assert overlap(best(np.where(drawn < 128, 20, squares).astype(np.uint8)).levels, drawn) > 0.7


def test_dark_paper_with_light_ink_may_be_lit_unevenly_too(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=0.7)
    photo = ((255 - drawn) * 0.6 + 40 + 25 * X).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.9


@pytest.mark.parametrize(("paper", "ink"), [(255, 238), (30, 60), (130, 100)])
def test_faint_ink_is_found_and_made_strong(draw_seven: Draw, paper: int, ink: int) -> None:
    levels = best(draw_seven(paper=paper, ink=ink)).levels
    assert overlap(levels, draw_seven()) == 1
    assert levels.max() == 1


def test_grey_levels_within_the_ink_are_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[50:56] = np.where(drawn[50:56] < 128, 127, 255)
    levels = best(drawn).levels
    assert levels[52, 80] == pytest.approx(128 / 255, abs=0.01)
    assert levels[60, 80] == 1


@pytest.mark.parametrize(("level", "deviation"), [(0, 0), (0, 2), (128, 0), (128, 6), (255, 0), (255, 2)])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 200), (300, 400)])
def test_an_empty_page_holds_no_writing(level: int, deviation: float, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(level, deviation, shape)
    for seen in find_writing(np.clip(noise, 0, 255).astype(np.uint8)):
        assert not seen.parts.parts and not seen.parts.crowded


@pytest.mark.parametrize(
    "light",
    [200 - 60 * (X**2 + Y**2), 150 + 80 * X, np.where(X + 0.4 * Y > 0.2, 200, 100) + 20 * Y],
    ids=["vignette", "slope", "a hard shadow"],
)
def test_an_unevenly_lit_empty_page_holds_no_writing(light: NDArray[np.float64]) -> None:
    assert not best(light.astype(np.uint8)).parts.parts


def test_a_grain_of_dust_is_no_writing() -> None:
    page = np.full((300, 400), 255, np.uint8)
    page[100:102, 200:202] = 0
    assert not best(page).parts.parts


@pytest.mark.parametrize(
    ("paper", "ink"),
    [((255, 255, 255), (250, 240, 90)), ((60, 150, 60), (180, 90, 60)), ((250, 240, 150), (90, 90, 200))],
    ids=["yellow on white", "red on green", "blue on yellow"],
)
def test_coloured_ink_is_found_on_coloured_paper(
    draw_seven: Draw, paper: tuple[int, int, int], ink: tuple[int, int, int]
) -> None:
    drawn = draw_seven()
    coloured = np.where((drawn < 128)[..., None], np.uint8(ink), np.uint8(paper))
    assert overlap(best(coloured).levels, drawn) > 0.98


def test_the_lines_of_the_paper_are_taken_out(write: Draw) -> None:
    drawn = write("7", (400, 400), (150, 110), 180)
    ruled = drawn.copy()
    ruled[20::40] = np.minimum(ruled[20::40], 120)
    seen = best(ruled)
    assert [part.box for part in seen.parts.parts] == [part.box for part in best(drawn).parts.parts]
    assert overlap(seen.levels, drawn) > 0.95


@pytest.mark.parametrize("digits", ["30", "972"])
def test_one_line_of_the_paper_through_the_digits_is_taken_out(write: Draw, digits: str) -> None:
    drawn = write(digits, (300, 150), (40, 35), 80)
    ruled = drawn.copy()
    ruled[83:86] = np.minimum(ruled[83:86], 170)
    assert {part.box for part in best(ruled).parts.parts} == {part.box for part in best(drawn).parts.parts}
    kept = find_writing(ruled, few_lines=False)[0].parts.parts
    assert max(part.box[2] for part in kept) > 290


@pytest.mark.parametrize("pen", [4, 8, 12])
@pytest.mark.parametrize("height", [200, 280, 340])
@pytest.mark.parametrize("digit", ["1", "4", "7"])
def test_a_tall_straight_stroke_on_a_photograph_is_no_line_of_the_paper(digit: str, height: int, pen: int) -> None:
    """One digit that fills most of a picture."""
    import cv2

    half, top, bottom = height // 4, 200 - height // 2, 200 + height // 2
    strokes: dict[str, list[list[tuple[int, int]]]] = {
        "1": [[(210, top), (190, bottom)]],
        "4": [[(200 - half, top), (200 - half, 200), (200 + half, 200)], [(200 + half, top), (200 + half, bottom)]],
        "7": [[(200 - half, top), (200 + half, top), (190, bottom)]],
    }
    drawn = np.full((400, 400), 255, np.uint8)
    cv2.polylines(drawn, [np.array(stroke) for stroke in strokes[digit]], False, 0, pen, cv2.LINE_AA)
    photo = (40 + 0.75 * drawn * np.linspace(0.55, 0.95, 400)).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.7


def test_other_ways_to_see_a_picture_cost_more() -> None:
    """Grey rings on paper that is dark in the middle: may be dark ink, may be light ink."""
    y, x = np.mgrid[-1:1:240j, -1:1:240j]
    rings = 128 + 90 * np.cos(14 * np.hypot(x, y))
    seen = find_writing(rings.astype(np.uint8))
    assert len(seen) > 1
    assert seen[0].cost == 0
    assert [each.cost for each in seen] == sorted(each.cost for each in seen)


@given(scale=st.integers(1, 8))
def test_the_picture_may_have_any_size(draw_seven: Draw, scale: int) -> None:
    small = draw_seven()
    seen = best(small.repeat(scale, 0).repeat(scale, 1))
    (part,) = seen.parts.parts
    assert part.box == tuple(scale * side for side in (60, 50, 84, 120))
    assert overlap(seen.levels[::scale, ::scale], small) > 0.97


@pytest.mark.parametrize("square", [8, 20])
def test_a_checkerboard_that_stands_for_nothing_is_paper(draw_seven: Draw, square: int) -> None:
    drawn = draw_seven(thickness=2)
    rows, columns = np.indices(drawn.shape) // square
    board = np.where((rows + columns) % 2, 204, 255).astype(np.uint8)
    assert overlap(best(np.minimum(drawn, board)).levels, drawn) > 0.9


def test_faint_squares_on_even_paper_do_not_join_the_digit(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=1)
    squared = drawn.copy()
    squared[5::12] = np.minimum(squared[5::12], 205)
    squared[:, 5:190:12] = np.minimum(squared[:, 5:190:12], 205)
    squared[:, -12:] = squared[:12] = squared[-12:] = squared[:, :12] = 255
    boxes = [part.box for seen in find_writing(squared) for part in seen.parts.parts]
    assert any(box == pytest.approx((60, 50, 84, 120), abs=4) for box in boxes)
