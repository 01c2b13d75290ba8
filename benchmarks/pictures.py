"""How well a checkpoint reads what is not MNIST's own form, through `mnist_trainer/pictures`.

    python benchmarks/pictures.py RUN [FOLDER …]

The validation images of the checkpoint's data, as they are and then enlarged five times, inverted and pasted
off-centre; and folders of pictures of one digit each, whose file names begin with the digit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mnist_trainer import predict
from mnist_trainer.pipeline.evaluation import judge


def enlarged(image: np.ndarray, way: Image.Resampling) -> Image.Image:
    """A 28×28 image five times as large, dark on light, somewhere on a larger sheet."""
    large = Image.fromarray(255 - image).resize((140, 140), way)
    sheet = Image.new("L", (300, 260), 255)
    sheet.paste(large, (17, 83))
    return sheet


def main() -> None:
    checkpoint, *folders = sys.argv[1:]
    judged = judge(checkpoint, split="validation")
    labels = judged.source.labels.tolist()
    images = judged.source.images.numpy()
    print("| pictures | read right | share |")
    print("|---|---|---|")
    print(row("validation images as they are", judged.evaluation.count - judged.evaluation.errors, len(labels)))
    for way in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        read = predict([enlarged(image, way) for image in images], checkpoint)
        right = sum(found.text == str(label) for found, label in zip(read, labels, strict=True))
        print(row(f"the same, enlarged five times ({way.name.lower()})", right, len(labels)), flush=True)
    for folder in map(Path, folders):
        paths = sorted(path for path in folder.iterdir() if path.name[0].isdecimal())
        right = sum(found.text == Path(str(found.path)).name[0] for found in predict(paths, checkpoint))
        print(row(folder.name, right, len(paths)), flush=True)


def row(name: str, right: int, count: int) -> str:
    return f"| {name} | {right:,} of {count:,} | {100 * right / count:.2f} % |"


if __name__ == "__main__":
    main()
