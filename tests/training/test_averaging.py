"""The running mean of weights: `mnist_trainer/training/averaging.py`."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_trainer.training.averaging import RunningMean


def test_it_is_torchs_mean_to_the_bit() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ours = RunningMean(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # type: ignore[no-untyped-call]
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
    assert found.pop(counted) == 5 and expected.pop(counted)  # torch's is a mean, cut to a whole number each time
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
    assert found["n_averaged"] == 5
    assert not torch.equal(found["module.0.weight"], model[0].weight)
