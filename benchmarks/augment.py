"""Times `data.augment` on 60,000 training images, batch by batch, and torchvision's transforms for comparison.

Ours deforms a batch at a time; torchvision's RandomAffine and ElasticTransform are applied image by image, as its data
sets do, to a sample that is scaled up. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import torch
from torchvision.transforms import v2

from mnist_trainer.config.schema import Augment, Data, Elastic
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.loaders import load_splits

ROUNDS, BATCH, IMAGES, SAMPLE = 7, 256, 60_000, 1_000
AFFINE = {"rotate": 12.0, "shear": 10.0, "scale": 0.12, "shift": 1.0}
CASES = {
    "affine": Augment(**AFFINE),
    "elastic": Augment(elastic=Elastic()),
    "affine and elastic": Augment(**AFFINE, elastic=Elastic(), halve_for=(1, 7)),
    "affine, elastic and thickness": Augment(**AFFINE, elastic=Elastic(), thickness=0.5),
}


def main() -> None:
    splits = load_splits(Data(validation=0))
    images, labels = splits.train.images, splits.train.labels
    assert len(images) == IMAGES

    def ours(augment: Augment) -> Callable[[], None]:
        def deform() -> None:
            for batch, start in enumerate(range(0, IMAGES, BATCH)):
                part = slice(start, start + BATCH)
                augmented(images[part], labels[part], augment, seed=0, epoch=0, batch=batch)

        return deform

    transform = v2.Compose(
        [
            v2.RandomAffine(
                12,
                translate=(1 / 28, 1 / 28),
                scale=(0.88, 1.12),
                shear=10,
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ElasticTransform(alpha=36.0, sigma=6.0),
        ]
    )

    def theirs() -> None:
        for image in images[:SAMPLE].unsqueeze(1):
            transform(image)

    work = {name: ours(augment) for name, augment in CASES.items()}
    times: dict[str, list[float]] = {name: [] for name in (*work, "torchvision")}
    for _ in range(ROUNDS):
        for name, deform in work.items():
            times[name].append(seconds(deform))
        times["torchvision"].append(seconds(theirs) * IMAGES / SAMPLE)
    print(f"| 60,000 images, {torch.get_num_threads()} threads | s |")
    print("|---|---|")
    for name, measured in times.items():
        label = "torchvision, image by image: RandomAffine, ElasticTransform" if name == "torchvision" else name
        print(f"| {label} | {statistics.median(measured):.2f} |")


def seconds(work: Callable[[], None]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


if __name__ == "__main__":
    main()
