from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mnist_trainer import Run
from mnist_trainer.config.load import load_config
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import CheckpointError, StorageError
from mnist_trainer.files import write_file
from mnist_trainer.inference.predictor import InferenceSpec
from mnist_trainer.model.build import build_model
from mnist_trainer.storage import checkpoint as module
from mnist_trainer.storage.checkpoint import Checkpoint, Member, load_checkpoint, save_checkpoint
from mnist_trainer.storage.tensor_file import write_tensors

CPU = torch.device("cpu")

CNN = {
    "model": {"architecture": "cnn", "channels": [4, 6], "hidden": [16], "batch_norm": True, "activation": "prelu"},
    "data": {"split_seed": 3},
}


def make_member(seed: int = 1, **changes: Any) -> Member:
    config = load_config(CNN)
    weights = build_model(config.model, 10, seed=seed).state_dict()
    spec = InferenceSpec(Normalization(0.1307, 0.3081), "logits", "bfloat16", 500, 1.5, 0.25)
    return replace(Member(config, dict(weights), spec), **changes)


def make_checkpoint(*members: Member, **changes: Any) -> Checkpoint:
    return replace(Checkpoint(members or (make_member(),), tuple("0123456789")), **changes)


def without_weights(checkpoint: Checkpoint) -> Checkpoint:
    """All the rest, which can be compared with `==`."""
    return replace(checkpoint, members=tuple(replace(member, weights={}) for member in checkpoint.members))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best.pt", make_checkpoint())
    return tmp_path / "best.pt"


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The file at `path` after `change` was made to its content."""
    content = torch.load(path, weights_only=True)
    change(content)
    write_file(path, lambda stream: write_tensors(stream, content))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert caught.value.exit_code == 4
    return str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_everything_comes_back(tmp_path: Path, count: int) -> None:
    members = [make_member(seed, custom={"loss": f"my.loss{seed}"}, split_counts=(9, seed)) for seed in range(count)]
    expected = make_checkpoint(*members, temperature=0.75)
    save_checkpoint(tmp_path / "a.pt", expected)
    found = load_checkpoint(tmp_path / "a.pt")
    assert without_weights(found) == without_weights(expected)
    for ours, theirs in zip(expected.members, found.members, strict=True):
        assert theirs.weights.keys() == ours.weights.keys()
        for name, weight in ours.weights.items():
            assert torch.equal(theirs.weights[name], weight)
            assert theirs.weights[name].dtype == weight.dtype


def test_the_file_has_the_layout_that_is_documented(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    (member,) = content.pop("members")
    assert content == {
        "format": "mnist_trainer",
        "version": 4,
        "classes": tuple("0123456789"),
        "temperature": 1.0,
        "training_state": None,
    }
    assert member.pop("config")["data"]["split_seed"] == 3
    assert set(member.pop("weights")) == set(make_member().weights)
    assert member == {
        "spec": {
            "normalization": {"mean": 0.1307, "std": 0.3081},
            "kind": "logits",
            "precision": "bfloat16",
            "batch_size": 500,
            "temperature": 1.5,
            "refusal_threshold": 0.25,
        },
        "custom": {},
        "split_counts": None,
        "lineage": (),
    }


def test_a_file_of_format_4_gives_the_probabilities_that_it_gave(saved: Path) -> None:
    """A small MLP, trained on the bundled digits and saved in this format once."""
    sample = Path(__file__).parent / "samples" / "format-4.pt"
    assert torch.load(sample, weights_only=True)["version"] == module.VERSION == 4
    found = load_checkpoint(sample)
    assert (found.classes, found.temperature, found.only.custom) == (tuple("0123456789"), 1.0, {})
    assert found.spec == InferenceSpec(Normalization(0.16025616357654174, 0.29940059167555777), "logits")
    assert (found.config.name, found.config.data.split_seed) == ("sample", 3)
    digits = load_digits("test")
    probabilities = found.predictor(CPU)(digits.images)
    expected = [0.00638, 0.026484, 0.095239, 0.00775, 0.00032, 0.007613, 0.019852, 0.000882, 0.75221, 0.083266]
    assert int((probabilities.argmax(dim=1) != digits.labels).sum()) == 49
    assert probabilities[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_training_state_is_kept_besides(tmp_path: Path) -> None:
    state = {"epoch": 3, "model": {"weight": torch.arange(3.0)}, "stop_reason": None}
    save_checkpoint(tmp_path / "last.pt", make_checkpoint(training_state=state))
    found = load_checkpoint(tmp_path / "last.pt").training_state
    assert found is not None
    assert torch.equal(found["model"].pop("weight"), torch.arange(3.0))
    assert found == {"epoch": 3, "model": {}, "stop_reason": None}


def test_the_model_that_is_built_computes_the_same_bits(saved: Path) -> None:
    trained = build_model(load_config(CNN).model, 10, seed=1).eval()
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    built = load_checkpoint(saved).only.build(classes=10)
    assert not built.training
    assert torch.equal(built(images), trained(images))


ELSEWHERE = """
import sys, torch
from pathlib import Path
from mnist_trainer.storage.checkpoint import load_checkpoint
torch.set_num_threads(1)
predictor = load_checkpoint(Path("only.pt")).predictor(torch.device("cpu"))
images = torch.arange(3 * 784).reshape(3, 28, 28).remainder(256).to(torch.uint8)
sys.stdout.write(predictor.outputs([images]).numpy().tobytes().hex())
"""


@pytest.mark.slow
def test_the_file_alone_gives_the_same_logits_in_another_process(digits_run: Run, tmp_path: Path) -> None:
    (tmp_path / "only.pt").write_bytes((digits_run.folder / "best.pt").read_bytes())
    there = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    spec = load_checkpoint(digits_run.folder / "best.pt").spec
    images = torch.arange(3 * 784).reshape(3, 28, 28).remainder(256).to(torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            here: Tensor = digits_run.model(spec.normalization.apply(images))
    finally:
        torch.set_num_threads(threads)
    assert bytes.fromhex(there.stdout) == here.numpy().tobytes()


def test_weights_are_kept_on_the_cpu_and_not_shared(saved: Path) -> None:
    one, other = load_checkpoint(saved), load_checkpoint(saved)
    one.weights["0.weight"].zero_()
    assert not torch.equal(one.weights["0.weight"], other.weights["0.weight"])
    assert {weight.device.type for weight in one.weights.values()} == {"cpu"}


@pytest.mark.parametrize("content", [{"weight": torch.zeros(3)}, [1, 2], torch.zeros(2), {"format": "other"}, None])
def test_a_foreign_file_of_pytorch_is_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "foreign.pt")
    path = tmp_path / "foreign.pt"
    assert error_of(path) == f"{path} is a PyTorch file, but no checkpoint of mnist-train."


def test_a_weight_that_changed_on_the_disk_is_told(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    weight = make_checkpoint().weights["0.weight"].numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    saved.write_bytes(content)
    text = error_of(saved)
    assert text.startswith(f"{saved} is damaged: the checksum of its part archive/data/")
    assert text.endswith(" is wrong. Copy it again.")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "best.pt"
    save_checkpoint(path, make_checkpoint())
    return path


@pytest.mark.slow
@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_no_flipped_byte_goes_unnoticed_or_ends_in_another_error(whole: Path, place: float, value: int) -> None:
    content = bytearray(whole.read_bytes())
    content[int(place * len(content))] ^= value
    flipped = whole.with_name("flipped.pt")
    flipped.write_bytes(content)
    try:
        found = load_checkpoint(flipped)
    except CheckpointError:
        return
    expected = make_checkpoint()  # the byte was padding, or one that nobody reads
    assert without_weights(found) == without_weights(expected)
    assert all(torch.equal(found.weights[name], weight) for name, weight in expected.weights.items())


@pytest.mark.parametrize("version", [5, 999])
def test_a_newer_version_of_the_format_is_told(saved: Path, version: int) -> None:
    changed(saved, lambda content: content.update(version=version))
    assert error_of(saved) == (
        f"{saved} has checkpoint format {version}, and this program reads format 4. A newer mnist-trainer wrote it: "
        "update yours, or use that one."
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_versions_of_the_format_are_refused_with_what_to_do(saved: Path, version: int) -> None:
    older = torch.load(saved, weights_only=True) | {"version": version}
    torch.save(older, saved)  # format 1 and 2 had no checksum
    assert error_of(saved) == (
        f"{saved} has checkpoint format {version}, and this program reads format 4. A development version of "
        "mnist-trainer wrote it, before the first release. Use it with that version, or train the model again from the "
        "config.yaml in its folder."
    )


@pytest.mark.parametrize("version", [0, -1, 1000, 10**600, None, "1", True, torch.zeros(2), [3]])
def test_what_is_no_version_is_told(saved: Path, version: object) -> None:
    changed(saved, lambda content: content.update(version=version))
    assert error_of(saved) == f"{saved} is damaged: its content is not a checkpoint's (it has no format version)."


def test_a_file_that_lost_its_checksum_is_told(saved: Path) -> None:
    torch.save(torch.load(saved, weights_only=True), saved)
    assert error_of(saved) == f"{saved} is damaged: its content is not a checkpoint's (it has no checksum)."


def test_names_in_a_file_do_not_command_the_terminal(saved: Path) -> None:
    evil = "\x1b[2J\x9b31m"

    def rename(content: dict[str, Any]) -> None:
        content["classes"] = (f"{evil}nought", *content["classes"][1:])
        content["members"][0]["custom"]["model"] = f"my{evil}Net"

    found = load_checkpoint(changed(saved, rename))
    assert found.classes[0] == f"{evil}nought"  # as the data set has it; whoever prints it makes it harmless
    with pytest.raises(CheckpointError, match=r"This checkpoint's model is my\\x1b\[2J\\x9b31mNet, which"):
        found.predictor(CPU)
    changed(saved, lambda content: content["members"][0].update({"custom": {f"my{evil}Net": evil * 1000, evil: 3}}))
    assert error_of(saved).isprintable()
    changed(saved, lambda content: content["members"][0]["config"].update({evil: 1}))
    assert error_of(saved).isprintable()


@pytest.mark.parametrize("member", [5, "one", torch.zeros(3), [1], None])
def test_a_member_that_is_none_is_told(saved: Path, member: object) -> None:
    changed(saved, lambda content: content.update(members=[member]))
    assert error_of(saved).startswith(f"{saved} is damaged: its content is not a checkpoint's (")


def test_weights_of_another_kind_of_number_are_told(saved: Path) -> None:
    def double(content: dict[str, Any]) -> None:
        content["members"][0]["weights"]["0.weight"] = content["members"][0]["weights"]["0.weight"].double()

    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(changed(saved, double)).predictor(CPU)
    assert str(caught.value) == (
        "The checkpoint's weights do not fit the model: 0.weight is float64, and float32 is needed."
    )


def test_weights_in_float16_are_float32_when_loaded(saved: Path) -> None:
    size, weights = saved.stat().st_size, make_member().weights
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_checkpoint(saved, make_checkpoint(make_member(weights=halves)))
    assert saved.stat().st_size < 0.8 * size
    loaded = load_checkpoint(saved).weights
    for name, value in weights.items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("key", ["members", "classes", "temperature"])
def test_content_that_is_missing_or_of_a_wrong_kind_is_told(saved: Path, key: str) -> None:
    beginning = f"{saved} is damaged: its content is not a checkpoint's ("
    changed(saved, lambda content: content.update({key: 5 if key != "temperature" else "warm"}))
    assert error_of(saved).startswith(beginning)
    if key != "temperature":
        changed(saved, lambda content: content.pop(key))
        assert error_of(saved).startswith(f"{beginning}1 validation error for Checkpoint {key}")


@pytest.mark.parametrize("key", ["config", "weights", "spec"])
def test_a_member_that_lacks_something_is_told(saved: Path, key: str) -> None:
    changed(saved, lambda content: content["members"][0].pop(key))
    assert f"{saved} is damaged: its content is not a checkpoint's (" in (text := error_of(saved))
    assert f"members.0.{key}" in text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("members",), []),
        (("temperature",), 0.0),
        (("members", 0, "spec", "temperature"), -1.0),
        (("members", 0, "spec", "kind"), "nonsense"),
        (("members", 0, "spec", "precision"), "float7"),
        (("members", 0, "spec", "batch_size"), "many"),
        (("members", 0, "spec", "normalization", "std"), "wide"),
        (("members", 0, "weights"), [1, 2]),
        (("members", 0, "weights", "0.weight"), "heavy"),
        (("members", 0, "config", "model", "architecture"), "unknown"),
        (("members", 0, "config", "seed"), "zero"),
        (("members", 0, "custom", "model"), 3),
        (("members", 0, "split_counts"), [5]),
        (("members", 0, "spec", "refusal_threshold"), 1.5),
    ],
)
def test_a_value_that_cannot_be_is_told(saved: Path, where: tuple[Any, ...], value: object) -> None:
    def change(content: Any) -> None:
        for key in where[:-1]:
            content = content[key]
        content[where[-1]] = value

    changed(saved, change)
    assert error_of(saved).startswith(f"{saved} is damaged: its content is not a checkpoint's (")


def test_an_ensemble_is_not_taken_for_one_model(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "two.pt", make_checkpoint(make_member(1), make_member(2)))
    found = load_checkpoint(tmp_path / "two.pt")
    for ask in (lambda: found.weights, lambda: found.spec, lambda: found.only):
        with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 2 models; name one of them"):
            ask()
    assert len(found.predictor(CPU).members) == 2


def test_weights_that_do_not_fit_the_config_are_told(saved: Path) -> None:
    def widen(content: Any) -> None:
        content["members"][0]["config"]["model"]["hidden"] = [17]

    loaded = load_checkpoint(changed(saved, widen))
    with pytest.raises(CheckpointError, match=r"The checkpoint's weights do not fit the model: .*size mismatch"):
        loaded.predictor(CPU)


def test_a_model_of_the_users_is_refused_by_name_and_read_with_one(tmp_path: Path) -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    custom = {"model": "my_module.MyNet"}
    save_checkpoint(tmp_path / "own.pt", make_checkpoint(make_member(weights=own.state_dict(), custom=custom)))
    loaded = load_checkpoint(tmp_path / "own.pt")
    with pytest.raises(CheckpointError) as caught:
        loaded.predictor(CPU)
    assert str(caught.value) == (
        "This checkpoint's model is my_module.MyNet, which is not part of mnist_trainer. "
        "Read it in Python, with an instance of it: evaluate(…, model=…) or predict(…, model=…)."
    )
    layer = nn.Linear(784, 10)
    other = nn.Sequential(nn.Flatten(), layer)
    assert loaded.predictor(CPU, other).members[0] is other
    assert torch.equal(layer.weight, own.state_dict()["1.weight"])
    with pytest.raises(CheckpointError, match="do not fit the model"):
        loaded.predictor(CPU, nn.Linear(3, 3))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"best\.pt can't be written: "):
        save_checkpoint(tmp_path / "nowhere" / "best.pt", make_checkpoint())


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_simulated_a_full_disk_leaves_the_old_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    class Full(io.BytesIO):
        def write(self, content: Any, /) -> int:
            if self.tell() + len(content) > room:
                raise OSError(28, "No space left on device")
            return super().write(content)

    before, save = saved.read_bytes(), torch.save
    monkeypatch.setattr(torch, "save", lambda content, stream: save(content, Full()))
    with pytest.raises(
        StorageError, match=r"best\.pt can't be written: No space left on device\. Free some disk space"
    ):
        save_checkpoint(saved, make_checkpoint())
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["best.pt"]
