"""Files and folders from strangers that were made to hurt: names, links, pipes, bombs."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from reliability.fuzz import run_case
from reliability.kinds import Pictures
from reliability.mutations import png_chunks, png_of
from typer.testing import CliRunner

from mnist_trainer import Run, train
from mnist_trainer.cli import mnist_eval as evaluating
from mnist_trainer.cli import mnist_predict, mnist_runs
from mnist_trainer.config.schema import Data
from mnist_trainer.data.cache import MIN_CACHED
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.folder import layout_of, load_folder
from mnist_trainer.errors import CheckpointError, DataError, StorageError
from mnist_trainer.pictures.listing import list_pictures
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint
from mnist_trainer.storage.run_folder import COLUMNS, RunFolder

ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202e"
SHOWN = r"\x1b]0;owned\x07\x1b[31m\u202e"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names, and no pipes in folders")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def command(app: Any, *arguments: object) -> Done:
    """The command's end; nothing that it prints moves a terminal."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    for text in (done.stdout, done.stderr):
        assert all(char.isprintable() or char == "\n" for char in text), text
        assert "Traceback" not in text
    return Done(done.exit_code, done.stdout, done.stderr)


def seven(path: Path) -> Path:
    digits = load_digits("test")
    Image.fromarray(digits.images[digits.labels == 7][0].numpy()).save(path, format="png")
    return path


@posix
@pytest.mark.parametrize("name", [f"{ESCAPE}.png", "a\nb.png", "a\rb", "\udcff.png", "-", "-7.png", "--json", "*?"])
def test_a_picture_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    seven(Path(name))
    done = command(mnist_predict.app, f"./{name}")
    assert (done.code, done.err) == (0, "")
    assert json.loads(command(mnist_predict.app, f"./{name}", "--json").out)[0]["path"] == f"./{name}"
    (tmp_path / name).write_bytes(b"no picture")
    done = command(mnist_predict.app, f"./{name}")
    assert done.code == 3
    assert "is no picture in a known format" in done.err
    (tmp_path / name).unlink()
    assert command(mnist_predict.app, f"./{name}").code == 3


@posix
def test_a_checkpoint_may_have_any_name(digits_run: Run, tmp_path: Path) -> None:
    place, picture = tmp_path / ESCAPE, seven(tmp_path / "7.png")
    done = command(mnist_predict.app, picture, "--checkpoint", place)
    assert done.code == 4
    assert SHOWN in done.err
    place.write_bytes((digits_run.folder / "best.pt").read_bytes())
    done = command(mnist_predict.app, picture, "--checkpoint", place)
    assert done.code == 0
    assert SHOWN in done.out
    place.write_bytes(b"no checkpoint")
    done = command(evaluating.app, place)
    assert done.code == 4
    assert SHOWN in done.err


def test_the_classes_of_a_checkpoint_are_shown_escaped(digits_run: Run, tmp_path: Path) -> None:
    whole = load_checkpoint(digits_run.folder / "best.pt")
    names = tuple(f"{ESCAPE}{number}" for number in range(10))
    save_checkpoint(tmp_path / "a.pt", type(whole)(whole.members, names))
    picture = seven(tmp_path / "7.png")
    done = command(mnist_predict.app, picture, "--checkpoint", tmp_path / "a.pt", "--top", "3", "--show")
    assert done.code == 0
    assert f"{SHOWN}7" in done.out
    done = command(evaluating.app, tmp_path / "a.pt")
    assert done.code in (0, 3, 4)


def test_weights_that_are_no_numbers_give_no_answer(digits_run: Run, tmp_path: Path) -> None:
    whole = load_checkpoint(digits_run.folder / "best.pt")
    for weight in whole.weights.values():
        weight.mul_(float("nan"))
    save_checkpoint(tmp_path / "a.pt", whole)
    done = command(mnist_predict.app, seven(tmp_path / "7.png"), "--checkpoint", tmp_path / "a.pt")
    assert done.code == 4
    assert "its outputs are not finite, so its weights are damaged" in done.err


@posix
def test_runs_may_have_any_name(fake_run: Callable[..., Path], tmp_path: Path) -> None:
    fake_run(f"runs/{ESCAPE}", {"name": ESCAPE, "device": ESCAPE, "stop_reason": ESCAPE, "model": ESCAPE})
    (tmp_path / "runs" / f"b{ESCAPE}").mkdir()
    done = command(mnist_runs.app, tmp_path / "runs")
    assert done.code == 0
    assert r"\x1b]0;owned\x07" in done.out
    assert len(json.loads(command(mnist_runs.app, tmp_path / "runs", "--json").out)) == 2
    done = command(mnist_runs.app, tmp_path / f"runs{ESCAPE}")
    assert done.code == 2
    assert SHOWN in done.err
    assert command(mnist_runs.app, tmp_path / "runs", "--filter", f"name={ESCAPE}x").code in (0, 2)


# --- links and pipes in a run's folder ---

ROW = dict.fromkeys(COLUMNS, 1)


@posix
def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear to me\n")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for name in ("metrics.csv", "log.txt"):
        (folder.path / name).symlink_to(tmp_path / "mine")
    for append in (lambda: folder.add_metrics(ROW), lambda: folder.log("begins")):
        with pytest.raises(StorageError, match="can't be written"):
            append()
    assert (tmp_path / "mine").read_text() == "dear to me\n"


@posix
def test_nothing_is_appended_to_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.txt")
    with pytest.raises(StorageError, match="can't be written"):
        RunFolder(tmp_path).log("begins")


@posix
def test_what_is_replaced_is_the_link_and_not_what_it_leads_to(digits_run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear to me\n")
    folder = RunFolder(tmp_path)
    (tmp_path / "run.json").symlink_to(tmp_path / "mine")
    folder.last.symlink_to("/dev/zero")
    os.mkfifo(folder.best)
    folder.write_record({"status": "running"})
    for path in (folder.last, folder.best):
        save_checkpoint(path, load_checkpoint(digits_run.folder / "best.pt"))
        assert path.is_file() and not path.is_symlink()
    assert (tmp_path / "mine").read_text() == "dear to me\n"


@posix
@pytest.mark.parametrize("kind", ["/dev/zero", "/dev/null", "loop", "pipe", "folder"])
def test_what_is_no_file_is_no_checkpoint(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "last.pt"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("last.pt" if kind == "loop" else kind)
    with pytest.raises(CheckpointError):
        load_checkpoint(place)
    done = command(mnist_predict.app, seven(tmp_path / "7.png"), "--checkpoint", place)
    assert (done.code, done.out) == (4, "")


@posix
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_no_picture(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "a.png"
    os.mkfifo(place) if kind == "pipe" else place.symlink_to(kind)
    done = command(mnist_predict.app, place)
    assert done.code == 3
    assert done.err == f"{place} is a pipe or a device, not a file. Name a picture, or - for one from a pipe.\n"


# --- folders of pictures ---


def folder_of(path: Path, *classes: str) -> Data:
    for name in classes:
        (path / name).mkdir(parents=True)
        for number in range(12):
            seven(path / name / f"{number}.png")
    return Data(name="folder", path=str(path))


@posix
@pytest.mark.parametrize("name", [ESCAPE, "a\nb", "\udcff"])
def test_a_class_that_cannot_be_printed_is_refused(tmp_path: Path, name: str) -> None:
    data = folder_of(tmp_path / "data", "one", name)
    with pytest.raises(DataError, match="the name of a class must be printable; rename the folder"):
        layout_of(data)


@posix
@pytest.mark.parametrize("kept", [MIN_CACHED, 1])
def test_pictures_with_odd_names_and_links_in_a_ring_do_no_harm(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.data.cache.MIN_CACHED", kept)
    data = folder_of(tmp_path / "data", "one", "two")
    one = tmp_path / "data" / "one"
    seven(one / f"{ESCAPE}.png")
    (one / "\udcff.png").write_bytes((one / "0.png").read_bytes())
    (one / "ring").symlink_to(tmp_path / "data", target_is_directory=True)
    (one / "self").symlink_to(one / "self")
    os.mkfifo(one / "pipe.png")
    layout = layout_of(data)
    assert layout.classes == ("one", "two")
    both = [load_folder(layout, part, [tmp_path / "kept"]) for part in ("train", "test")]
    assert sum(len(each.labels) for each in both) == 26
    (one / f"{ESCAPE}.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        [load_folder(layout, part, [tmp_path / "kept"]) for part in ("train", "test")]
    assert SHOWN in str(caught.value)


@posix
def test_a_ring_of_folders_can_be_trained_on(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", "one", "two")
    (tmp_path / "data" / "one" / "up").symlink_to(tmp_path, target_is_directory=True)
    model = {"architecture": "mlp", "hidden": [2]}
    data = {"name": "folder", "path": str(tmp_path / "data"), "validation": 2}
    small = {"threads": 1, "device": "cpu", "training": {"epochs": 1}, "report": {"plots": False, "gallery": False}}
    run = train({"model": model, "data": data, **small}, run_dir=tmp_path / "run")
    assert run.best_epoch == 1


def test_a_folder_is_listed_in_time_that_grows_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / f"{number}.png").touch()
        (tmp_path / f"{number}.txt").touch()
    compared = 0
    equal = Path.__eq__

    def counted(self: Path, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    monkeypatch.setattr(Path, "__eq__", counted)
    listing = list_pictures(tmp_path)
    assert (len(listing.pictures), len(listing.others)) == (300, 300)
    assert compared < 10_000


# --- pictures that are small on the disk alone ---


def _bomb(megabytes: int) -> bytes:
    """Zeros, packed by zlib; the checksum at its end is wrong, which is seen when it is too late."""
    packer = zlib.compressobj()
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10**7)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes // 10) + packer.flush()


def bombs() -> Iterator[tuple[str, bytes]]:
    stream = BytesIO()
    small = Image.new("L", (40, 40), 255)
    small.save(stream, "PNG")
    first, *rest = png_chunks(stream.getvalue())
    packed = _bomb(2000)
    yield "iCCP.png", png_of([first, (b"iCCP", b"a\0\0" + packed), *rest])
    yield "zTXt.png", png_of([first, (b"zTXt", b"a\0\0" + packed), *rest])
    yield "many-zTXt.png", png_of([first, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))] * 100, *rest])
    yield "iTXt.png", png_of([first, (b"iTXt", b"a\0\1\0\0\0" + packed), *rest])
    yield "IDAT.png", png_of([first, (b"IDAT", packed), *rest[1:]])
    yield (
        "wide.png",
        png_of([(b"IHDR", struct.pack(">II5B", 2**31 - 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", packed), *rest[1:]]),
    )
    yield "frames.png", png_of([first, (b"acTL", struct.pack(">II", 2**31 - 1, 0)), *rest])
    stream = BytesIO()
    small.convert("P").save(stream, "GIF")
    head, frame = stream.getvalue()[:-1], stream.getvalue()[stream.getvalue().index(b",") : -1]
    yield "frames.gif", head + frame * 5000 + b";"
    yield "strips.tif", b"II*\0\x08\0\0\0\x01\0\x11\x01\x04\0\xff\xff\xff\xff\x08\0\0\0" + bytes(100)
    yield "ring.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(100)
    inner = png_of([(b"IHDR", struct.pack(">II5B", 60_000, 60_000, 8, 6, 0, 0, 0)), (b"IDAT", packed), *rest[1:]])
    yield "inside.ico", struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    yield (
        "inside.icns",
        b"icns" + struct.pack(">I", 16 + len(inner)) + b"ic10" + struct.pack(">I", 8 + len(inner)) + inner,
    )
    yield "program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n(x) run\n%%EOF\n"
    yield "deep.jpg", _large_jpeg()


def _large_jpeg() -> bytes:
    """A progressive JPEG of a few pixels that claims 148 million in four colours."""
    stream = BytesIO()
    Image.new("CMYK", (16, 16)).save(stream, "JPEG", progressive=True)
    content = bytearray(stream.getvalue())
    struct.pack_into(">HH", content, content.index(b"\xff\xc2") + 5, 12_200, 12_200)
    return bytes(content)


BOMBS = dict(bombs())


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_neither_time_nor_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    outcome = run_case(Pictures(tmp_path), tmp_path / name)
    assert outcome.fault == ""
    done = command(mnist_predict.app, tmp_path / name)
    assert done.code == outcome.code in (0, 3)


def test_the_bombs_are_bombs() -> None:
    unpacker = zlib.decompressobj()
    assert len(unpacker.decompress(BOMBS["IDAT.png"][8 + 25 + 8 :], 3 * 10**7)) == 3 * 10**7
    assert len(BOMBS["IDAT.png"]) < 3 * 10**6
    with pytest.warns(Image.DecompressionBombWarning):
        assert np.prod(Image.open(BytesIO(_large_jpeg())).size) == 148_840_000
    assert Image.open(BytesIO(BOMBS["frames.gif"])).n_frames == 5001  # type: ignore[attr-defined]


def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: started.append(arguments))
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **options: started.append(arguments))
    (tmp_path / "a.eps").write_bytes(BOMBS["program.eps"])
    done = command(mnist_predict.app, tmp_path / "a.eps")
    assert (done.code, started) == (3, [])
    assert "is no picture in a known format" in done.err
