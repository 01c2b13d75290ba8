"""The state of a training: `Setup` holds what stays constant, `TrainingState` what changes and can be saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mnist_trainer.config.classes import with_labels
from mnist_trainer.config.objective import GradientDescent
from mnist_trainer.config.schema import Augment, Config
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import training_loader
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import InferenceSpec, Predictor, predicted_classes
from mnist_trainer.model.device import autocast
from mnist_trainer.seeds import seed_for
from mnist_trainer.training.losses import BaseCriterion, Labels, main_labels, mixup
from mnist_trainer.training.optim import BestEpoch, ExponentialMovingAverage, PlateauState


@dataclass(frozen=True)
class InitialWeights:
    """The trained weights that `model.init_from` names."""

    weights: Mapping[str, Tensor]
    normalization: Normalization | None = None
    """What they were trained with; None where that is not known."""
    lineage: tuple[Tensor, ...] = ()
    """As `Setup.lineage`, of the training that they are from and of those before it."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values that a resumed run starts from instead of the file."""
        normalization = None if self.normalization is None else asdict(self.normalization)
        return {"weights": dict(self.weights), "normalization": normalization, "lineage": list(self.lineage)}

    @classmethod
    def from_state_dict(cls, saved: Mapping[str, Any]) -> InitialWeights:
        """Return the initial weights that `state_dict` gave."""
        normalization = saved["normalization"]
        known = None if normalization is None else Normalization(**normalization)
        return cls(saved["weights"], known, tuple(saved["lineage"]))


Phase = Literal["train", "refit"]
"""`refit` is the second fit that `training.refit` asks for, on training and validation images together."""


@dataclass(frozen=True)
class Setup:
    """What stays as it is: the config, the images, and how they are read."""

    config: Config
    train: ImageDataset
    validation: ImageDataset | None
    classes: tuple[str, ...]
    spec: InferenceSpec
    device: torch.device
    frozen: tuple[nn.Module, ...] = ()
    threads: int | None = None
    """CPU threads of the loop; None: as many as torch uses."""
    initial: InitialWeights | None = None
    num_loaded_tensors: int | None = None
    """How many tensors came from `model.init_from`."""
    phase: Phase = "train"
    simulated: tuple[int, int] = (0, 0)
    """How many of the images to train and to validate with are made from others, by `data.simulate`."""
    fingerprint: str | None = None
    """Of the images, see `data/identity.py`."""
    lineage: tuple[Tensor, ...] = ()
    """A sample of the images that train here, after one for each training before this one (`model.init_from`)."""

    @property
    def accumulation_steps(self) -> int:
        """Batches whose gradients make one step: all of them for gradient descent."""
        if isinstance(self.config.optimizer, GradientDescent):
            return self._batches
        return self.config.training.accumulate

    def augment_for(self, epoch: int) -> Augment | None:
        """How images are deformed in `epoch` (from 0), if at all: `clean_last` epochs see them as they are."""
        augment = with_labels(self.config, self.classes).data.augment
        return None if augment is None or epoch >= self.config.training.epochs - augment.clean_last else augment

    @property
    def counts(self) -> tuple[int, int]:
        """How many images of the data set train, and how many validate."""
        train, validation = self.simulated
        return len(self.train) - train, len(self.validation or ()) - validation

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of optimizer steps in one epoch."""
        return -(-self._batches // self.accumulation_steps)

    @property
    def _batches(self) -> int:
        return -(-len(self.train) // self.config.data.batch)


@dataclass
class Totals:
    """Exact sums over the images trained on in this epoch; they stay on the device until the epoch is over."""

    loss: Tensor
    divisor: Tensor
    correct: Tensor
    images: int = 0
    terms: dict[str, Tensor] = field(default_factory=dict)
    points: list[tuple[int, int, float, Tensor]] = field(default_factory=list)
    """After some of the steps: numbers of steps and images, the learning rate, and `loss`, `divisor`, `correct` [3]
    until
    then."""

    @classmethod
    def empty(cls, device: torch.device) -> Totals:
        """Nothing added yet."""
        kind = torch.float32 if device.type == "mps" else torch.float64
        loss, divisor, correct = torch.zeros(3, dtype=kind, device=device).unbind()
        return cls(loss, divisor, correct)

    def to(self, device: torch.device) -> Totals:
        """The same sums on another device."""
        terms = {name: total.to(device) for name, total in self.terms.items()}
        points = [(step, images, lr, sums.to(device)) for step, images, lr, sums in self.points]
        return Totals(
            self.loss.to(device), self.divisor.to(device), self.correct.to(device), self.images, terms, points
        )

    def add_point(self, step: int, steps: int, count: int, lr: float) -> None:
        """Keep the sums after `step` of `steps` if it ends one of `count` intervals of equal length."""
        if count > 1 and step * count // steps > (step - 1) * count // steps:
            self.points.append((step, self.images, lr, torch.stack((self.loss, self.divisor, self.correct))))

    def curve(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield for each interval its middle (in steps), the mean loss, the accuracy, and the last learning rate."""
        before, seen, past = 0, 0, torch.zeros(3)
        for step, images, lr, device_sums in self.points:
            sums = device_sums.cpu()
            loss, divisor, correct = (sums - past).tolist()
            if divisor > 0:
                yield (before + step) / 2, loss / divisor, correct / (images - seen), lr
            before, seen, past = step, images, sums

    def averages(self) -> tuple[float, float, dict[str, float]]:
        """Mean loss, accuracy, and the mean of each term of the loss."""
        divisor = float(self.divisor) or 1.0  # 0 where all images have a class weight of 0: then all totals are 0
        terms = {name: float(total) / divisor for name, total in self.terms.items()}
        return float(self.loss) / divisor, float(self.correct) / self.images, terms


class TrainingState:
    """A training at one moment: `epoch` epochs are complete, and `step` steps of the next one are done.

    A state that was saved with `state_dict` and loaded into a fresh one goes on with the same bits, in mid-epoch too.
    """

    def __init__(
        self, setup: Setup, model: nn.Module, criterion: BaseCriterion, optimizer: torch.optim.Optimizer
    ) -> None:
        self.setup, self.model, self.criterion, self.optimizer = setup, model, criterion, optimizer
        self.parameters: list[nn.Parameter] = [each for group in optimizer.param_groups for each in group["params"]]
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        training, device = setup.config.training, setup.device
        self.scaler = torch.amp.GradScaler(device.type, enabled=setup.spec.precision == "float16")
        self.clip_norm = training.clip_norm
        self.ema = None if training.ema is None else ExponentialMovingAverage(model, training.ema)
        self.checks_every_step = device.type == "cpu"
        """Whether each loss and gradient is checked at once. An accelerator would have to be waited for: see
        `divergence.check_finite`."""
        self.nonfinite = torch.zeros((), device=device)
        """1 once a loss or gradient was not finite."""
        self.skipped_steps = torch.zeros((), device=device)
        """Steps that an accelerator has left out since then."""
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        self.epoch_seconds = 0.0
        self.totals = Totals.empty(device)
        self.plateau = PlateauState()
        self.best = BestEpoch()
        self.best_weights: dict[str, Tensor] = {}
        self.stop_reason: str | None = None
        self.epoch_start: dict[str, Any] | None = None
        self.restores: list[dict[str, Any]] = []

    @property
    def lr_scale(self) -> float:
        """Return what is left of the learning rate: it is halved each time that the training went back."""
        return 0.5 ** len(self.restores)

    @property
    def lr(self) -> float:
        """Return the learning rate of the last step (of the first parameter group)."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_lr(self, multiplier: float) -> None:
        """Set the learning rate of each parameter group to its initial one × `multiplier`."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * multiplier

    def batches(self) -> Iterator[tuple[Tensor, Labels]]:
        """The rest of this epoch's batches, in this epoch's order: images [B, 28, 28] from 0 to 255, and labels [B].

        Images are uint8, deformed as `data.augment` says; float32 where `training.mixup` mixes them.
        """
        setup, data, seed = self.setup, self.setup.config.data, self.setup.config.seed
        first = self.step * setup.accumulation_steps
        augment, alpha = setup.augment_for(self.epoch), setup.config.training.mixup
        loader = training_loader(setup.train, data.batch, seed, self.epoch, first)
        for number, (images, labels) in enumerate(loader, start=first):
            if augment is not None:
                images = augmented(images, labels, augment, seed, self.epoch, number)  # noqa: PLW2901
            yield (images, labels) if alpha is None else mixup(images, labels, alpha, seed, self.epoch, number)

    def normalize(self, images: Tensor) -> Tensor:
        """Return the model's inputs [B, 1, 28, 28], float32, for images [B, 28, 28] with values from 0 to 255."""
        return self.setup.spec.normalization.apply(images)

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which matrix products and convolutions run in the precision of the training."""
        return autocast(self.setup.device, self.setup.spec.precision)

    def update_totals(self, loss: Tensor, outputs: Tensor, batch_labels: Labels) -> None:
        """Add a batch to this epoch's totals."""
        labels = main_labels(batch_labels)
        factor, divisor = self.criterion.batch_weight(labels)
        self.totals.loss += loss.detach() * factor
        self.totals.divisor += divisor
        correct = predicted_classes(outputs.detach(), self.setup.spec.kind) == labels
        if self.setup.spec.refusal_threshold is not None:  # none of the K classes has the label K, and the logit 0
            correct |= (labels == outputs.shape[1]) & (outputs.detach().amax(dim=1) < 0)
        self.totals.correct += correct.sum()
        self.totals.images += len(labels)
        for name, term in self.criterion.terms.items():
            self.totals.terms[name] = self.totals.terms.get(name, torch.zeros_like(self.totals.loss)) + term * factor

    def train_mode(self) -> None:
        """Dropout and batch statistics on, but for frozen layers."""
        self.model.train()
        for module in self.setup.frozen:
            module.eval()

    def seed_dropout(self) -> None:
        """Dropout and every other draw inside the model gets the generator of this epoch and step."""
        seed = seed_for(self.setup.config.seed, "dropout", self.epoch, self.step)
        match self.setup.device.type:
            case "cpu":
                torch.default_generator.manual_seed(seed)
            case "cuda":
                torch.cuda.default_generators[self.setup.device.index or 0].manual_seed(seed)
            case "mps":
                torch.mps.manual_seed(seed)

    def predictor(self) -> Predictor:
        """The model as it is judged now: the running mean of its weights where there is one."""
        model = self.model if self.ema is None else self.ema.module
        return Predictor([model], [self.setup.spec], self.setup.device)

    def save_best_weights(self) -> None:
        """Remember the judged weights as the best epoch's."""
        (model,) = self.predictor().members
        self.best_weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def best_model(self) -> nn.Module:
        """A copy of the model with the best epoch's weights, in evaluation mode."""
        model = deepcopy(self.model)
        model.load_state_dict(self.best_weights)
        return model.eval()

    def reason_to_stop(self) -> str | None:
        """Why the config wants no further epoch after those that are complete; None if it does."""
        training = self.setup.config.training
        if self.best.is_exhausted(training.early_stopping):
            return "early_stopping"
        if self.epoch >= training.epochs:
            return "epochs"
        is_late = training.max_minutes is not None and self.seconds >= 60 * training.max_minutes
        return "max_minutes" if is_late else None

    def outcome(self) -> dict[str, Any]:
        """What is left of a fit that has ended, a part of `state_dict`."""
        saved = self.state_dict()
        return {key: saved[key] for key in ("epoch", "seconds", "best", "best_weights", "stop_reason", "restores")}

    def load_outcome(self, saved: Mapping[str, Any]) -> None:
        """Be what `outcome` told of."""
        self.epoch, self.seconds, self.stop_reason = saved["epoch"], saved["seconds"], saved["stop_reason"]
        self.best, self.best_weights = BestEpoch(**saved["best"]), saved["best_weights"]
        self.restores = list(saved["restores"])

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values."""
        totals = {entry.name: getattr(self.totals, entry.name) for entry in fields(self.totals)}
        return {
            "phase": self.setup.phase,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "epoch_seconds": self.epoch_seconds,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "totals": totals,
            "plateau": asdict(self.plateau),
            "best": asdict(self.best),
            "best_weights": self.best_weights,
            "stop_reason": self.stop_reason,
            "nonfinite": self.nonfinite,
            "skipped_steps": self.skipped_steps,
            "epoch_start": self.epoch_start,
            "restores": self.restores,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.load_outcome(saved)
        self.step, self.epoch_seconds = saved["step"], saved["epoch_seconds"]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        self.totals = Totals(**saved["totals"]).to(self.setup.device)
        self.plateau = PlateauState(**saved["plateau"])
        self.nonfinite.copy_(saved["nonfinite"])
        self.skipped_steps.copy_(saved["skipped_steps"])
        self.epoch_start = saved["epoch_start"]
