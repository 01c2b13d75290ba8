from __future__ import annotations

from mnist_trainer.config.load import differences


def test_equal_mappings_have_none() -> None:
    assert list(differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}})) == []


def test_each_is_named_by_its_key_with_both_values() -> None:
    first = {"name": "mlp", "model": {"hidden": [8], "dropout": 0.1}, "loss": {"name": "mse"}, "old": 1}
    second = {"name": "mlp", "model": {"hidden": [9], "dropout": 0.1}, "loss": None, "new": {"deep": 2}}
    assert [tuple(found) for found in differences(first, second)] == [
        ("model.hidden", [8], [9]),
        ("loss", {"name": "mse"}, None),
        ("old", 1, None),
        ("new", None, {"deep": 2}),
    ]


def test_a_difference_in_words() -> None:
    assert [str(found) for found in differences({"a": {"lr": 0.1}}, {"a": {"lr": None}})] == [
        "a.lr is 0.1 there and not set here"
    ]
