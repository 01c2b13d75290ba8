"""How folders of pictures are laid out: `mnist_trainer/data/folder.py`."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from mnist_trainer.config.classes import class_positions
from mnist_trainer.config.schema import Data
from mnist_trainer.data.folder import evaluated_folders, layout_of, notes, part_of
from mnist_trainer.errors import DataError


def fill(root: Path, *names: str) -> Data:
    """Empty files of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return Data(name="folder", path=str(root))


def refusal(data: Data) -> str:
    with pytest.raises(DataError) as caught:
        layout_of(data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("training", "validation", "testing"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("trainingSet", "validationSet", "testSet"),
        ("training_set", "valid_set", "test_set"),
        ("train_images", "dev", "test-images"),
        ("Training Data", "val_data", "Testing Data"),
    ],
)
def test_usual_names_of_parts_are_parts(train: str, validation: str, test: str, tmp_path: Path) -> None:
    names = [f"{part}/{label}/x.png" for part in (train, validation, test) for label in "01"]
    layout = layout_of(fill(tmp_path, *names))
    assert layout.folders == {
        "train": tmp_path / train,
        "validation": tmp_path / validation,
        "test": tmp_path / test,
    }
    assert layout.classes == ("0", "1")


@pytest.mark.parametrize("name", ["0", "seven", "contest", "trainee", "set", "data", "invalid", "images", "teststrip"])
def test_other_names_are_no_parts(name: str) -> None:
    assert part_of(name) is None


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    data = fill(tmp_path, "Train/0/x.png", "Train/1/x.png", "training/0/x.png", "training/1/x.png")
    assert refusal(data) == (
        f"{tmp_path / 'Train'} and {tmp_path / 'training'} are both the train set. Merge them, or rename one."
    )


def test_classes_may_be_called_like_parts(tmp_path: Path) -> None:
    assert layout_of(fill(tmp_path, "valid/x.png", "invalid/x.png")).classes == ("invalid", "valid")


def test_flat_parts_are_no_classes(tmp_path: Path) -> None:
    data = fill(tmp_path, "Training/x.png", "Testing/x.png")
    assert refusal(data).startswith(f"{tmp_path / 'Training'} needs two or more sub-folders")


class TestWrapped:
    def test_parts_of_unknown_names_are_refused(self, tmp_path: Path) -> None:
        names = [f"fold{fold}/{label}/x.png" for fold in (1, 2, 3, 4) for label in range(10)]
        assert refusal(fill(tmp_path, *names)) == (
            f"{tmp_path} has fold1/, fold2/, fold3/ … that all contain the sub-folders 0, 1, 2 …, and no picture: they "
            "are not classes. Rename them to train/, val/ and test/, or write "
            f"data.path={tmp_path / 'fold1'}"
        )

    def test_numbered_folds_too(self, tmp_path: Path) -> None:
        names = [f"{fold}/{label}/x.png" for fold in (1, 2) for label in range(10)]
        assert "that all contain the sub-folders 0, 1, 2 …" in refusal(fill(tmp_path, *names))

    @pytest.mark.parametrize("inner", [("training", "testing"), ("0", "1")])
    def test_one_folder_around_all_is_named(self, inner: tuple[str, str], tmp_path: Path) -> None:
        data = fill(tmp_path, *(f"mnist_png/{name}/{label}/x.png" for name in inner for label in "01"))
        shown = ", ".join(sorted(inner))
        assert refusal(data) == (
            f"{tmp_path} has only mnist_png/ with the sub-folders {shown}, and no picture. Write "
            f"data.path={tmp_path / 'mnist_png'}"
        )

    def test_a_part_in_a_folder_of_its_own_name(self, tmp_path: Path) -> None:
        data = fill(tmp_path, *(f"trainingSet/trainingSet/{label}/x.png" for label in "01"))
        assert "has only trainingSet/ with the sub-folders 0, 1" in refusal(data)

    def test_pictures_may_lie_deeper_in_their_class(self, tmp_path: Path) -> None:
        assert layout_of(fill(tmp_path, "cat/deep/x.png", "dog/deep/x.png")).classes == ("cat", "dog")
        names = [f"{label}/{writer}/x.png" for label in range(3) for writer in ("ann", "bob")]
        assert layout_of(fill(tmp_path / "writers", *names)).classes == ("0", "1", "2")


class TestPassedOver:
    RUN = ("run.json", "config.yaml", "best.pt", "plots/training.png")

    def test_runs_series_and_sweeps_are_no_classes(self, tmp_path: Path) -> None:
        runs = [f"runs/2026-run/{name}" for name in self.RUN]
        series = [f"runs/series/{name}" for name in ("run.json", "seed-0/run.json", "seed-1/config.yaml")]
        sweep = ["sweep/sweep.yaml", "sweep/run.json", "sweep/plots/x.png"]
        begun = ["r/.lock", "r2/config.yaml"]
        data = fill(tmp_path, "0/x.png", "1/x.png", *runs, *series, *sweep, *begun)
        (tmp_path / "runs" / "just begun").mkdir()
        assert layout_of(data).classes == ("0", "1")
        assert notes(data) == [
            f"{tmp_path}: ignored, because they are not pictures of a class: r/, r2/, runs/ and 1 more"
        ]

    def test_runs_stays_none_with_plots_beside_the_runs(self, tmp_path: Path) -> None:
        data = fill(tmp_path, "0/x.png", "1/x.png", "runs/a/run.json", "runs/all.png", "runs/out/confusion.png")
        assert layout_of(data).classes == ("0", "1")

    def test_reports_of_other_commands_are_no_classes(self, tmp_path: Path) -> None:
        files = ["report/confusion.png", "report/predictions.csv", "steps/x-steps.png", "steps/x-steps-2.png"]
        assert layout_of(fill(tmp_path, "0/x.png", "1/x.png", *files)).classes == ("0", "1")

    def test_a_part_stays_one_with_runs_in_it(self, tmp_path: Path) -> None:
        data = fill(
            tmp_path, "train/0/x.png", "train/1/x.png", "train/runs/a/run.json", "test/0/x.png", "test/r/run.json"
        )
        layout = layout_of(data)
        assert layout.folders == {"train": tmp_path / "train", "test": tmp_path / "test"}
        assert layout.classes == ("0", "1")

    def test_a_class_stays_one_with_a_stray_config_or_without_pictures(self, tmp_path: Path) -> None:
        data = fill(tmp_path, "0/x.png", "0/config.yaml", "0/metrics.csv", "1/notes.txt")
        (tmp_path / "2").mkdir()
        assert layout_of(data).classes == ("0", "1", "2")

    @pytest.mark.parametrize(
        "name",
        [
            *("@eaDir", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information", "__macosx"),
            *("@Recycle", "#recycle", "#snapshot", "RECYCLER", "found.000", "__pycache__", "Network Trash Folder"),
        ],
    )
    def test_folders_of_the_system(self, name: str, tmp_path: Path) -> None:
        files = [f"{name}/x.png", f"train/{name}/x.png", f"train/0/{name}/x.png", "train/.ipynb_checkpoints/x.png"]
        data = fill(tmp_path, "train/0/x.png", "train/1/x.png", "test/0/x.png", *files)
        assert layout_of(data).classes == ("0", "1")
        passed = sorted([Path(name), Path("train") / name, Path("train/0") / name])
        shown = ", ".join(f"{path}/" for path in passed)
        assert notes(data) == [f"{tmp_path}: ignored, because they are not pictures of a class: {shown}"]

    def test_stray_files_have_one_note(self, tmp_path: Path) -> None:
        stray = ["labels.csv", "0/readme.txt", "0/deep/LICENSE", "1/labels.json", "1/Thumbs.db", "1/.DS_Store"]
        data = fill(tmp_path, "0/x.png", "1/y", *stray)
        assert notes(data) == [
            f"{tmp_path}: ignored, because they are not pictures of a class: "
            "0/deep/LICENSE, 0/readme.txt, 1/labels.json and 1 more"
        ]

    def test_files_of_the_system_and_parts_of_downloads_are_no_pictures(self, tmp_path: Path) -> None:
        hidden = ["0/Icon\r", "0/ehthumbs.db", "1/~$x.docx"]
        passed = ["0/x.png.crdownload", "1/x.png:Zone.Identifier", "1/x.xcf"]
        data = fill(tmp_path, "0/x.png", "1/y", *hidden, *passed)
        assert notes(data) == [f"{tmp_path}: ignored, because they are not pictures of a class: {', '.join(passed)}"]

    @pytest.mark.parametrize(
        ("files", "hint"),
        [
            (["test.csv", "train.csv"], "To train with a table of images: data.path={}/train.csv"),
            (["mnist.npz"], "To train with a table of images: data.path={}/mnist.npz"),
            (
                ["train-images.idx3-ubyte"],
                "It contains train-images.idx3-ubyte: if that is MNIST, write data.name=mnist data.root={}",
            ),
        ],
    )
    def test_a_folder_of_other_files_says_how_to_name_them(self, files: list[str], hint: str, tmp_path: Path) -> None:
        assert refusal(fill(tmp_path, *files)).endswith(f"it has 0. {hint.format(tmp_path)}")

    def test_nothing_to_note(self, tmp_path: Path) -> None:
        assert notes(fill(tmp_path, "0/x.png", "1/y")) == []
        assert notes(Data(name="folder", path=str(tmp_path / "none"))) == [] == notes(Data())


class TestClassPositions:
    def test_composed_and_decomposed_letters(self, tmp_path: Path) -> None:
        composed, decomposed = normalize("NFC", "fünf"), normalize("NFD", "fünf")
        assert class_positions([decomposed, composed], ["eins", composed]) == [1, 1]
        assert class_positions([composed], ["eins", decomposed]) == [1]
        data = fill(tmp_path, f"train/{composed}/x", "train/eins/x", f"test/{decomposed}/x", f"val/{decomposed}/x")
        assert layout_of(data).classes == ("eins", composed)

    @pytest.mark.parametrize("names", ["00 03 09", "zero three nine", "Null Drei NEUN", "0 3 9", "000 Three 9"])
    def test_ways_to_write_digits(self, names: str) -> None:
        assert class_positions(names.split(), "0123456789") == [0, 3, 9]
        assert class_positions(["0", "3", "9"], [*names.split(), "cat"]) == [0, 1, 2]

    def test_one_name_must_mean_one_class(self) -> None:
        assert class_positions(["a", "A", "07", "seven"], ["A", "a", "7", "07"]) == [1, 0, 3, None]
        assert class_positions(["cat", "Dog", "10"], ["Cat", "dog"]) == [0, 1, None]


def test_folders_to_evaluate_on(tmp_path: Path) -> None:
    only = fill(tmp_path / "only", "Testing/3/x.png", "Testing/07/x.png")
    assert evaluated_folders(only) == ((tmp_path / "only" / "Testing",), ("3", "07"))
    assert refusal(only) == f"{tmp_path / 'only'} has Testing, but no train/ with a sub-folder for each class."
    one = fill(tmp_path / "one", "7/x.png")
    assert evaluated_folders(one) == ((tmp_path / "one",), ("7",))
    learnt = fill(tmp_path / "learnt", "train/1/x.png", "train/2/x.png", "val/1/x.png")
    assert evaluated_folders(learnt) == ((tmp_path / "learnt" / "train", tmp_path / "learnt" / "val"), ("1", "2"))


def test_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.touch()
    for ask in (layout_of, evaluated_folders):
        with pytest.raises(DataError) as caught:
            ask(Data(name="folder", path=str(file)))
        assert (
            str(caught.value)
            == f"data.path: {file} is a file; it must name a folder of pictures, or a .csv or .npz file."
        )
