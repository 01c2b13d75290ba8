"""The module that is exported: from uint8 images to probabilities and the score of "none"."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from mnist_trainer.inference.predictor import Predictor, to_probabilities


def without_random_layers(model: nn.Module) -> nn.Module:
    """Return a copy of `model` in which an `rrelu` is the leaky ReLU that it is in evaluation, with its mean slope."""
    wrapper = nn.Sequential(deepcopy(model))  # a model that is itself an rrelu has a parent here
    for name, module in list(wrapper.named_modules()):
        if isinstance(module, nn.RReLU):
            parent, _, child = name.rpartition(".")
            setattr(wrapper.get_submodule(parent), child, nn.LeakyReLU((module.lower + module.upper) / 2))
    return wrapper[0]


class ExportModule(nn.Module):
    """Maps uint8 images [B, 28, 28] to float32 probabilities [B, K] and, if it can refuse, the score of "none" [B].

    It does what `Predictor.read` does, in float32 throughout.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(without_random_layers, predictor.members))
        self.specs = predictor.specs
        self.temperature = predictor.temperature
        self.gives_probabilities = predictor.gives_probabilities
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities, and the score of "none" if a member has a threshold."""
        outputs = [
            (spec, member(spec.normalization.apply(images)))
            for spec, member in zip(self.specs, self.members, strict=True)
        ]
        each = [spec.probabilities(own, torch.float32) for spec, own in outputs]
        refusals = [spec.none(own, torch.float32) for spec, own in outputs if spec.refusal_threshold is not None]
        mean = torch.stack(each).mean(dim=0) if len(each) > 1 else each[0]
        if self.temperature != 1 and self.gives_probabilities:
            mean = to_probabilities(mean, "probabilities", self.temperature, torch.float32)
        return (mean, torch.stack(refusals).mean(dim=0)) if refusals else (mean,)


class TwinModule(nn.Module):
    """Maps pixels from 0 to 255, float32 [B, 1, 28, 28], to the raw outputs [B, K] of the only member, for OpenCV.

    The average over all pixels is a mean: torch exports an adaptive pooling with operators that OpenCV 4 can't read.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        (member,), (spec,) = predictor.members, predictor.specs
        self.model = without_random_layers(member)
        self.normalization = spec.normalization
        for name, module in list(self.model.named_modules()):
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in {1, (1, 1)}:
                self.model.set_submodule(name, GlobalAverage())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw outputs."""
        outputs: Tensor = self.model((images - 255 * self.normalization.mean) / (255 * self.normalization.std))
        return outputs


class GlobalAverage(nn.Module):
    """Maps [B, c, h, w] to the means [B, c, 1, 1]."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the means."""
        return inputs.mean(dim=(2, 3), keepdim=True)
