"""Undamaged pictures in many formats."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any


def pictures() -> Iterator[tuple[str, tuple[bytes, tuple[int, int]]]]:
    """Yield name, content and size (width, height in pixels) for each format that this version of Pillow can write."""
    from PIL import Image, ImageDraw, features

    grey = Image.new("L", (61, 53), 240)
    pen = ImageDraw.Draw(grey)
    pen.line([(15, 10), (45, 10), (25, 45)], fill=20, width=5)
    colour, palette = grey.convert("RGB"), grey.convert("P")
    clear = grey.convert("RGBA")
    clear.putalpha(Image.eval(grey, lambda value: 255 - value))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    plans: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("grey.png", "PNG", grey, {}),
        ("colour.png", "PNG", colour, {"icc_profile": b"x" * 200}),
        ("palette.png", "PNG", palette, {"transparency": 3}),
        ("clear.png", "PNG", clear, {}),
        ("deep.png", "PNG", grey.convert("I;16"), {}),
        ("moving.png", "PNG", colour, {"save_all": True, "append_images": [colour.rotate(90), colour]}),
        ("plain.jpg", "JPEG", colour, {"exif": orientation}),
        ("progressive.jpg", "JPEG", grey, {"progressive": True}),
        ("inks.jpg", "JPEG", colour.convert("CMYK"), {}),
        ("plain.gif", "GIF", palette, {}),
        ("moving.gif", "GIF", palette, {"save_all": True, "append_images": [palette.rotate(90)] * 4}),
        ("plain.bmp", "BMP", grey, {}),
        ("plain.tif", "TIFF", colour, {}),
        ("packed.tif", "TIFF", grey, {"compression": "tiff_lzw"}),
        ("deflated.tif", "TIFF", grey.convert("F"), {"compression": "tiff_deflate"}),
        ("plain.ppm", "PPM", colour, {}),
        ("plain.ico", "ICO", clear, {}),
        ("plain.tga", "TGA", clear, {"compression": "tga_rle"}),
        ("plain.pcx", "PCX", palette, {}),
        ("plain.dds", "DDS", clear, {}),
        ("plain.sgi", "SGI", colour, {}),
    ]
    optional = {"webp": ("plain.webp", "WEBP", clear, {"lossless": True}), "avif": ("plain.avif", "AVIF", colour, {})}
    optional["jpg_2000"] = ("plain.jp2", "JPEG2000", colour, {})
    plans += [plan for feature, plan in optional.items() if feature in features.get_supported()]
    for name, form, image, options in plans:
        stream = io.BytesIO()
        image.save(stream, form, **options)
        yield name, (stream.getvalue(), image.size)
