"""Raw outputs to probabilities: `mnist_trainer/inference/predictor.py`."""

from __future__ import annotations

from math import exp, inf, log
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.inference.predictor import predicted_classes, to_logits, to_probabilities

TRUE_KINDS: tuple[OutputKind, ...] = ("logits", "probabilities", "log_probabilities", "sigmoid")
FINITE = st.floats(min_value=-40, max_value=40, width=32)


def shaped(raw: Tensor, kind: OutputKind) -> Tensor:
    """Outputs of the kind, as a model's last function makes them from raw values."""
    match kind:
        case "probabilities":
            return torch.softmax(raw, dim=1)
        case "log_probabilities":
            return torch.log_softmax(raw, dim=1)
        case "sigmoid":
            return torch.sigmoid(raw)
        case _:
            return raw


def test_the_kinds_are_those_tested_here() -> None:
    assert set(get_args(OutputKind)) == {*TRUE_KINDS, "values"}


def test_logits_by_hand() -> None:
    (row,) = to_probabilities(torch.tensor([[1.0, 2.0, 0.0]]), "logits").tolist()
    whole = exp(1) + exp(2) + exp(0)
    assert row == pytest.approx([exp(1) / whole, exp(2) / whole, exp(0) / whole], rel=1e-12)


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities"])
def test_a_softmax_is_not_applied_twice(kind: OutputKind) -> None:
    raw = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)).double()
    assert torch.allclose(to_probabilities(shaped(raw, kind), kind), torch.softmax(raw, dim=1), atol=1e-12)


def test_sigmoid_outputs_share_by_their_odds() -> None:
    (row,) = to_probabilities(torch.tensor([[0.9, 0.5, 0.2]]), "sigmoid").tolist()
    odds = [0.9 / 0.1, 0.5 / 0.5, 0.2 / 0.8]
    assert row == pytest.approx([each / sum(odds) for each in odds], rel=1e-6)


def test_sigmoid_outputs_and_their_logits_agree() -> None:
    raw = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    from_sigmoid = to_probabilities(torch.sigmoid(raw), "sigmoid")
    assert torch.allclose(from_sigmoid, to_probabilities(raw, "logits"), atol=1e-5)


@pytest.mark.parametrize("kind", ["logits", "sigmoid"])
def test_a_yes_or_no_model_gives_two_probabilities(kind: OutputKind) -> None:
    raw = torch.tensor([[-2.0], [0.0], [3.0]], dtype=torch.float64)
    yes = [1 / (1 + exp(2)), 0.5, 1 / (1 + exp(-3))]
    expected = [[1 - share, share] for share in yes]
    assert to_probabilities(shaped(raw, kind), kind).tolist() == [pytest.approx(row) for row in expected]


def test_values_come_back_as_they_are() -> None:
    assert to_probabilities(torch.tensor([[1.5, -0.5]]), "values", temperature=3).tolist() == [[1.5, -0.5]]
    assert to_probabilities(torch.tensor([[0.25], [1.5]]), "values").tolist() == [[0.75, 0.25], [-0.5, 1.5]]


@pytest.mark.parametrize("kind", TRUE_KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.25, 3.0])
@given(rows=st.lists(st.lists(FINITE, min_size=3, max_size=3), min_size=1, max_size=5))
def test_rows_are_probabilities(kind: OutputKind, temperature: float, rows: list[list[float]]) -> None:
    probabilities = to_probabilities(shaped(torch.tensor(rows), kind), kind, temperature)
    assert probabilities.dtype == torch.float64
    assert bool(((probabilities >= 0) & (probabilities <= 1)).all())
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("logits", [3e38, -3e38, 0.0]),
        ("probabilities", [0.0, 1.0, 0.0]),
        ("log_probabilities", [-inf, 0.0, -inf]),
        ("sigmoid", [0.0, 0.0, 0.0]),
        ("sigmoid", [1.0, 0.0, 1.0]),
        ("sigmoid", [-1.7, 0.0, 1.7]),
        ("sigmoid", [0.0]),
        ("sigmoid", [1.0]),
        ("logits", [-3e38]),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_extremes_give_no_nan(kind: OutputKind, row: list[float], temperature: float) -> None:
    probabilities = to_probabilities(torch.tensor([row]), kind, temperature)
    assert bool(torch.isfinite(probabilities).all())
    assert probabilities.sum().item() == pytest.approx(1)


def test_a_temperature_divides_the_logits() -> None:
    raw = torch.tensor([[1.0, 3.0, -2.0]], dtype=torch.float64)
    expected = torch.softmax(raw / 2.5, dim=1)
    for kind in TRUE_KINDS:
        if kind != "sigmoid":
            assert torch.allclose(to_probabilities(shaped(raw, kind), kind, 2.5), expected, atol=1e-12)
    assert to_probabilities(torch.tensor([[log(4)]]), "logits", 2.0).tolist() == [pytest.approx([1 / 3, 2 / 3])]


def test_a_temperature_changes_no_answer() -> None:
    raw = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    for kind in TRUE_KINDS:
        outputs = shaped(raw, kind)
        assert torch.equal(to_probabilities(outputs, kind, 4).argmax(1), to_probabilities(outputs, kind).argmax(1))


@pytest.mark.parametrize("kind", get_args(OutputKind))
@given(rows=st.lists(st.lists(FINITE, min_size=4, max_size=4), min_size=1, max_size=5))
def test_answers_are_the_most_probable_classes(kind: OutputKind, rows: list[list[float]]) -> None:
    outputs = shaped(torch.tensor(rows), kind)
    probabilities = to_probabilities(outputs, kind)
    chosen = probabilities.gather(1, predicted_classes(outputs, kind)[:, None])[:, 0]
    assert torch.equal(chosen, probabilities.max(dim=1).values)


def test_small_sigmoid_outputs_keep_their_order() -> None:
    """None of the classes is likely, and yet one of them is the likeliest."""
    outputs = torch.tensor([[1e-20, 1e-12, 1e-9, 1e-30]])
    assert to_probabilities(outputs, "sigmoid").argmax().item() == predicted_classes(outputs, "sigmoid").item() == 2


@pytest.mark.parametrize(
    ("kind", "outputs", "expected"),
    [
        ("logits", [[-0.1], [0.0], [0.1]], [0, 0, 1]),
        ("sigmoid", [[0.4], [0.5], [0.6]], [0, 0, 1]),
        ("values", [[-3.0], [0.5], [0.6]], [0, 0, 1]),
    ],
)
def test_a_yes_or_no_answer(kind: OutputKind, outputs: list[list[float]], expected: list[int]) -> None:
    assert predicted_classes(torch.tensor(outputs), kind).tolist() == expected
    assert to_probabilities(torch.tensor(outputs), kind).argmax(dim=1).tolist() == expected


def test_the_smallest_probabilities_keep_their_order_at_a_temperature() -> None:
    """The mean of an ensemble is float64, and may be far below float32's smallest number."""
    mean = torch.tensor([[1e-200, 1e-100, 1.0, 0.0]], dtype=torch.float64)
    assert to_probabilities(mean, "probabilities", 4.0)[0, :2].tolist() == pytest.approx([1e-50, 1e-25], rel=1e-9)
    assert to_logits(mean, "probabilities")[0, 0].item() == pytest.approx(log(1e-200))


def test_values_have_no_logits() -> None:
    with pytest.raises(ValueError, match="values are not probabilities"):
        to_logits(torch.zeros(1, 2), "values")
