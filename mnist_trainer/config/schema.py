"""The schema of a config file. The string below a field is its description in the JSON Schema, the reference table
(`scripts/reference`) and messages.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mnist_trainer.config.fields import (
    AnySpelling,
    ClassName,
    Fraction,
    ListOf,
    Name,
    NotNegative,
    NotNegativeNumber,
    Positive,
    PositiveNumber,
    Section,
    ShortForm,
    ZeroToOne,
    bool_as_section,
    false_as_none,
)
from mnist_trainer.config.model import Model
from mnist_trainer.files import CSV_ENDINGS

ROW_DIGITS = 8
"""Number of digits on a page from which windows of rows are cut."""


class Simulate(Section):
    """Simulated images, made once before training from a data set of digits: photographs of digits on paper, cut out
    as by `mnist-predict`, and non-digits. The test images contain none."""

    photographs: NotNegativeNumber = 0.0
    """number relative to the images: 1 adds one for each training and each validation image"""
    non_digits: NotNegativeNumber = 0.0
    """number relative to the training images: letters, scribbles, cut and joined digits …, so that the model learns to
    refuse; needs cross_entropy on raw outputs"""

    rows: NotNegativeNumber = 0.0
    """number relative to the images: windows of rows with one digit in the middle; and as many with none, which are
    non-digits (only in training)"""

    @property
    def has_non_digits(self) -> bool:
        """Whether there are images of none of the classes, for which the model has one more logit."""
        return self.non_digits > 0 or self.rows > 0

    def added(self, images: int) -> int:
        """Return the number of simulated images for this number of training images."""
        windows = 2 * ROW_DIGITS * round(self.rows * images / ROW_DIGITS)
        return round(self.photographs * images) + round(self.non_digits * images) + windows


class Extra(Section):
    """Own pictures that train together with the data set: a model is fine-tuned on them without forgetting the rest.
    They do not validate, and nothing is simulated from them."""

    path: str
    """folder with a sub-folder of pictures for each class, as `mnist-predict --correct` saves them"""
    repeat: Annotated[int, Field(gt=0, le=10_000)] = 1
    """how often each picture is seen in an epoch"""


class Elastic(Section):
    """A smooth random displacement of each pixel (Simard et al. 2003): noise from −1 to 1 for each pixel and direction,
    smoothed by a Gaussian of `sigma`, times `alpha`."""

    alpha: NotNegativeNumber = 36.0
    """strength, in pixels; 36 displaces a pixel by about 1"""
    sigma: Annotated[float, Field(ge=0.1, le=28)] = 6.0
    """width of the smoothing, in pixels"""


class Augment(Section):
    """Random deformations of the training images in each epoch, uniform between minus and plus each value."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """rotation about the centre, in degrees"""
    shear: Annotated[float, Field(ge=0, le=80)] = 0.0
    """slant to the side, in degrees"""
    scale: Fraction = 0.0
    """relative change of width and of height, independently"""
    shift: Annotated[float, Field(ge=0, le=28)] = 0.0
    """shift in both directions, in pixels"""
    elastic: Annotated[Elastic | None, BeforeValidator(bool_as_section)] = None
    """a smooth random displacement of each pixel"""
    thickness: ZeroToOne = 0.0
    """thicker or thinner strokes; 1: up to one pixel more or less on each side of a stroke"""
    probability: ZeroToOne = 1.0
    """probability that an image is deformed"""
    halve_for: ListOf[ClassName] = ()
    """classes for which rotation and shear are halved: [1, 7] look alike when slanted (Cireşan et al. 2010); with
    `data.binary` 0 is no and 1 is yes"""
    clean_last: NotNegative = 0
    """number of last epochs with undeformed images"""

    @property
    def moves(self) -> bool:
        """Whether the deformations move pixels."""
        return any((self.rotate, self.shear, self.scale, self.shift)) or self.elastic is not None


AUTO_BATCH = 128
"""The initial batch size of `data.batch_size: auto`; it is the default, so that results are the same if it fits."""

DataName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist", "usps", "mnist-c", "digits", "folder"]

SAME_DIGITS = ("mnist", "qmnist")
"""Data sets with the same digits of the same writers in the same order: 60,000 training and 10,000 test images."""


def _device_name(name: object) -> object:
    """Return torch's name for `gpu`, `CUDA` or `cuda0`. A GPU is mps on a Mac, and cuda elsewhere."""
    found = re.fullmatch(r"(auto|cpu|mps|gpu|cuda)(?::?([0-9]{1,2}))?", name.lower()) if isinstance(name, str) else None
    if found is None:
        return name
    kind = found[1] if found[1] != "gpu" else "mps" if sys.platform == "darwin" else "cuda"
    if kind == "cuda":
        return kind if found[2] is None else f"{kind}:{found[2]}"
    return kind if found[2] in (None, "0") else name


class Data(Section):
    """The images, the validation split, and the preprocessing."""

    name: Annotated[DataName, AnySpelling()] = "mnist"
    """digits is included in the package; folder needs `path`; mnist-c only tests"""
    path: str | None = None
    """for folder: one sub-folder of pictures for each class, or train/ val/ test/; or a .csv or .npz file. For mnist-c:
    one of its corruptions, such as fog"""
    root: str | None = None
    """folder of data sets, in torchvision's layout; default: MNIST_TRAINER_DATA, else a cache folder"""
    batch_size: Positive | Literal["auto"] = 128
    """images in a batch; auto starts at 128 and is halved until a step fits into GPU memory"""
    validation: NotNegative | Fraction | None = None
    """number of validation images, or their fraction; default 5000, or a tenth of fewer than 50,000 images"""
    fold: Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$", max_length=21)] | None = None
    """k/K, as in 1/5: the k-th of K disjoint parts of the training set validates (K-fold cross-validation)"""
    split: Annotated[Literal["stratified", "writers"], AnySpelling()] = "stratified"
    """stratified: each class in proportion; writers: all images of a writer on one side (mnist, qmnist), by QMNIST's
    label file"""
    split_seed: NotNegative = 0
    """random seed for the choice of validation images; independent of `seed`"""
    normalize: Annotated[Literal["mean_std", "unit", "none"], AnySpelling()] = "mean_std"
    """mean_std: mean 0 and standard deviation 1 over the training images; unit: 0 to 1; none: 0 to 255"""
    limit: Positive | None = None
    """use only the first N training images of each class"""
    binary: ClassName | None = None
    """makes a yes/no task: is it the class of this name?"""
    augment: Annotated[Augment | None, BeforeValidator(false_as_none)] = None
    """random deformations of the training images, different in each epoch"""
    simulate: Simulate = Simulate()
    """adds simulated images"""
    extra: Extra | None = None
    """adds own pictures to the training images"""

    @property
    def is_table(self) -> bool:
        """Whether `path` has the ending of a table of images."""
        return self.name == "folder" and (self.path or "").lower().endswith((*CSV_ENDINGS, ".npz"))

    @property
    def fold_number(self) -> tuple[int, int] | None:
        """`fold` as the numbers k and K."""
        return None if self.fold is None else (int(self.fold.split("/")[0]), int(self.fold.split("/")[1]))

    @property
    def batch(self) -> int:
        """`batch_size` as a number; for `auto`, the initial one."""
        return AUTO_BATCH if self.batch_size == "auto" else self.batch_size


class Penalty(Section):
    """Adds `weight` × the probability of class `predicted` to the loss of each image of class `true`."""

    true: ClassName
    """name of the true class"""
    predicted: ClassName
    """the wrong class whose probability costs extra"""
    weight: PositiveNumber = 1.0
    """cost at a probability of 1"""
    symmetric: bool = False
    """also penalize the reverse confusion"""


if TYPE_CHECKING:
    ClassWeights: TypeAlias = tuple[float, ...] | dict[str, float]
else:
    ClassWeights = Annotated[
        Annotated[ListOf[NotNegativeNumber], Tag("list")] | Annotated[dict[str, NotNegativeNumber], Tag("mapping")],
        Discriminator(lambda weights: "mapping" if isinstance(weights, dict) else "list"),
    ]

Reduction = Literal["mean", "sum", "per_example"]


class LossSection(Section):
    """The keys of every loss."""

    reduction: Annotated[Reduction, AnySpelling()] = "mean"
    """over the batch: mean as in torch, over examples (bce, mse, absolute: over outputs too); sum; per_example sums
    over outputs and averages over examples"""
    class_weights: ClassWeights | None = None
    """weights by class name, as {7: 2.5} (1 for the others), or a list for classes 0, 1, 2 …; as in torch, a mean
    is divided by the sum of the images' weights"""
    penalties: ListOf[Penalty] = ()
    """confusions that cost extra: loss + Σ weight · probability"""
    smooth_weights: NotNegativeNumber = 0.0
    """factor of the total variation of the first layer's weights as images, mean over its units"""


class ClassLoss(LossSection):
    """−ln of the probability of the true class; `cross_entropy` takes raw outputs, `nll` takes log-probabilities."""

    name: Literal["cross_entropy", "nll"]
    """nll needs `output: log_softmax`; cross_entropy needs `output: none`"""
    label_smoothing: Fraction = 0.0
    """fraction of the target that is spread evenly over all classes"""


class BinaryCrossEntropy(LossSection):
    """−t·ln p − (1−t)·ln(1−p) of each output against a 0/1 target (one-hot for ten classes).

    p is the output of `output: sigmoid`; without one, raw outputs are taken and the sigmoid is applied here.
    """

    name: Literal["bce"] = "bce"
    label_smoothing: Fraction = 0.0
    """fraction of the target that is spread evenly over all classes"""


class DistanceLoss(LossSection):
    """Distance of each output from its 0/1 target: (y − t)² for `mse` and `sse`, |y − t| for `absolute`."""

    name: Literal["mse", "sse", "absolute"]
    """sse is short for mse with `reduction: sum`"""

    @model_validator(mode="before")
    @classmethod
    def _sse_as_mse(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("name") == "sse" and value.get("reduction", "sum") == "sum":
            return {**value, "name": "mse", "reduction": "sum"}
        return value

    @model_validator(mode="after")
    def _check_sse(self) -> DistanceLoss:
        if self.name == "sse":
            raise ValueError(f"sse is mse with reduction: sum; for {self.reduction} write mse")
        return self


AnyLoss: TypeAlias = ClassLoss | BinaryCrossEntropy | DistanceLoss
Loss = Annotated[AnyLoss, Field(discriminator="name"), ShortForm()]


class OptimizerSection(Section):
    """The keys of every optimizer."""

    weight_decay: NotNegativeNumber = 0.0
    """L2 penalty on all parameters, biases and norms included (adamw: decoupled)"""


class GradientDescent(OptimizerSection):
    """One step in each epoch, with the gradient of the whole training set."""

    name: Literal["gradient_descent"] = "gradient_descent"
    lr: PositiveNumber = 0.1
    """learning rate: θ ← θ − lr·gradient"""


class Sgd(OptimizerSection):
    """One step for each batch: v ← momentum·v + gradient, θ ← θ − lr·v (as in torch)."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveNumber = 0.01
    """learning rate"""
    momentum: Fraction = 0.0
    """factor of the previous step's direction"""
    nesterov: bool = False
    """Nesterov momentum; needs momentum > 0"""


class Adam(OptimizerSection):
    """Steps scaled by running means of the gradient and of its square (Kingma & Ba 2015)."""

    name: Literal["adam", "adamw"]
    """adamw decouples the weight decay (Loshchilov & Hutter 2019)"""
    lr: PositiveNumber = 0.001
    """learning rate"""
    betas: ListOf[Fraction] = Field(default=(0.9, 0.999), min_length=2, max_length=2)
    """decay rates of the two running means"""
    eps: PositiveNumber = 1e-8
    """added to the denominator for numerical stability"""


class RmsProp(OptimizerSection):
    """Steps divided by the root of a running mean of the squared gradient (Hinton's lecture 6e)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: PositiveNumber = 0.001
    """learning rate"""
    alpha: Fraction = 0.99
    """decay rate of the running mean"""
    momentum: Fraction = 0.0
    """factor of the previous step's direction"""
    eps: PositiveNumber = 1e-8
    """added to the denominator for numerical stability"""


class Adagrad(OptimizerSection):
    """Steps divided by the root of the sum of all squared gradients so far (Duchi et al. 2011)."""

    name: Literal["adagrad"] = "adagrad"
    lr: PositiveNumber = 0.01
    """learning rate"""
    eps: PositiveNumber = 1e-10
    """added to the denominator for numerical stability"""


AnyOptimizer: TypeAlias = GradientDescent | Sgd | Adam | RmsProp | Adagrad
Optimizer = Annotated[AnyOptimizer, Field(discriminator="name"), ShortForm()]


class ScheduleSection(Section):
    """The keys of every schedule."""

    warmup: Fraction = 0.0
    """fraction of all steps in which the learning rate rises from near zero to its value"""


class Constant(ScheduleSection):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class StepDecay(ScheduleSection):
    """Multiplies the learning rate by `gamma` after every `every` epochs."""

    name: Literal["step"] = "step"
    every: Positive = 10
    """epochs between two reductions"""
    gamma: PositiveNumber = Field(default=0.1, le=1)
    """factor of each reduction"""


class Exponential(ScheduleSection):
    """Multiplies the learning rate by `gamma` after each epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: PositiveNumber = Field(default=0.95, le=1)
    """factor for each epoch"""


class Decay(ScheduleSection):
    """Decays from the full learning rate to `final` times it at the last step, along half a cosine or a line."""

    name: Literal["cosine", "linear"]
    """the curve of the decay"""
    final: ZeroToOne = 0.0
    """fraction of the learning rate at the last step"""


class OneCycle(Section):
    """Rises to the full learning rate along half a cosine, then falls to almost zero (Smith & Topin 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    warmup: Fraction = 0.3
    """fraction of all steps in which the learning rate rises"""
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    """fraction of the learning rate at the first step"""
    final: ZeroToOne = 4e-6
    """fraction of the learning rate at the last step"""


class Plateau(ScheduleSection):
    """Multiplies the learning rate by `factor` after more than `patience` epochs without a lower validation loss."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """factor of each reduction"""
    patience: NotNegative = 2
    """epochs without an improvement before a reduction"""


AnySchedule: TypeAlias = Constant | StepDecay | Exponential | Decay | OneCycle | Plateau
Schedule = Annotated[AnySchedule, Field(discriminator="name"), ShortForm()]


class EarlyStopping(Section):
    """Stops after `patience` epochs without an improvement on the validation images."""

    monitor: Annotated[Literal["val_loss", "val_accuracy"], AnySpelling()] = "val_loss"
    """the validation metric to monitor"""
    patience: Positive = 5
    """epochs without an improvement before training stops"""
    min_delta: NotNegativeNumber = 0.0
    """smallest change that counts as an improvement"""


class Stop(Section):
    """Ends the training after the first epoch in which one of these means is at most its value."""

    gradient_norm: PositiveNumber | None = None
    """norm of the whole gradient before clipping, mean over the steps"""
    train_loss: PositiveNumber | None = None
    """training loss, mean over the images"""


class Teacher(Section):
    """Knowledge distillation: the model learns the probabilities of a trained one, too (Hinton et al. 2015)."""

    checkpoint: str
    """the trained model: a .pt file (also of an ensemble), a run folder, latest or bundled"""
    temperature: PositiveNumber = 2.0
    """divides the logits of both models in the teacher's term: the higher, the more the improbable classes count"""
    weight: ZeroToOne = 0.9
    """fraction of the teacher's term in the loss; the loss of the labels has the rest"""


class Training(Section):
    """Length of training, and how each step is made."""

    epochs: Positive = 10
    """maximum number of epochs"""
    max_minutes: PositiveNumber | None = None
    """time limit; training stops after the step that exceeds it"""
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(bool_as_section)] = None
    """when to stop early, and by which metric an epoch is the best; without it, by val_loss"""
    keep: Literal["best", "last"] = "best"
    """the epoch whose weights are the result: the best on the validation images (without them the last), or the last,
    which suits a schedule that ends near zero"""
    stop: Annotated[Stop | None, BeforeValidator(false_as_none)] = None
    """values of the gradient or the training loss at which training stops"""
    checkpoint_seconds: NotNegativeNumber = 10.0
    """seconds between two saved states, also within an epoch; 0: after each epoch"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """decay of an exponential moving average of the weights, which is validated and saved; after n steps the decay is
    at most (1 + n) / (10 + n)"""
    clip_norm: PositiveNumber | None = None
    """maximum norm of the gradient"""
    on_divergence: Literal["stop", "restore"] = "stop"
    """if a loss or gradient is not finite: stop, or restore the start of the epoch with half the learning rate, at most
    3 times"""
    accumulate: Positive = 1
    """number of batches whose gradients are accumulated for one step"""
    micro_batches: Positive = 1
    """number of parts of each batch; any number of processes that divides it gives the same bits"""
    reduce: Literal["exact", "fast"] = "exact"
    """how the gradients of processes are summed: exact in a fixed order; fast by one all-reduce, whose last bits depend
    on the number of processes"""
    mixup: PositiveNumber | None = None
    """train on weighted means of two images and of their losses, with weights from Beta(α, α) with this α (Zhang et
    al. 2018)"""
    adversarial: PositiveNumber | None = None
    """also train on each image with the change of this Euclidean norm, for pixels from 0 to 1, that raises its loss
    most, to first order (Goodfellow et al. 2014); it takes two to three times as long"""
    teacher: Annotated[Teacher | None, BeforeValidator(false_as_none)] = None
    """a trained model to learn from, besides the labels; it sees the same deformed images"""
    refit: bool = False
    """train again, on training and validation images, up to the epoch that was kept"""


class Report(Section):
    """What is evaluated at the end, and which plots and files are written."""

    test: bool = True
    """evaluate the result on the test images; use false while you still choose between settings"""
    plots: bool = True
    """plot curves, confusion matrix and first-layer weights"""
    weights_by_epoch: bool = False
    """plot the first-layer weights also after each epoch; of a training with more than 50, after every second one …"""
    format: Literal["png", "svg", "pdf"] = "png"
    """file format of the plots"""
    tensorboard: bool = False
    """write event files for TensorBoard; needs the extra [tensorboard]"""
    gallery: bool = True
    """plot the mistakes with the highest confidence"""


class Config(Section):
    """One training run: data, model, loss, optimizer, schedule, training and report."""

    name: Name = "run"
    """name of the run and its folder: letters, digits and _ . + -"""
    seed: NotNegative = 0
    """random seed for weights, order and dropout"""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"), BeforeValidator(_device_name)] = (
        "auto"
    )
    """cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one"""
    precision: Annotated[Literal["auto", "float32", "bfloat16", "float16"], AnySpelling()] = "auto"
    """number format of the model's computations; auto chooses by hardware and model"""
    deterministic: bool = False
    """bit-identical results on CUDA too, a little slower; on the CPU they always are"""
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """number of CPU threads; default 1 for small models and batches, else torch's choice"""
    data: Annotated[Data, ShortForm()] = Data()
    """the images"""
    model: Model
    """the network"""
    loss: Loss = ClassLoss(name="cross_entropy")
    """the function that is minimized"""
    optimizer: Optimizer = Adam(name="adam")
    """how gradients become steps"""
    schedule: Schedule = Constant()
    """the learning rate over time"""
    training: Training = Training()
    """length of training and how steps are made"""
    report: Report = Report()
    """evaluation at the end, plots and files"""

    @property
    def micro_batch(self) -> int:
        """The number of images in a micro-batch: all of a batch, unless `training.micro_batches` says more."""
        return -(-self.data.batch // self.training.micro_batches)

    def with_batch(self, size: int) -> Config:
        """Return a copy with `data.batch_size: size`."""
        return self.model_copy(update={"data": self.data.model_copy(update={"batch_size": size})})
