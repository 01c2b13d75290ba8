"""Values that are changed in the text of a config."""

from __future__ import annotations

import pytest

from mnist_trainer.config.load import changes, edit_text, load_config, load_text
from mnist_trainer.config.shipped import shipped_path
from mnist_trainer.config.yaml_edit import flow
from mnist_trainer.config.yaml_reader import read_mapping

TEXT = """\
# a comment
model:
  architecture: mlp   # layers
  hidden:
    - 64
    # between
    - 32

optimizer: {name: adamw, lr: 0.01}   # the steps
training:
  # before

  epochs: 3
loss:  # at a key without a value
"""


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("training.epochs=5", "epochs: 3", "epochs: 5"),
        ("training.checkpoint_every=8", "epochs: 3", "epochs: 3\n  checkpoint_every: 8"),
        ("training.early_stopping.patience=2", "epochs: 3", "epochs: 3\n  early_stopping: {patience: 2}"),
        ("optimizer.lr=1e-3", "lr: 0.01", "lr: 0.001"),
        ("optimizer.weight_decay=0.1", "lr: 0.01", "lr: 0.01, weight_decay: 0.1"),
        ("optimizer=sgd", "{name: adamw, lr: 0.01}", "sgd"),
        ("model.hidden=[8]", ":\n    - 64\n    # between\n    - 32", ": [8]"),
        ("model.hidden.1=8", ":\n    - 64\n    # between\n    - 32", ": [64, 8]"),
        ("loss.label_smoothing=0.1", "loss:", "loss: {name: cross_entropy, label_smoothing: 0.1}"),
        ("seed=1", "value\n", "value\nseed: 1\n"),
        ("name=on", "value\n", "value\nname: 'on'\n"),
        ("training.epochs=3", "", ""),
    ],
)
def test_an_override_is_written_into_the_text(override: str, old: str, new: str) -> None:
    assert edit_text(TEXT, override) == TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    "text",
    [
        "a: &b {c: 1}\nd: *b\n",
        "a: 1\nd: |\n  x\n  y\nb: 2\n",
        'a: "x\n  y"\nd: {c: 1,\n }',
        "{a: 1, d: {}}",
        "a: 1\nd:\n",
        "d: 1 # x\r\na: 2\r\n",
        "'d': {'c': [1]}\na: ''\n",
    ],
)
@pytest.mark.parametrize("override", ["name=x: #", "d.c=[1, {e: null}]", "d=2", "e.f=0.5", "a=true"])
def test_the_edited_text_holds_what_the_override_says(text: str, override: str) -> None:
    edited = edit_text(text, override)
    assert edited is not None
    key, _, value = override.partition("=")
    found = read_mapping(edited).data
    for part in key.split("."):
        found = found[part]
    assert found == ("x: #" if value == "x: #" else read_mapping(f"v: {value}").data["v"])
    for other in {"a", "d"} - {key[0]}:
        assert read_mapping(edited).data[other] == read_mapping(text).data[other]


@pytest.mark.parametrize(("text", "override"), [("a: [1", "b=1"), ("a: 1", "b"), ("a: 1", "b=[1,"), ("", "b=1")])
def test_what_cannot_be_read_is_not_edited(text: str, override: str) -> None:
    assert edit_text(text, override) is None


@pytest.mark.parametrize(("one", "other"), [("quickstart", "mlp"), ("mlp", "fast"), ("fast", "quickstart")])
def test_changes_turn_one_config_into_the_other_and_back(one: str, other: str) -> None:
    text, base = shipped_path(one).read_text(encoding="utf-8"), load_config(one)
    found = list(changes(base, load_config(other)))
    for change in found:
        edited = edit_text(text, f"{change.key}={flow(change.value)}")
        assert edited is not None
        text = edited
    assert load_text(text) == load_config(base, [f"{each.key}={flow(each.value)}" for each in found])
    assert load_text(text) == load_config(other)
    assert "#" in text
    assert not list(changes(base, base))
