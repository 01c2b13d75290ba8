"""The images for a config: data sets by name, their splits for training, validation and test, and DataLoaders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mnist_trainer.config.classes import DIGITS, format_classes, label_of
from mnist_trainer.config.schema import SAME_DIGITS, Data, Simulate
from mnist_trainer.data.datasets import (
    MNIST_TEST_COUNT,
    PUBLISHED,
    load_label_table,
    load_mnist_c,
    load_published,
    missing_archives,
)
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.folder import (
    evaluated_folders,
    layout_of,
    load_extra_pictures,
    load_folder,
    load_unseen_pictures,
)
from mnist_trainer.data.image_dataset import ImageDataset, Part, Split
from mnist_trainer.data.paths import Progress, cache_dirs, data_root
from mnist_trainer.data.simulated import non_digits, row_windows, with_photographs
from mnist_trainer.data.tables import load_table, load_unseen_table, table_of
from mnist_trainer.errors import DataError, UsageError
from mnist_trainer.seeds import seed_for

DEFAULT_VALIDATION, MIN_FOR_DEFAULT = 5_000, 50_000
"""Default number of validation images if there are `MIN_FOR_DEFAULT` images; else it is a tenth of them."""

MIN_SAME_LABELS = 0.99
"""The smallest share of equal labels for which QMNIST's label file belongs to a data set."""


def first_of_each(labels: Tensor, limit: int) -> Tensor:
    """Return the positions [M], ascending, of the first `limit` images of each class in `labels` [N]."""
    return torch.cat([positions[:limit] for positions in by_class(labels)]).sort().values


def by_class(labels: Tensor) -> list[Tensor]:
    """Return the positions of each class that occurs in `labels` [N], ascending."""
    return [torch.nonzero(labels == label).flatten() for label in range(int(labels.max()) + 1) if label in labels]


def stratified(labels: Tensor, wanted: int | float | None, seed: int) -> tuple[Tensor, Tensor]:
    """Return the positions of the training images and of the validation images, both ascending.

    `wanted` is the number of validation images, or their fraction, or None for the default. They are drawn with `seed`
    from `labels` [N], from each class in proportion to its size. Raises DataError if a class would have no training
    images left.
    """
    classes = by_class(labels)
    sizes = list(map(len, classes))
    generator = torch.Generator().manual_seed(seed_for(seed, "split"))
    validates = torch.zeros(len(labels), dtype=torch.bool)
    for positions, share in zip(classes, shares(sizes, validation_count(wanted, sizes)), strict=True):
        validates[positions[torch.randperm(len(positions), generator=generator)[:share]]] = True
    return torch.nonzero(~validates).flatten(), torch.nonzero(validates).flatten()


def stratified_fold(labels: Tensor, fold: tuple[int, int], seed: int) -> Tensor:
    """Return the positions, ascending, of the k-th of K disjoint parts of the images with these `labels` [N].

    The parts of all k cover the images. Their sizes, and the numbers of images of a class in them, differ by at most 1.
    """
    generator, (part, parts) = torch.Generator().manual_seed(seed_for(seed, "split")), fold
    classes = [positions[torch.randperm(len(positions), generator=generator)] for positions in by_class(labels)]
    return torch.cat(classes)[part - 1 :: parts].sort().values


def split_by_writers(writers: Tensor, wanted: int | tuple[int, int], seed: int) -> Tensor:
    """Return the positions, ascending, of all images of some `writers` [N], numbered from 0, who are drawn with `seed`.

    `wanted` is the largest number of images, except that there is at least one writer; or the fold (k, K): then each
    writer, in the order of the numbers of their images, falls to the part that has the fewest images so far.
    """
    images = writers.bincount()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed_for(seed, "split")))
    if isinstance(wanted, int):
        chosen = order[: max(1, int((images[order].cumsum(0) <= wanted).sum()))]
    else:
        part, parts = wanted
        order = order[images[order].argsort(descending=True, stable=True)]
        sizes, given = [0] * parts, []
        for writer in order.tolist():
            lightest = sizes.index(min(sizes))
            sizes[lightest] += int(images[writer])
            given.append(lightest)
        chosen = order[torch.tensor(given) == part - 1]
    return torch.nonzero(torch.isin(writers, chosen)).flatten()


def validation_count(wanted: int | float | None, sizes: list[int]) -> int:
    """Return the number of validation images for classes with `sizes` images. Raises DataError if it is too large."""
    images = sum(sizes)
    most = images - len(sizes)
    match wanted:
        case None:
            return DEFAULT_VALIDATION if images >= MIN_FOR_DEFAULT else min(images // 10, most)
        case float():
            count = max(round(wanted * images), 1) if wanted else 0
        case _:
            count = wanted
    if count > most:
        raise DataError(
            f"data.validation takes {count:,} of {images:,} training images. "
            f"The maximum is {most:,}: each of the {len(sizes)} classes needs a training image."
        )
    return count


def shares(sizes: list[int], count: int) -> list[int]:
    """Divide `count` among classes in proportion to `sizes`, rounded by the largest remainder.

    Each class gets less than its size; `count` must be small enough for that.
    """
    images = sum(sizes)
    given = [min(count * size // images, size - 1) for size in sizes]
    while (left := count - sum(given)) > 0:
        open_classes = [index for index, size in enumerate(sizes) if given[index] < size - 1]
        # By the difference from the exact share, times `images`, the largest first; the sort is stable.
        open_classes.sort(key=lambda index: given[index] * images - count * sizes[index])
        for index in open_classes[:left]:
            given[index] += 1
    return given


def load(data: Data, part: Part, progress: Progress | None = None) -> ImageDataset:
    """Return a part of the data set `data.name`, before `limit`, `validation` and `binary` are applied.

    Missing files are downloaded; `progress` is called meanwhile. Raises DataError if files are unavailable or damaged,
    StorageError if no folder is writable.
    """
    if part == "validation" and not has_validation(data):
        raise DataError(f"{data.name} has no validation images of its own; they are split from its training images.")
    match data.name:
        case "digits":
            return load_digits(part)
        case "mnist-c":
            return load_mnist_c(data_root(data), part, data.path)
        case "folder" if table := table_of(data):
            return load_table(table, part)
        case "folder":
            return load_folder(layout_of(data), part, cache_dirs(data_root(data), "folder"), progress)
        case "mnist" | "fashion-mnist" | "kmnist" | "emnist-digits" | "qmnist" | "usps":
            return load_published(data.name, data_root(data), part, progress)
        case _:
            assert_never(data.name)


def missing_files(data: Data, part: Part) -> list[str]:
    """Return the names of the files that `load` would download. Raises DataError like `data_root`."""
    if data.name == "digits" or data.name == "folder" or data.name == "mnist-c":  # noqa: PLR1714 - mypy understands it
        return []
    missing = missing_archives(data.name, data_root(data), part)
    if part == "train" and data.split == "writers" and data.validation != 0:
        missing += missing_archives("qmnist", data_root(data), part, labels_only=True)
    return list(dict.fromkeys(missing))


def has_validation(data: Data) -> bool:
    """Return whether the data set has validation images of its own, which only a folder with `val/` has."""
    return data.name == "folder" and table_of(data) is None and "validation" in layout_of(data).folders


def class_names(data: Data) -> tuple[str, ...]:
    """Return the names of the classes, with `binary` applied, without loading images. Raises DataError like `load`."""
    return with_binary(data, all_classes(data))


def all_classes(data: Data, part: str = "train") -> tuple[str, ...]:
    """Return the names of the classes before `binary` is applied. The `test` part of a folder may have fewer."""
    match data.name:
        case "digits" | "mnist-c":
            return DIGITS
        case "folder" if table := table_of(data):
            return load_table(table, "train").classes
        case "folder":
            return evaluated_folders(data)[1] if part == "test" else layout_of(data).classes
        case _:
            return PUBLISHED[data.name].classes


def with_binary(data: Data, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return `classes`, or, with `data.binary`, two: `("not 7", "7")`. Raises DataError for an unknown class."""
    if data.binary is None:
        return classes
    name = classes[binary_label(data, classes)]
    return (f"not {name}", name)


def binary_label(data: Data, classes: tuple[str, ...]) -> int:
    """Return the label of the class `data.binary`. Raises DataError if there is no such class."""
    label = None if data.binary is None else label_of(data.binary, classes, data)
    if label is None:
        raise DataError(
            f"data.binary is {data.binary}, but {data.name} has the classes {format_classes(classes, data)}."
        )
    return label


Batch = tuple[Tensor, Tensor]
"""uint8 images [B, 28, 28] and labels int64 [B]."""


@dataclass(frozen=True, eq=False)
class Splits:
    """The training and validation images of a training, without the test set."""

    train: ImageDataset
    validation: ImageDataset | None
    classes: tuple[str, ...]
    simulated: tuple[int, int] = (0, 0)
    """The numbers of simulated training and validation images, which follow the real ones."""
    extra: int = 0
    """The number of training images of `data.extra`, which follow all others."""

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of training and validation images of the data set, without simulated ones and `data.extra`."""
        train, validation = self.simulated
        return len(self.train) - train - self.extra, len(self.validation or ()) - validation


def load_splits(data: Data, progress: Progress | None = None) -> Splits:
    """Return the images of `load_real`, followed by those that `data.simulate` makes from them, and by `data.extra`.

    The photographs of an image and the rows with it are in the same split as the image. Non-digits are only in the
    training set; their label is the number of classes.
    """
    return _with_added(load_real(data, progress), data, progress)


def _with_added(real: Splits, data: Data, progress: Progress | None) -> Splits:
    extra = load_extra(data, real.train.classes, progress)  # first, because simulating takes long
    train, validation = with_photographs(real.train, data, progress), real.validation
    if validation is not None:
        validation = with_photographs(validation, data, progress)
    if data.simulate.non_digits:
        train = train.followed_by(non_digits(real.train, data, len(real.classes), progress))
    if data.simulate.rows:
        train = train.followed_by(row_windows(real.train, data, len(real.classes), progress))
        if validation is not None and real.validation is not None:
            windows = row_windows(real.validation, data, len(real.classes), progress)
            digits = torch.nonzero(windows.labels < len(real.classes)).flatten()
            validation = validation.followed_by(windows.subset(digits))
    made = len(train) - len(real.train), len(validation or ()) - len(real.validation or ())
    if extra is not None:
        train = train.followed_by(extra)
    return Splits(train, validation, real.classes, made, len(extra or ()))


def load_extra(data: Data, classes: tuple[str, ...], progress: Progress | None = None) -> ImageDataset | None:
    """Return the pictures of `data.extra` (None without it); `classes` are those of the data set."""
    if data.extra is None:
        return None
    return _binary(load_extra_pictures(data, classes, cache_dirs(data_root(data), "folder"), progress), data)


def load_real(data: Data, progress: Progress | None = None) -> Splits:
    """Return the training and validation images, split by `data.split_seed`, and the names of the classes."""
    dataset = load(data, "train", progress)
    classes = with_binary(data, dataset.classes)  # reports an unknown class first
    if data.limit is not None:
        dataset = dataset.subset(first_of_each(dataset.labels, data.limit))
    validation = None
    if data.validation != 0 and has_validation(data):
        if data.fold is not None:
            raise DataError(f"data.fold divides the training set, but {data.path} has validation images of its own.")
        validation = load(data, "validation", progress)
    elif data.validation != 0:
        train, rest = _split(dataset, data, progress)
        dataset, validation = dataset.subset(train), dataset.subset(rest) if len(rest) else None
    return Splits(_binary(dataset, data), None if validation is None else _binary(validation, data), classes)


def _split(dataset: ImageDataset, data: Data, progress: Progress | None) -> tuple[Tensor, Tensor]:
    """Return the positions of the training images and of the validation images, both ascending.

    The labels are those of the real classes, so that `binary` does not change the split. Raises DataError if there are
    too few images or writers, and without the file that names the writers.
    """
    labels, fold, count = dataset.labels, data.fold_number, len(dataset)
    if fold is None and data.split == "stratified":
        return stratified(labels, data.validation, data.split_seed)
    writers = None
    if data.split == "writers":
        try:
            writers = load_writers(dataset, data, "train", progress, download=True)
        except DataError as error:
            needs = "data.split=writers needs of qmnist the labels of the training images alone"
            raise DataError(f"{error}\n{needs}; data.split=stratified needs nothing of it.") from error
    groups, of_what = (count, "training images") if writers is None else (int(writers.max()) + 1, "writers")
    if fold is not None and fold[1] > groups:
        raise DataError(f"data.fold is {data.fold}, but {data.name} has {groups:,} {of_what} to divide.")
    if writers is not None:
        wanted = fold or validation_count(data.validation, list(map(len, by_class(labels))))
        validates = split_by_writers(writers, wanted, data.split_seed)
    elif fold is not None:
        validates = stratified_fold(labels, fold, data.split_seed)
    rest = torch.ones(count, dtype=torch.bool).index_fill(0, validates, value=False)
    if len(by_class(labels[rest])) < len(by_class(labels)):
        raise DataError(f"data.{'fold' if fold else 'validation'} leaves no training image of one of the classes.")
    return torch.nonzero(rest).flatten(), validates


def load_writers(
    dataset: ImageDataset, data: Data, part: Part, progress: Progress | None = None, *, download: bool = False
) -> Tensor | None:
    """Return the writer of each image of `dataset`, int64 [N], numbered from 0; None where they are not known.

    The images and labels are those of `part`, before `binary` is applied. QMNIST's label file names the writers: raises
    DataError if it is damaged, or if `download` is asked for and not possible.
    """
    if data.name not in SAME_DIGITS:
        return None
    table = load_label_table(part, data_root(data), progress, download=download)
    if table is None:
        return None
    indices = dataset.indices.cpu()
    known = len(table) > int(indices.max()) and table[indices, 0] == dataset.labels.cpu()
    if not torch.is_tensor(known) or known.double().mean() < MIN_SAME_LABELS:
        raise DataError(f"QMNIST's label file of the {part} images belongs to other images than {data.name}'s.")
    return torch.from_numpy(np.unique(table[indices, 2].numpy(), return_inverse=True)[1])


def load_together(data: Data, progress: Progress | None = None) -> Splits:
    """Return all images of a data set except its test set as training images, without validation images."""
    real = load_real(data.model_copy(update={"validation": 0}), progress)
    if has_validation(data):
        own = _binary(load(data, "validation", progress), data)
        real = replace(real, train=real.train.followed_by(own))
    return _with_added(real, data, progress)


def load_test(data: Data, progress: Progress | None = None) -> ImageDataset:
    """Return the test images, which do not depend on seed, limit or split."""
    return _binary(load(data, "test", progress), data)


def load_unseen(data: Data, trained: Sequence[Data]) -> tuple[ImageDataset, str]:
    """Return the images of a folder or table on which models trained on `trained` can be tested, and a description."""
    if table := table_of(data):
        return load_unseen_table(table, trained)
    return load_unseen_pictures(data, trained, cache_dirs(data_root(data), "folder"))


SERIES = {"test50k": (0, 1, 4), "hsf04": (0, 4), "hsf1": (1,)}
"""The series of NIST's forms in each part of QMNIST's test set."""


def load_test50k(data: Data, split: Split = "test50k", progress: Progress | None = None) -> ImageDataset:
    """Return the 50,000 test images of QMNIST that MNIST does not contain (Yadav & Bottou 2019, arXiv 1905.10498).

    With another split of `SERIES`, those of its series of forms. Raises UsageError for another data set, DataError if
    the file contains only MNIST's images.
    """
    if data.name != "qmnist":
        what = "the lost test images, is" if split == "test50k" else "a part of the lost test images, is"
        raise UsageError(f"{split}, {what} a split of qmnist (data.name=qmnist), not of {data.name}.")
    whole = load_test(data, progress)
    if len(whole) <= MNIST_TEST_COUNT:
        raise DataError(
            f"qmnist's test file has {len(whole):,} images; test50k are those after the first {MNIST_TEST_COUNT:,}."
        )
    positions = torch.arange(MNIST_TEST_COUNT, len(whole))
    if split != "test50k":
        table = load_label_table("test", data_root(data), download=True)
        assert table is not None, "it is downloaded, or an error is raised"
        positions = positions[torch.isin(table[MNIST_TEST_COUNT:, 1], torch.tensor(SERIES[split]))]
    return whole.subset(positions)


def load_split(data: Data, split: Split, progress: Progress | None = None) -> ImageDataset:
    """Return the images of a split, with the photographs that `data.simulate` adds to it, without rows and non-digits.

    Raises DataError for `validation` if there are no validation images, and UsageError like `load_test50k`.
    """
    if split == "test":
        return load_test(data, progress)
    if split in SERIES:
        return load_test50k(data, split, progress)
    real = load_real(data, progress)
    dataset = real.train if split == "train" else real.validation
    if dataset is None:
        raise DataError(
            "There are no validation images: data.validation is 0, or there are too few images, or the model was "
            "trained again on all of them (training.refit)."
        )
    return with_photographs(dataset, data, progress)


def load_refusal_images(data: Data, progress: Progress | None = None) -> tuple[ImageDataset, ImageDataset]:
    """Return digits and non-digits to measure refusal with.

    The digits are the validation split, and the non-digits what `data.simulate` makes of its images. Raises DataError
    like `load_split`.
    """
    real = load_split(data.model_copy(update={"simulate": Simulate()}), "validation", progress)
    label = len(real.classes)
    windows = row_windows(real, data, label, progress)
    digits = with_photographs(real, data, progress).followed_by(_labelled(windows, windows.labels < label))
    others = non_digits(real, data, label, progress, copy=1).followed_by(_labelled(windows, windows.labels == label))
    return digits, others


def _labelled(dataset: ImageDataset, chosen: Tensor) -> ImageDataset:
    """Return the images for which `chosen` [N] is true."""
    return dataset.subset(torch.nonzero(chosen).flatten())


def training_loader(
    dataset: ImageDataset, batch_size: int, seed: int, epoch: int, first_batch: int = 0
) -> DataLoader[Batch]:
    """Return the batches of one epoch, in the order that `seed` and `epoch` determine, from batch `first_batch` on.

    The last batch may be smaller. The random numbers are independent of all other generators.
    """
    return _loader(dataset, _order(dataset, seed, epoch)[first_batch * batch_size :], batch_size)


def micro_batches(
    dataset: ImageDataset, batch_size: int, seed: int, epoch: int, first_batch: int, count: int, own: range
) -> Iterator[Batch]:
    """Yield the batches of `training_loader`, each in `count` parts of equal size; the last may have fewer images.

    Of those parts of a batch that are not in `own`, only the labels are read: the images are [0, 28, 28].
    """
    size = -(-batch_size // count)
    for batch in torch.split(_order(dataset, seed, epoch)[first_batch * batch_size :], batch_size):
        for number in range(count):
            positions = batch[number * size : (number + 1) * size]
            images, _ = dataset.gather(positions if number in own else positions[:0])
            yield images, dataset.labels.index_select(0, positions.to(dataset.labels.device))


def _order(dataset: ImageDataset, seed: int, epoch: int) -> Tensor:
    """Return the order of the images in an epoch: positions [N] on the images' device."""
    generator = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
    return torch.randperm(len(dataset), generator=generator).to(dataset.images.device)


def ordered_loader(dataset: ImageDataset, batch_size: int, batches: range | None = None) -> DataLoader[Batch]:
    """Return all batches, or these, in the order of the data set; the last batch may be smaller."""
    order = torch.arange(len(dataset))
    if batches is not None:
        order = order[batches.start * batch_size : batches.stop * batch_size]
    return _loader(dataset, order, batch_size)


def _loader(dataset: ImageDataset, order: Tensor, batch_size: int) -> DataLoader[Batch]:
    """Return the batches of the images at the positions `order` [N]."""
    # The order is copied to the images' device once for each epoch instead of for each batch.
    order = order.to(dataset.images.device)
    # With batch_size=None, a batch is what the data set returns for one of the sampler's tensors of positions, without
    # conversion. Without a generator, each iter() would draw from the global one.
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=[order[start : start + batch_size] for start in range(0, len(order), batch_size)],
        collate_fn=lambda batch: batch,
        generator=torch.Generator(),
    )


def _binary(dataset: ImageDataset, data: Data) -> ImageDataset:
    """Return `dataset`; with `data.binary`, its labels are 1 for that class and 0 for all others."""
    if data.binary is None:
        return dataset
    return replace(dataset, labels=(dataset.labels == binary_label(data, dataset.classes)).long())
