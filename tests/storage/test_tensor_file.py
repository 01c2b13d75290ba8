"""Files of PyTorch's that are foreign, torn, damaged or malicious: `mnist_trainer/storage/tensor_file.py`."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.errors import CheckpointError
from mnist_trainer.files import write_file
from mnist_trainer.storage import tensor_file
from mnist_trainer.storage.tensor_file import read_tensors, write_tensors

TRILLION = 10**12


def write(path: Path, content: object) -> Path:
    write_file(path, lambda stream: write_tensors(stream, content))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(str(path))


def repacked(path: Path, change: Callable[[dict[str, bytes]], object], sealed: bool = False, method: int = 0) -> Path:
    """The archive at `path` with its parts changed and written anew, with right CRCs and, if `sealed`, checksum."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
        if sealed:
            archive.writestr(zipfile.ZipInfo("archive/checksum"), tensor_file._checksum(archive))
    return path


def with_structure(path: Path, old: bytes, new: bytes) -> Path:
    """The archive at `path` with other instructions in its pickle."""
    (text,) = {zipfile.ZipFile(path).read("archive/data.pkl")}
    assert text.count(old) == 1
    return repacked(path, lambda parts: parts.update({"archive/data.pkl": text.replace(old, new)}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Four numbers."""
    return write(tmp_path / "a.pt", {"weight": torch.arange(4.0)})


def test_what_was_written_comes_back_with_its_checksum(tmp_path: Path) -> None:
    content = {"a": torch.rand(3, 4), "b": OrderedDict(c=[1, 2.5, None, "text", (True,)]), 3: torch.zeros(0).long()}
    found, sealed = read_tensors(write(tmp_path / "a.pt", content))
    assert isinstance(found, dict) and sealed
    assert torch.equal(found.pop("a"), content.pop("a")) and found.pop(3).dtype == torch.int64
    assert found == {"b": content["b"]}
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.namelist()[-1] == "archive/checksum"
        assert len(archive.read("archive/checksum")) == 64


def test_a_file_of_pytorch_alone_has_no_checksum(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt") == ([1], False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.uint16])
def test_numbers_of_every_kind_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    found, _ = read_tensors(write(tmp_path / "a.pt", [torch.zeros(3, dtype=dtype), dtype, torch.Size([3])]))
    assert isinstance(found, list) and found[0].dtype == found[1] == dtype


def test_the_checksum_covers_every_part(saved: Path) -> None:
    whole = saved.read_bytes()

    def other(name: str) -> Callable[[dict[str, bytes]], object]:
        return lambda parts: parts.update({name: bytes(len(parts[name]))})

    for name in ("archive/data/0", "archive/byteorder", "archive/.data/serialization_id", "archive/checksum"):
        saved.write_bytes(whole)
        text = " is damaged: the checksum of its part archive/checksum is wrong. Copy it again."
        assert error_of(repacked(saved, other(name))) == text
    for change in (lambda parts: parts.pop("archive/version"), lambda parts: parts.update({"archive/more": b""})):
        saved.write_bytes(whole)
        assert "the checksum of its part archive/checksum is wrong" in error_of(repacked(saved, change))


def test_parts_that_changed_places_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", [torch.zeros(3), torch.ones(3)])

    def swap(parts: dict[str, bytes]) -> None:
        parts["archive/data/0"], parts["archive/data/1"] = parts["archive/data/1"], parts["archive/data/0"]

    assert "the checksum of its part archive/checksum is wrong" in error_of(repacked(path, swap))


def test_a_byte_that_changed_on_the_disk_is_told_with_its_part(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[content.index(torch.arange(4.0).numpy().tobytes()) + 5] ^= 1
    saved.write_bytes(content)
    text = " is damaged: the checksum of its part archive/data/0 is wrong. Copy it again."
    assert error_of(saved) == text


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_torn_copy_is_told(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    assert error_of(saved) == " is cut short: its end is missing. Copy it again."
    saved.write_bytes(whole[: int(share * len(whole))] + bytes(len(whole) - int(share * len(whole))))
    assert error_of(saved) == " is cut short: its end is missing. Copy it again."


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    assert error_of(path) == ": there is no such file."
    path.write_bytes(b"")
    assert error_of(path) == " is empty. Copy it again."
    kinds = {b"just text\n": "it is a text file", b"\x89PNG\r\n\x1a\n": "it is a picture"}
    for content in (*kinds, b"\x80\x02", bytes(range(200, 250)), gzip.compress(b"digits"), pickle.dumps([1])):
        path.write_bytes(content)
        kind = kinds.get(content, "it is not in the format of torch.save")
        assert error_of(path) == f" is no checkpoint: {kind}. Name a .pt file, or the folder of a run."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert error_of(path) == " is no checkpoint: it is an archive, but not in the format of torch.save."


@pytest.mark.skipif(os.name == "nt", reason="links need rights there, and there are no pipes")
def test_links_pipes_and_folders_are_told_at_once(saved: Path, tmp_path: Path) -> None:
    place = tmp_path / "best.pt"
    place.symlink_to("nowhere.pt")
    assert error_of(place) == ": it is a link to a file that is not there."
    place.unlink()
    place.symlink_to("best.pt")
    assert error_of(place) == f" can't be read: {os.strerror(40)}."
    place.unlink()
    os.mkfifo(place)
    assert error_of(place) == " is no file, but a folder, a pipe or a device."
    place.unlink()
    place.symlink_to("/dev/zero")
    assert error_of(place) == " is no file, but a folder, a pipe or a device."
    place.unlink()
    place.mkdir()
    assert error_of(place) == " is no file, but a folder, a pipe or a device."
    place.rmdir()
    place.symlink_to(saved.name)
    assert read_tensors(place)[1]
    assert error_of(tmp_path / ("x" * 300)) == f" can't be read: {os.strerror(36)}."


def test_simulated_a_file_without_the_right_to_read_it_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert error_of(saved) == " can't be read: Permission denied."


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_would_run_code_is_refused_and_says_what_it_would_run(tmp_path: Path, protocol: int) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "trap.pt"
    pickle.loads(pickle.dumps(Trap(sprung)))
    sprung.rmdir()  # the trap works

    torch.save({"format": "mnist_trainer", "version": 1, "members": [Trap(sprung)]}, path, pickle_protocol=protocol)
    what = f"Python objects besides weights ({os.mkdir.__module__}.mkdir)"
    assert error_of(path) == (
        f" holds {what if protocol == 2 else 'more than weights and plain values'} and is not loaded: such a file can "
        "run code. Only checkpoints of mnist-train are read."
    )
    path.write_bytes(pickle.dumps(Trap(sprung)))
    assert "is no checkpoint" in error_of(path)
    torch.save(Trap(sprung), path, _use_new_zipfile_serialization=False)
    assert "is no checkpoint" in error_of(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("instructions", "named"),
    [
        (b"cos\nsystem\n(X\x04\x00\x00\x00truetR.", "os.system"),
        (b"cbuiltins\nbytearray\n\x8a\x06" + TRILLION.to_bytes(6, "little") + b"\x85R.", "builtins.bytearray"),
        (b"ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"),
        (b"c\x1b[31m\nevil\n.", r"\x1b[31m.evil"),
        (b"cmnist_trainer.storage.checkpoint\nMember\n.", "mnist_trainer.storage.checkpoint.Member"),
    ],
)
def test_whatever_a_pickle_asks_for_is_named(saved: Path, instructions: bytes, named: str) -> None:
    repacked(saved, lambda parts: parts.update({"archive/data.pkl": b"\x80\x02" + instructions}))
    with zipfile.ZipFile(saved) as archive:
        names = archive.namelist()
    repacked(saved, lambda parts: parts.pop("archive/checksum") if "archive/checksum" in names else None)
    assert f"holds Python objects besides weights ({named}) and is not loaded" in error_of(saved)


@pytest.mark.parametrize(
    "instructions",
    [b"(X\x04\x00\x00\x00trueios\nsystem\n.", b"\x8c\x02os\x94\x8c\x06system\x94\x93.", b"\x82\x01."],
    ids=["INST", "STACK_GLOBAL", "EXT1"],
)
def test_other_instructions_that_name_a_global_are_refused(saved: Path, instructions: bytes) -> None:
    repacked(saved, lambda parts: parts.update({"archive/data.pkl": b"\x80\x04" + instructions}))
    repacked(saved, lambda parts: parts.pop("archive/checksum"))
    assert " holds more than weights and plain values and is not loaded: such" in error_of(saved)


def test_a_whole_model_saved_by_pytorch_is_not_loaded(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    assert "besides weights (torch.nn.modules.linear.Linear)" in error_of(tmp_path / "model.pt")


# --- what claims more than it holds; each of these must end before memory is taken ---

FOUR, MANY = b"K\x04", b"\x8a\x06" + TRILLION.to_bytes(6, "little")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FOUR + b"tq\x07Q", MANY + b"tq\x07Q"),  # the part of the archive
        (FOUR + b"\x85q\x08", MANY + b"\x85q\x08"),  # the tensor
        (FOUR + b"\x85q\x08K\x01\x85", MANY + b"\x85q\x08K\x00\x85"),  # the tensor, with one number for all
        (FOUR + b"tq\x07Q", b"K\x05tq\x07Q"),
        (FOUR + b"\x85q\x08", b"K\x05\x85q\x08"),
    ],
)
def test_a_tensor_that_claims_what_is_not_there_is_told(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = write(tmp_path / "a.pt", {"w": torch.arange(4.0)})
    repacked(path, lambda parts: parts.pop("archive/checksum"))
    text = error_of(with_structure(path, old, new))
    assert text.startswith((" claims a tensor of 1000000000000 numbers", " is no checkpoint, or a damaged one ("))


def test_an_expanded_tensor_is_told(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1000, 1000, 1000)}, tmp_path / "a.pt")
    assert error_of(tmp_path / "a.pt") == (
        " claims a tensor of 1000 × 1000 × 1000 numbers that it does not hold. It is not loaded."
    )


def test_a_compressed_archive_is_told(saved: Path) -> None:
    def swell(parts: dict[str, bytes]) -> None:
        parts["archive/data/0"] = bytes(50_000_000)

    size = repacked(saved, swell, method=zipfile.ZIP_DEFLATED).stat().st_size
    assert size < 100_000
    assert f" bytes in a file of {size:,}, and is not loaded. Checkpoints of mnist-train are not" in error_of(saved)
    write(saved, [1])
    assert " claims to hold " in error_of(repacked(saved, lambda parts: None, method=zipfile.ZIP_DEFLATED))


def test_parts_that_lie_on_each_other_are_told(saved: Path) -> None:
    """Many entries of the directory that all mean the same bytes."""
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("archive/data/1", bytes(100_000))
        for number in range(2, 100):
            again = zipfile.ZipInfo(f"archive/data/{number}")
            first = archive.getinfo("archive/data/1")
            again.header_offset, again.file_size, again.compress_size = first.header_offset, 100_000, 100_000
            again.CRC = first.CRC
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    assert " claims to hold 9,90" in error_of(saved)


def test_a_part_that_claims_more_than_the_file_is_told(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        for part in archive.infolist():
            part.file_size = part.compress_size = TRILLION
        archive.writestr("archive/more", b"")
    assert error_of(saved).startswith(f" claims to hold {8 * TRILLION:,} bytes in a file of ")


@pytest.mark.parametrize("names", [("archive/data.pkl",), ("archive/DATA.PKL",), ("other/data.pkl",)])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_structures_is_told(saved: Path, names: tuple[str]) -> None:
    """Else one of them could be looked at, and the other loaded."""
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(names[0], pickle.dumps([]))
    assert error_of(saved) == " is no checkpoint: it is an archive, but not in the format of torch.save."


def test_names_that_lead_out_of_the_archive_lead_nowhere(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("../../out.txt", b"out")
        archive.writestr("/tmp/out.txt", b"out")
    before = sorted(tmp_path.parent.rglob("*"))
    assert "the checksum of its part archive/checksum is wrong" in error_of(saved)
    assert sorted(tmp_path.parent.rglob("*")) == before


def nested(depth: int) -> object:
    content: object = 1
    for _ in range(depth):
        content = [content]
    return content


def doubled(depth: int) -> object:
    """2 ** depth values in a few bytes."""
    content: object = [1, 2]
    for _ in range(depth):
        content = [content, content]
    return content


def circle() -> object:
    content: dict[str, Any] = {}
    content["self"] = content
    return content


@pytest.mark.parametrize("content", [nested(60), doubled(45), circle(), [[0] * 2000] * 2000], ids=range(4))
def test_values_that_are_too_many_or_too_deep_are_told(tmp_path: Path, content: object) -> None:
    text = " is no checkpoint: its values are more, or deeper, than any model's."
    assert error_of(write(tmp_path / "a.pt", content)) == text


def test_a_structure_that_is_too_large_is_told(tmp_path: Path) -> None:
    assert error_of(write(tmp_path / "a.pt", "x" * 5_000_000)) == (
        " is no checkpoint: 5,000,010 bytes of structure are more than any model has."
    )


@pytest.mark.parametrize("size", [2**31 - 1, 2**62])
def test_a_pickle_with_a_huge_memo_or_text_is_told(saved: Path, size: int) -> None:
    """Python's own reader would take memory for what the numbers claim."""
    for text in (b"Nr\xff\xff\xff\x7f.", b"\x8d" + size.to_bytes(8, "little") + b"short."):
        repacked(saved, lambda parts, text=text: parts.update({"archive/data.pkl": b"\x80\x02" + text}))  # type: ignore[misc]
        repacked(saved, lambda parts: parts.pop("archive/checksum", None))
        try:
            assert read_tensors(saved) == (None, False)
        except CheckpointError as error:
            assert "is no checkpoint, or a damaged one (" in str(error)


def test_instructions_that_pytorch_refuses_are_told_without_its_advice_to_load_them(tmp_path: Path) -> None:
    torch.save([10**5000], tmp_path / "a.pt")
    assert error_of(tmp_path / "a.pt") == (
        " holds more than weights and plain values and is not loaded: such a file can run code. "
        "Only checkpoints of mnist-train are read."
    )


def test_writing_needs_nothing_but_the_stream() -> None:
    stream = io.BytesIO()
    write_tensors(stream, [torch.zeros(2)])
    assert zipfile.ZipFile(stream).testzip() is None
