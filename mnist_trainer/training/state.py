"""The state of a training: `Setup` holds what stays constant, `TrainingState` what changes and can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from math import log
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.classes import with_labels
from mnist_trainer.config.schema import Augment, Config, GradientDescent
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import micro_batches, training_loader
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import InferenceSpec, Predictor, predicted_classes
from mnist_trainer.model.device import autocast
from mnist_trainer.seeds import seed_for
from mnist_trainer.training.distributed import Ranks, current_ranks
from mnist_trainer.training.losses import BaseCriterion, Labels, MixedLabels, TaughtLabels, main_labels, mixup, repeated
from mnist_trainer.training.optim import BestEpoch, ExponentialMovingAverage, PlateauState


@dataclass(frozen=True)
class InitialWeights:
    """The trained weights that `model.init_from` names."""

    weights: Mapping[str, Tensor]
    normalization: Normalization | None = None
    """The normalization of that training; None if unknown."""
    lineage: tuple[Tensor, ...] = ()
    """The lineage of that training; see `Setup.lineage`."""
    refusal_threshold: float | None = None
    """The refusal threshold of that model; None if it can't refuse."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values that a resumed run starts from instead of the file."""
        normalization = None if self.normalization is None else asdict(self.normalization)
        return {
            "weights": dict(self.weights),
            "normalization": normalization,
            "lineage": list(self.lineage),
            "refusal_threshold": self.refusal_threshold,
        }

    @classmethod
    def from_state_dict(cls, saved: Mapping[str, Any]) -> InitialWeights:
        """Return the initial weights that `state_dict` gave."""
        normalization = saved["normalization"]
        known = None if normalization is None else Normalization(**normalization)
        return cls(saved["weights"], known, tuple(saved["lineage"]), saved.get("refusal_threshold"))


@dataclass(frozen=True)
class TrainedTeacher:
    """The model of `training.teacher`, or an ensemble, in evaluation mode on the device of the training."""

    predictor: Predictor
    file: str
    """The name of its file, without the folder."""
    sha256: str
    can_refuse: bool
    """Whether it answers for K + 1 classes, the last of which is "none of the classes"."""
    lineage: tuple[Tensor, ...] = ()
    """The lineages of its members; see `Setup.lineage`."""

    def label(self, images: Tensor, labels: Tensor | MixedLabels) -> TaughtLabels:
        """Return `labels` with the logarithm of the members' mean probabilities for `images` [B, 28, 28]."""
        return TaughtLabels(labels, self.log_probabilities(images))

    @torch.no_grad()
    def log_probabilities(self, images: Tensor) -> Tensor:
        """Return log-probabilities [B, K] or [B, K + 1], float32 on the device, without the fitted temperatures."""
        each = []
        for model, spec in zip(self.predictor.members, self.predictor.specs, strict=True):
            with autocast(self.predictor.device, spec.precision):
                outputs = model(spec.normalization.apply(images)).float()
            each.append(F.log_softmax(F.pad(outputs, (0, 1)) if self.can_refuse else outputs, dim=1))
        return torch.stack(each).logsumexp(dim=0) - log(len(each))


Phase = Literal["train", "refit"]
"""`refit` is the second fit of `training.refit`, on training and validation images together."""


@dataclass(frozen=True)
class Setup:
    """What is constant during a training: the config, the images, and how the model sees them."""

    config: Config
    train: ImageDataset
    validation: ImageDataset | None
    classes: tuple[str, ...]
    spec: InferenceSpec
    device: torch.device
    frozen: tuple[nn.Module, ...] = ()
    threads: int | None = None
    """CPU threads of the loop; None: torch's default."""
    initial: InitialWeights | None = None
    num_loaded_tensors: int | None = None
    """The number of tensors that were loaded from `model.init_from`."""
    phase: Phase = "train"
    simulated: tuple[int, int] = (0, 0)
    """The numbers of training and validation images that `data.simulate` has made."""
    extra: int = 0
    """The number of training images of `data.extra`."""
    fingerprint: str | None = None
    """The hash of all images (`data/identity.py`)."""
    ranks: Ranks = field(default_factory=current_ranks)
    """The processes that train the model together."""
    lineage: tuple[Tensor, ...] = ()
    """A sample of the images of each earlier training (`model.init_from`, the teacher's), and then of this training."""
    teacher: TrainedTeacher | None = None

    @property
    def accumulation_steps(self) -> int:
        """Return the number of micro-batches in a step: all batches of the epoch for gradient descent."""
        if isinstance(self.config.optimizer, GradientDescent):
            return self._batches
        return self.config.training.accumulate

    def augment_for(self, epoch: int) -> Augment | None:
        """Return the augmentation in `epoch` (from 0), if any: the `clean_last` epochs at the end have none."""
        augment = with_labels(self.config, self.classes).data.augment
        return None if augment is None or epoch >= self.config.training.epochs - augment.clean_last else augment

    @property
    def counts(self) -> tuple[int, int]:
        """Return the numbers of training and validation images of the data set itself, as `Splits.counts`."""
        train, validation = self.simulated
        return len(self.train) - train - self.extra, len(self.validation or ()) - validation

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of optimizer steps in one epoch."""
        return -(-self._batches // self.accumulation_steps)

    @property
    def micro_batches_per_step(self) -> int:
        """Return the number of micro-batches in a step: `training.micro_batches` of each batch."""
        return self.accumulation_steps * self.config.training.micro_batches

    @property
    def _batches(self) -> int:
        return -(-len(self.train) // self.config.data.batch)


@dataclass
class Totals:
    """Exact sums over the images of this epoch. They stay on the device until the epoch is over."""

    loss: Tensor
    divisor: Tensor
    correct: Tensor
    images: int = 0
    terms: dict[str, Tensor] = field(default_factory=dict)
    points: list[tuple[int, int, float, Tensor]] = field(default_factory=list)
    """Points of the curve: steps and images so far, the learning rate, and `loss, divisor, correct` [3]."""
    gradient_norms: Tensor = field(default_factory=lambda: torch.zeros(2))
    """The sum of the norms of the gradients, and their number [2]; without steps that are not finite."""

    @classmethod
    def empty(cls, device: torch.device) -> Totals:
        """Return totals of 0."""
        kind = torch.float32 if device.type == "mps" else torch.float64
        loss, divisor, correct = torch.zeros(3, dtype=kind, device=device).unbind()
        return cls(loss, divisor, correct, gradient_norms=torch.zeros(2, dtype=kind, device=device))

    def to(self, device: torch.device) -> Totals:
        """Return the same sums on another device."""
        loss, divisor, correct = (each.to(device) for each in (self.loss, self.divisor, self.correct))
        terms = {name: total.to(device) for name, total in self.terms.items()}
        points = [(step, images, lr, each.to(device)) for step, images, lr, each in self.points]
        return Totals(loss, divisor, correct, self.images, terms, points, self.gradient_norms.to(device))

    def add_gradient_norm(self, norm: Tensor) -> None:
        """Add the norm of the gradient of a step, if it is finite."""
        self.gradient_norms += torch.stack((norm.nan_to_num(0, 0, 0), norm.isfinite()))

    @property
    def gradient_norm(self) -> float | None:
        """Return the mean norm of the gradient, or None if no step was finite."""
        total, count = self.gradient_norms.tolist()
        return total / count if count else None

    def add_point(self, step: int, steps: int, count: int, lr: float) -> None:
        """Keep the sums after `step` of `steps` if it ends one of `count` intervals of equal length."""
        if count > 1 and step * count // steps > (step - 1) * count // steps:
            self.points.append((step, self.images, lr, torch.stack((self.loss, self.divisor, self.correct))))

    def curve(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield for each interval its middle (in steps), the mean loss, the accuracy, and the last learning rate."""
        last_step, last_images, last_sums = 0, 0, torch.zeros(3)
        for step, images, lr, device_sums in self.points:
            sums = device_sums.cpu()
            loss, divisor, correct = (sums - last_sums).tolist()
            if divisor > 0:
                yield (last_step + step) / 2, loss / divisor, correct / (images - last_images), lr
            last_step, last_images, last_sums = step, images, sums

    def averages(self) -> tuple[float, float, dict[str, float]]:
        """Return the mean loss, the accuracy, and the mean of each term of the loss."""
        divisor = float(self.divisor) or 1.0  # 0 where all images have a class weight of 0: then all totals are 0
        terms = {name: float(total) / divisor for name, total in self.terms.items()}
        return float(self.loss) / divisor, float(self.correct) / self.images, terms


SAVED = ("epoch", "step", "seconds", "epoch_seconds", "best_weights", "stop_reason", "epoch_start", "restores")
"""Attributes of `TrainingState` that are plain values, or tensors on the CPU."""

OUTCOME = ("epoch", "seconds", "best", "best_weights", "stop_reason", "restores")


class TrainingState:
    """A training after `epoch` complete epochs and `step` steps of the next one.

    A fresh state that loads the `state_dict` of another continues bit-identically, also in the middle of an epoch.
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
        self.micro_batches = training.micro_batches
        """The number of parts of each batch that `train_step` is given."""
        self.ema = None if training.ema is None else ExponentialMovingAverage(model, training.ema)
        self.checks_every_step = device.type == "cpu"
        """Whether each loss and gradient is checked in its step; on an accelerator that needs a synchronization."""
        self.nonfinite = torch.zeros((), device=device)
        """1 after the first loss or gradient that is not finite."""
        self.skipped_steps = torch.zeros((), device=device)
        """The number of steps skipped since then, on an accelerator."""
        self.epoch = self.step = 0
        self.seconds = self.epoch_seconds = 0.0
        self.totals = Totals.empty(device)
        self.plateau = PlateauState()
        self.best = BestEpoch()
        self.best_weights: dict[str, Tensor] = {}
        self.stop_reason: str | None = None
        self.epoch_start: dict[str, Any] | None = None
        self.restores: list[dict[str, Any]] = []
        self.stop_request: Callable[[], float] = lambda: 0.0
        """Returns what the user wants: 0 to go on, 1 to stop, 2 to stop as after SIGTERM."""
        self.requests = torch.zeros(1, 2)
        """`own_requests` of all processes [ranks, 2], as they were told with the gradients of the last step."""

    def own_requests(self) -> Tensor:
        """Return what this process asks for [2]: `stop_request`, and whether `training.max_minutes` have passed."""
        return self.nonfinite.new_tensor([self.stop_request(), self.is_late])

    @property
    def stop_level(self) -> float:
        """Return the largest `stop_request`; of several processes, that of the last step, which all of them know."""
        return self.stop_request() if self.setup.ranks.size == 1 else float(self.requests[:, 0].max())

    @property
    def is_time_up(self) -> bool:
        """Return whether to stop because of `training.max_minutes`. Of several processes, the first one decides."""
        return self.is_late if self.setup.ranks.size == 1 else bool(self.requests[0, 1])

    @property
    def is_late(self) -> bool:
        """Return whether `training.max_minutes` have passed, by the clock of this process."""
        limit = self.setup.config.training.max_minutes
        return limit is not None and self.seconds + self.epoch_seconds >= 60 * limit

    @property
    def kept_kind(self) -> Literal["best", "last"]:
        """Return which epoch is kept: `training.keep`, but the last one without validation images."""
        return "last" if self.setup.validation is None else self.setup.config.training.keep

    @property
    def lr_scale(self) -> float:
        """Return the factor of the learning rate that is halved by each restore."""
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
        """Yield the remaining micro-batches of this epoch: images [B, 28, 28] from 0 to 255, and labels [B].

        Images are uint8, with `data.augment` applied; float32 if `training.mixup` mixes them. With
        `training.adversarial` a batch has as many changed images after them. With
        `training.micro_batches` each batch is cut into this number of parts, of which the last ones may be empty. The
        images of other processes are left out: [0, 28, 28].
        """
        setup, data, seed = self.setup, self.setup.config.data, self.setup.config.seed
        first = self.step * setup.accumulation_steps
        augment, alpha = setup.augment_for(self.epoch), setup.config.training.mixup
        norm, count = setup.config.training.adversarial, setup.config.training.micro_batches
        batches: Iterable[tuple[Tensor, Tensor]] = training_loader(setup.train, data.batch, seed, self.epoch, first)
        if count > 1:
            own = setup.ranks.share(count)
            batches = micro_batches(setup.train, data.batch, seed, self.epoch, first, count, own)
        for number, (images, labels) in enumerate(batches, start=first * count):
            if augment is not None and len(images):
                images = augmented(images, labels, augment, seed, self.epoch, number)  # noqa: PLW2901
            mixed: tuple[Tensor, Tensor | MixedLabels] = images, labels
            if alpha is not None:
                mixed = mixup(images, labels, alpha, seed, self.epoch, number)
            if norm is not None:
                mixed = self.with_adversarial(*mixed, norm)
            yield (mixed[0], setup.teacher.label(*mixed)) if setup.teacher is not None and len(images) else mixed

    def with_adversarial(
        self, images: Tensor, labels: Tensor | MixedLabels, norm: float
    ) -> tuple[Tensor, Tensor | MixedLabels]:
        """Return images [2B, 28, 28], float32, and labels [2B]: those given, then the same with changed images.

        The change of an image is the gradient of the loss by its pixels, scaled to the Euclidean norm 255 · `norm`
        (Miyato et al. 2016, arXiv 1605.07725, equation 1), of the model in evaluation mode.
        """
        if not len(images):
            return images, repeated(labels)
        self.model.eval()
        inputs = images.float().requires_grad_()
        with self.autocast():
            outputs = self.model(self.normalize(inputs)).float()
        (gradient,) = torch.autograd.grad(self.criterion(outputs, labels), inputs)
        self.train_mode()
        direction = F.normalize(gradient.flatten(1), eps=1e-20).view_as(gradient)  # tiny where the model is sure
        return torch.cat((inputs.detach(), inputs.detach() + 255 * norm * direction)), repeated(labels)

    def normalize(self, images: Tensor) -> Tensor:
        """Return the model's inputs [B, 1, 28, 28], float32, for images [B, 28, 28] with values from 0 to 255."""
        return self.setup.spec.normalization.apply(images)

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which matrix products and convolutions run in the precision of the training."""
        return autocast(self.setup.device, self.setup.spec.precision)

    def measure(self, loss: Tensor, outputs: Tensor, batch_labels: Labels) -> Tensor:
        """Return the loss, the number of correct answers, and the terms of the loss of a batch, float32 [2 + terms]."""
        labels = main_labels(batch_labels)
        correct = predicted_classes(outputs.detach(), self.setup.spec.kind) == labels
        if self.setup.spec.refusal_threshold is not None:  # none of the K classes has the label K, and the logit 0
            correct |= (labels == outputs.shape[1]) & (outputs.detach().amax(dim=1) < 0)
        return torch.stack((loss.detach(), correct.sum().float(), *self.criterion.terms.values()))

    def update_totals(self, batch_labels: Labels, result: Tensor) -> None:
        """Add a batch to this epoch's totals; `result` is what `measure` returned."""
        labels = main_labels(batch_labels)
        factor, divisor = self.criterion.batch_weight(labels)
        loss, correct, *terms = result
        self.totals.loss += loss * factor
        self.totals.divisor += divisor
        self.totals.correct += correct
        self.totals.images += len(labels)
        for name, term in zip(self.criterion.term_names, terms, strict=True):
            self.totals.terms[name] = self.totals.terms.get(name, torch.zeros_like(self.totals.loss)) + term * factor

    def train_mode(self) -> None:
        """Turn dropout and batch statistics on, except in frozen layers."""
        self.model.train()
        for module in self.setup.frozen:
            module.eval()

    def seed_dropout(self, position: int | None = None) -> None:
        """Seed torch's generator for this epoch and step: dropout and all other random numbers inside the model.

        With `training.micro_batches` it is seeded for each micro-batch, at its `position` in the step.
        """
        number = self.step if position is None else self.step * self.setup.micro_batches_per_step + position
        seed = seed_for(self.setup.config.seed, "dropout", self.epoch, number)
        match self.setup.device.type:
            case "cpu":
                torch.default_generator.manual_seed(seed)
            case "cuda":
                torch.cuda.default_generators[self.setup.device.index or 0].manual_seed(seed)
            case "mps":
                torch.mps.manual_seed(seed)

    def trial(self) -> TrainingState:
        """Return a copy that takes a step with a single batch, and shares the images."""
        trial = deepcopy(self, {id(self.setup): self.setup})
        trial.micro_batches = 1
        return trial

    def predictor(self) -> Predictor:
        """Return the model to evaluate: the EMA of the weights if there is one."""
        model = self.model if self.ema is None else self.ema.module
        return Predictor([model], [self.setup.spec], self.setup.device)

    def save_best_weights(self) -> None:
        """Keep the evaluated weights as those of the best epoch."""
        (model,) = self.predictor().members
        self.best_weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def best_model(self) -> nn.Module:
        """Return a copy of the model with the best epoch's weights, in evaluation mode."""
        model = deepcopy(self.model)
        model.load_state_dict(self.best_weights)
        return model.eval()

    def reason_to_stop(self, last: Mapping[str, Any]) -> str | None:
        """Return the reason to stop after an epoch with the metrics `last`, or None to continue."""
        training = self.setup.config.training
        for metric, limit in () if training.stop is None else training.stop:
            if limit is not None and last[metric] is not None and last[metric] <= limit:
                return str(metric)
        if self.best.is_exhausted(training.early_stopping):
            return "early_stopping"
        if self.epoch >= training.epochs:
            return "epochs"
        return "max_minutes" if self.is_late else None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain values."""
        return {
            **{name: getattr(self, name) for name in SAVED},
            "phase": self.setup.phase,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "totals": dict(vars(self.totals)),
            "plateau": asdict(self.plateau),
            "best": asdict(self.best),
            "nonfinite": self.nonfinite,
            "skipped_steps": self.skipped_steps,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore from `state_dict()`."""
        for name in SAVED:
            setattr(self, name, saved[name])
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        self.totals = Totals(**saved["totals"]).to(self.setup.device)
        self.plateau, self.best = PlateauState(**saved["plateau"]), BestEpoch(**saved["best"])
        self.nonfinite.copy_(saved["nonfinite"])
        self.skipped_steps.copy_(saved["skipped_steps"])

    def outcome(self) -> dict[str, Any]:
        """Return the part of `state_dict` that is needed after a fit has ended."""
        saved = self.state_dict()
        return {name: saved[name] for name in OUTCOME}

    def load_outcome(self, saved: Mapping[str, Any]) -> None:
        """Restore from `outcome()`."""
        for name in OUTCOME:
            setattr(self, name, BestEpoch(**saved[name]) if name == "best" else saved[name])
