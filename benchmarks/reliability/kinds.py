"""The kinds of files that are damaged: configs, files of data sets, checkpoints, pictures."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

from reliability.hostile import made_hostile
from reliability.mutations import damaged, damaged_png, damaged_text, damaged_zip, resized, zip_of
from reliability.samples import pictures


@dataclass(frozen=True)
class Case:
    """Damaged `content`, and the name that its file must have."""

    file: str
    content: bytes


class Kind:
    """A kind of file: `case` makes a damaged one, `feed` reads one as a command does."""

    codes: tuple[int, ...]
    """The exit codes that its errors may have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def case(self, random: Random) -> Case:
        raise NotImplementedError

    def feed(self, path: Path) -> list[str]:
        """Return what a command would print. Raises `TrainerError`."""
        raise NotImplementedError


class Configs(Kind):
    """Configs, as `mnist-train --check` reads them. 3: a missing folder of pictures, 5: a missing device or memory."""

    codes = (2, 3, 5)

    @cached_property
    def texts(self) -> list[str]:
        from mnist_trainer.config.shipped import shipped, shipped_path

        return [shipped_path(name).read_text(encoding="utf-8") for name in sorted(shipped())]

    def case(self, random: Random) -> Case:
        return Case("config.yaml", damaged_text(random.choice(self.texts), random))

    def feed(self, path: Path) -> list[str]:
        from mnist_trainer.config.checks import find_warnings
        from mnist_trainer.config.load import dump_config, load_config
        from mnist_trainer.pipeline.plan import plan
        from mnist_trainer.reports.text import layer_lines

        config = load_config(path)
        again = path.with_name("again.yaml")
        again.write_text(dump_config(config), encoding="utf-8")
        assert load_config(again) == config, "a config differs after it is written and read"
        made = plan(config)
        return [*layer_lines(made.layers), *(reason for _, reason in find_warnings(config))]


class DataSets(Kind):
    """MNIST's files, compressed or not, the text of USPS, and tables; no hashes are checked, nothing is downloaded."""

    codes = (3,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")

    @cached_property
    def files(self) -> dict[str, bytes]:
        images = np.zeros((20, 28, 28), np.uint8)
        images[:, 5:23, 14] = 255
        labels = (np.arange(20) % 10).astype(np.uint8)
        raw = {"train-images-idx3-ubyte": _idx(images), "train-labels-idx1-ubyte": _idx(labels)}
        values = " ".join(f"{place}:{place % 3 - 1}" for place in range(1, 257))
        text = "".join(f"{label + 1} {values} \n" for label in labels).encode()
        packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in raw.items()}
        rows = io.BytesIO()
        np.savetxt(rows, np.column_stack((labels, images.reshape(20, -1))), "%d", ",")
        arrays = io.BytesIO()
        np.savez(arrays, x_train=images, y_train=labels, x_test=images, y_test=labels)
        tables = {"table.csv": rows.getvalue(), "table.npz": arrays.getvalue()}
        return {**raw, **packed, **tables, "usps": text, "usps.bz2": bz2.compress(text)}

    def case(self, random: Random) -> Case:
        name = random.choice(sorted(self.files))
        if name.endswith((".gz", ".bz2")) and random.random() < 0.5:  # a damaged file, then compressed
            inner = damaged(self.files[name.rpartition(".")[0]], random)
            return Case(name, gzip.compress(inner, mtime=0) if name.endswith(".gz") else bz2.compress(inner))
        return Case(name, damaged(self.files[name], random))

    def feed(self, path: Path) -> list[str]:
        from mnist_trainer.data.datasets import load_published
        from mnist_trainer.data.tables import load_table

        if path.name.startswith("table"):
            self.require_whole(load_table(path, "train"))
            return []
        is_usps = path.name.startswith("usps")
        with _unhashed() as published:
            name = "usps" if is_usps else "mnist"
            root = self.folder / f"{name}-root"
            home = root / published[name].folder
            home.mkdir(parents=True, exist_ok=True)
            for old in home.iterdir():
                old.unlink()
            for file in published[name].train:
                if not path.name.startswith(file):
                    (home / file).write_bytes(self.files[file])
            (home / path.name).write_bytes(path.read_bytes())
            self.require_whole(load_published(name, root, "train"))
        return []

    @staticmethod
    def require_whole(loaded: Any) -> None:
        """Fail unless there is a valid label for each image."""
        assert len(loaded.images) == len(loaded.labels)
        assert len(loaded.images), "an empty data set was accepted"
        assert loaded.images.shape[1:] == (28, 28) and 0 <= int(loaded.labels.min()) <= int(loaded.labels.max()) <= 9


class Checkpoints(Kind):
    """`best.pt`, `last.pt` and an ensemble. A checkpoint that can be loaded reads a picture."""

    codes = (4,)

    @cached_property
    def files(self) -> dict[str, bytes]:
        from mnist_trainer import train
        from mnist_trainer.storage.checkpoint import combine, load_checkpoint, save_checkpoint

        run = train(TINY, run_dir=self.folder / "run").folder
        best = load_checkpoint(run / "best.pt")
        save_checkpoint(run / "both.pt", combine({"one": best, "other": best}))
        return {name: (run / name).read_bytes() for name in ("best.pt", "both.pt", "last.pt")}

    @cached_property
    def picture(self) -> Path:
        from PIL import Image

        values = np.full((40, 40), 255, np.uint8)
        values[8:32, 18:22] = 0
        Image.fromarray(values).save(self.folder / "one.png")
        return self.folder / "one.png"

    def case(self, random: Random) -> Case:
        name = random.choice(sorted(self.files))
        ways = (damaged, damaged_zip, _damaged_and_summed, self._another, self._another)
        return Case(name, random.choice(ways)(self.files[name], random))

    def _another(self, content: bytes, random: Random) -> bytes:
        """Return the checkpoint with unexpected values in it, in a valid file with a valid checksum."""
        import torch

        from mnist_trainer.storage.tensor_file import write_tensors

        whole = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        stream = io.BytesIO()
        write_tensors(stream, made_hostile(whole, random, random.randrange(1, 6)))
        return stream.getvalue()

    def feed(self, path: Path) -> list[str]:
        from mnist_trainer.pipeline.predict import InputImage, load_reader

        reader = load_reader(path)
        return [reader.name, *_reading_lines(reader.read([InputImage(str(self.picture), self.picture)]))]


def _damaged_and_summed(content: bytes, random: Random) -> bytes:
    """Return the file with damaged entries but a valid checksum, so that only reading finds the damage."""
    from mnist_trainer.storage import tensor_file

    changed = damaged_zip(content, random)
    with zipfile.ZipFile(io.BytesIO(changed)) as archive:
        parts = [(part.filename, archive.read(part)) for part in archive.infolist()]
        checksum, suffix = tensor_file._checksum(archive), f"/{tensor_file.CHECKSUM}"
    return zip_of([(name, checksum if name.endswith(suffix) else part) for name, part in parts])


class Pictures(Kind):
    """Pictures of many formats, read by the model that comes with the package."""

    codes = (3,)

    @cached_property
    def files(self) -> dict[str, tuple[bytes, tuple[int, int]]]:
        return dict(pictures())

    @cached_property
    def reader(self) -> Any:
        from mnist_trainer.pipeline.predict import load_reader

        return load_reader()

    def case(self, random: Random) -> Case:
        name = random.choice(sorted(self.files))
        content, size = self.files[name]
        ways = [lambda: damaged(content, random), lambda: resized(content, size, random)]
        if name.endswith(".png"):
            ways.append(lambda: damaged_png(content, random))
        return Case(name, random.choice(ways)())

    def feed(self, path: Path) -> list[str]:
        from mnist_trainer.pipeline.predict import InputImage

        return list(_reading_lines(self.reader.read([InputImage(str(path), path)])))


KINDS: dict[str, type[Kind]] = {
    "configs": Configs,
    "data sets": DataSets,
    "checkpoints": Checkpoints,
    "pictures": Pictures,
}

TINY = {
    "name": "tiny",
    "threads": 1,
    "device": "cpu",
    "data": {"name": "digits", "limit": 2, "batch_size": 8, "validation": 10},
    "model": {"architecture": "mlp", "hidden": [4]},
    "training": {"epochs": 1},
    "report": {"plots": False, "gallery": False},
}


def _reading_lines(predictions: Any) -> Iterator[str]:
    """Yield what `mnist-predict` prints. Raises `DataError` for a picture that cannot be read."""
    from mnist_trainer.errors import DataError
    from mnist_trainer.reports.results import prediction_lines

    for prediction in predictions:
        if prediction.error is not None:
            raise DataError(prediction.error)
        yield from prediction_lines(prediction)


def _idx(array: Any) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@contextmanager
def _unhashed() -> Iterator[Mapping[Any, Any]]:
    """Give `PUBLISHED` without hashes, so that every file is parsed and nothing is downloaded."""
    from mnist_trainer.data import datasets

    before, unknown = dict(datasets.PUBLISHED), defaultdict[str, Any](lambda: ([], _AnyHash()))
    for name, published in before.items():  # only the archive of USPS is read
        archive = published.archive if name == "usps" else "none-{}"
        datasets.PUBLISHED[name] = replace(published, sha256={}, archive=archive)
    try:
        with patch.object(datasets, "resources", lambda _: unknown):
            yield datasets.PUBLISHED
    finally:
        datasets.PUBLISHED.update(before)


class _AnyHash(str):
    """A text that equals every hash."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False
