"""The running mean of weights: `mnist_trainer/training/optim.py`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_trainer.training.optim import ExponentialMovingAverage


def test_after_its_warm_up_it_is_torchs_mean_to_the_bit() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ours = ExponentialMovingAverage(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # type: ignore[no-untyped-call]
    theirs.n_averaged += 100  # torch's takes the first weights as they are
    ours.n_averaged += 100
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model(torch.randn(8, 4, generator=generator))
        ours.update_parameters(model)
        theirs.update_parameters(model)  # type: ignore[no-untyped-call]
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys()
    counted = "module.1.num_batches_tracked"
    del expected[counted]  # torch's is a mean, cut to a whole number each time
    assert found.pop(counted) == 5
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
    assert found["n_averaged"] == 105
    assert not torch.equal(found["module.0.weight"], model[0].weight)


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_its_decay_warms_up_as_tensorflows(decay: float) -> None:
    """shadow −= (1 − min(decay, (1 + n) / (10 + n))) · (shadow − weights), from the initial weights."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 7.0)
    mean, expected = ExponentialMovingAverage(model, decay), 7.0
    for count, value in enumerate((1.0, 3.0, -2.0, 5.0, 4.0, 4.0, 8.0, 1.0, 0.0, 2.0)):
        nn.init.constant_(model.weight, value)
        mean.update_parameters(model)
        expected -= (1 - min(decay, (1 + count) / (10 + count))) * (expected - value)
        assert mean.module.weight.item() == pytest.approx(expected, rel=1e-6)
