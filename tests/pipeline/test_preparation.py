"""What a training begins with: files that stay the same, images that nothing has seen, weights from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mnist_trainer import load_config, prepare, resume, train
from mnist_trainer.errors import CheckpointError, ConfigError, DataError, InterruptedRunError
from mnist_trainer.files import write_file
from mnist_trainer.pipeline.preparation import with_absolute_paths
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.tensor_file import write_tensors
from mnist_trainer.studies.seed_series import resume_seeds, train_seeds

from .conftest import Remembering

Pictures = Callable[[Path, dict[str, int]], None]

OWN = ("data={name: folder, path: own, batch_size: 8}", "training.epochs=2")


def begun(tiny: dict[str, Any], *overrides: str) -> None:
    """A run in `run` that was stopped after some steps."""
    with pytest.raises(InterruptedRunError):
        train(tiny, *overrides, run_dir=Path("run").absolute(), callback=Remembering(stop_after=3))


@pytest.fixture
def own(here: Path, pictures: Pictures) -> Path:
    """Pictures in the folder `own`."""
    pictures(here / "own", {"one": 1, "two": 2})
    return here / "own"


# --- the same files, the same images ---


def test_paths_in_a_run_are_absolute(tiny: dict[str, Any], own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own.parent / "root").mkdir()
    train(tiny, *OWN, "data.root=root", run_dir=Path("first"))
    train(tiny, *OWN, "model.init_from=first", run_dir=Path("second"))
    data = load_config(Path("second", "config.yaml")).data
    assert data.path == str(own)
    assert load_config(Path("first", "config.yaml")).data.root == str(own.parent / "root")
    started = load_checkpoint(Path("second", "best.pt")).config
    assert (started.data.path, started.model.init_from) == (str(own), str(own.parent / "first"))
    assert prepare(tiny, "data.root=~/digits").setup.config.data.root == "~/digits"
    assert with_absolute_paths(load_config(tiny, ["model.init_from=bundled"])).model.init_from == "bundled"


def test_a_run_goes_on_from_another_folder(
    tiny: dict[str, Any], own: Path, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tiny, *OWN)
    elsewhere = tmp_path / "elsewhere"
    pictures(elsewhere / "own", {"one": 7, "two": 9})
    monkeypatch.chdir(elsewhere)
    assert (run := resume(tmp_path / "run")) is not None
    assert run.config.data.path == str(own)


def test_a_folder_that_was_moved_is_the_same_one(tiny: dict[str, Any], own: Path) -> None:
    begun(tiny, *OWN)
    own.rename("moved")
    with pytest.raises(DataError, match="there is no folder"):
        resume("run")
    for path in Path("moved").rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    assert (run := resume("run", "data.path=moved")) is not None
    assert run.config.data.path == str(Path("moved").absolute())
    assert load_config(Path("run", "config.yaml")).data.path == str(Path("moved").absolute())


def test_own_pictures_beside_a_data_set_belong_to_the_run(tiny: dict[str, Any], here: Path, pictures: Pictures) -> None:
    pictures(here / "mine", {"3": 3, "7": 7})
    for path in (here / "mine").rglob("*.png"):  # they were copied from digits
        Image.open(path).rotate(90).save(path)
    begun(tiny, "data.extra={path: mine, repeat: 2}")
    (here / "mine").rename(here / "elsewhere")
    with pytest.raises(DataError, match=r"data\.extra\.path: there is no folder"):
        resume("run")
    first, second = sorted((here / "elsewhere" / "3").iterdir())[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=r"The images of digits have changed .* data\.extra\.path=DIR\)"):
        resume("run", "data.extra.path=elsewhere")
    first.write_bytes(content)
    assert resume("run", "data.extra.path=elsewhere") is not None


@pytest.mark.parametrize("change", ["added", "removed", "replaced", "swapped"])
def test_other_pictures_are_refused(change: str, tiny: dict[str, Any], own: Path) -> None:
    begun(tiny, *OWN)
    first, second = sorted((own / "one").iterdir())[2:4]
    content = first.read_bytes(), second.read_bytes()
    match change:
        case "added":
            for number in range(9):
                (own / "one" / f"new{number}.png").write_bytes(content[0])
        case "removed":
            for path in sorted((own / "one").iterdir())[:9]:
                path.unlink()
        case "replaced":
            first.write_bytes(content[1])
        case "swapped":
            first.write_bytes(content[1])
            second.write_bytes(content[0])
    with pytest.raises(DataError) as caught:
        resume("run")
    same = "they are as many as then, but images, labels or their order are not the same"
    assert ("trained and" in str(caught.value)) == (change in ("added", "removed"))
    assert (same in str(caught.value)) == (change in ("replaced", "swapped"))
    assert str(caught.value).startswith("The images of folder have changed since run was started: ")
    assert "(data.path=DIR, data.root=DIR or data.extra.path=DIR), or train again: mnist-train" in str(caught.value)


def test_a_state_without_a_fingerprint_is_gone_on_with(tiny: dict[str, Any], own: Path) -> None:
    begun(tiny, *OWN)
    content = torch.load("run/last.pt", weights_only=True)
    del content["training_state"]["data"]
    write_file(Path("run/last.pt"), lambda stream: write_tensors(stream, content))
    (own / "one" / "new.png").write_bytes(next((own / "one").iterdir()).read_bytes())
    assert resume("run") is not None


def test_a_series_is_of_the_same_images(tiny: dict[str, Any], own: Path) -> None:
    series = train_seeds(tiny, [0, 1], *OWN, run_dir=Path("many")).folder
    (series / "seed-1" / "best.pt").unlink()
    own.rename("moved")
    moved = Path("moved", "one", "0.png")
    content = moved.read_bytes()
    moved.write_bytes(Path("moved", "two", "0.png").read_bytes())
    with pytest.raises(DataError, match="The images of folder have changed since many was started"):
        resume_seeds(series, "data.path=moved")
    with pytest.raises(DataError, match="The images of folder have changed since many was started"):
        train_seeds(tiny, [0, 1, 2], *OWN, "data.path=moved", run_dir=series)
    moved.write_bytes(content)
    done = resume_seeds(series, "data.path=moved")
    assert [run.status for run in done.runs] == ["finished", "finished"]
    assert load_config(series / "config.yaml").data.path == str(Path("moved").absolute())
    assert resume_seeds(series).failures == {}


# --- model.init_from ---


def test_a_model_remembers_what_trained_the_one_before_it(tiny: dict[str, Any], here: Path, own: Path) -> None:
    train(tiny, run_dir=here / "a")
    with pytest.raises(ConfigError, match=r"model\.init_from"):  # the pictures were copied from digits
        train(tiny, *OWN, "model.init_from=a", run_dir=here / "b")
    for path in own.rglob("*.png"):
        Image.open(path).rotate(90).save(path)
    train(tiny, *OWN, "model.init_from=a", run_dir=here / "b")
    train(tiny, "data.split_seed=1", "data.validation=0", "model.init_from=b", run_dir=here / "c")
    with pytest.raises(
        ConfigError, match="it, or a model that it started from, was trained with images of this validation set, and"
    ):
        prepare(tiny, "data.split_seed=1", "model.init_from=b")
    assert prepare(tiny, "model.init_from=b").setup.num_loaded_tensors == 2
    with pytest.raises(ConfigError, match=r"model\.init_from"):
        prepare(tiny, "model.init_from=c")
    assert len(load_checkpoint(here / "c" / "best.pt").only.lineage) == 3


def test_a_copy_of_a_folder_is_known_by_its_pictures(tiny: dict[str, Any], here: Path, own: Path) -> None:
    train(tiny, *OWN, run_dir=here / "a")
    own.rename("copy")
    start = "model.init_from=a"
    assert prepare(tiny, *OWN, "data.path=copy", start).setup.num_loaded_tensors == 4
    with pytest.raises(ConfigError, match=r"model\.init_from"):
        prepare(tiny, *OWN, "data.path=copy", "data.split_seed=1", start)


def saved(path: str, *layers: nn.Module) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), *layers)
    torch.save(model.state_dict(), path)
    return model


def test_weights_alone_are_a_start_as_well(tiny: dict[str, Any]) -> None:
    theirs = saved("plain.pt", nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 7))
    callback = Remembering()
    run = train(tiny, "model.init_from=plain.pt", "optimizer.lr=1e-30", callback=callback)
    assert torch.allclose(run.model.state_dict()["1.weight"], theirs.state_dict()["1.weight"])
    assert "; 2 of 4 tensors from " in callback.headers[0].model
    ((key, reason),) = callback.warnings
    assert key == "model.init_from"
    assert reason == (
        f"{Path('plain.pt').absolute()} holds weights alone: whether images that validate here trained them can't be "
        "checked"
    )
    scales = [load_checkpoint(run.folder / "best.pt").spec.normalization, prepare(tiny).setup.spec.normalization]
    assert scales[0] == scales[1]


def test_weights_of_which_none_fits_are_refused(tiny: dict[str, Any]) -> None:
    saved("plain.pt", nn.Linear(784, 3))
    with pytest.raises(CheckpointError, match=r"one in this model\. It has 1\.weight \[3, 784\], 1\.bias \[3\]; "):
        prepare(tiny, "model.init_from=plain.pt")
    torch.save({"epoch": 3, "model": {}}, "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt is neither .* nor a state_dict: torch\.save\("):
        prepare(tiny, "model.init_from=other.pt")
    broken = nn.Linear(784, 8)
    nn.init.constant_(broken.bias, float("nan"))
    saved("nan.pt", broken)
    with pytest.raises(CheckpointError, match=r"nan\.pt: not all numbers in 1\.bias are finite\.$"):
        prepare(tiny, "model.init_from=nan.pt")


def test_missing_test_files_are_told_before_the_first_step(
    tiny: dict[str, Any], here: Path, callback: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(here / "cache"))
    monkeypatch.setattr("mnist_trainer.data.datasets.urlopen", unreachable)
    images, labels = (np.arange(40 * 784, dtype=np.uint8) * 7).tobytes(), (np.arange(40, dtype=np.uint8) % 10).tobytes()
    head = b"\0\0\x08\3\0\0\0\x28\0\0\0\x1c\0\0\0\x1c"
    (here / "KMNIST").mkdir()
    (here / "KMNIST" / "train-images.idx3-ubyte").write_bytes(head + images)
    (here / "KMNIST" / "train-labels.idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\x28" + labels)
    sections = {**tiny, "data": {"name": "k-mnist", "root": str(here), "batch_size": 8, "validation": 10}}
    with pytest.raises(DataError, match=r"kmnist is not complete in .*, and t10k-images-idx3-ubyte\.gz"):
        train(sections, callback=callback)
    assert callback.steps == []
    assert train(sections, "report.test=false", callback=callback).test is None
