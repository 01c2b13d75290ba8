"""Writes 28×28 PNGs, digits of those that come with the package, again and again: `python digits.py FOLDER COUNT`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from mnist_trainer.data.digits import load_digits

folder, count = Path(sys.argv[1]), int(sys.argv[2])
images = load_digits("test").images
for number in range(count):
    Image.fromarray(images[number % len(images)].numpy()).save(folder / f"{number:05}.png")
