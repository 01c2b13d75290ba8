"""How training images are deformed, and what is made from images besides, as a config names it.

`Config`: what one YAML file says, checked and complete. Every field has a description; the JSON Schema and the
README's reference table are made from it (`scripts/reference`).
"""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mnist_trainer.config.fields import (
    AnySpelling,
    ClassName,
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
from mnist_trainer.config.objective import Adam, ClassLoss, Constant, Loss, Optimizer, Schedule


class Simulate(Section):
    """Images made from those of a data set of digits, once, before training: photographs of them, drawn on paper and
    read as `mnist-predict` reads pictures, and what is no digit. The test images never have any."""

    photographs: NotNegativeNumber = 0.0
    """as a share of the images: 1 adds one of each training and each validation image"""
    non_digits: NotNegativeNumber = 0.0
    """as a share of the training images, which alone get any: letters, scribbles, cut and joined digits …, so
    that the model can refuse; needs cross_entropy on raw outputs"""

    def added(self, images: int) -> int:
        """How many are made from so many training images, photographs and non-digits together."""
        return round(self.photographs * images) + round(self.non_digits * images)


class Elastic(Section):
    """Each pixel moves by its own step, alike for neighbours (Simard et al. 2003): noise from −1 to 1 for each pixel
    and direction, smoothed by a Gaussian of `sigma`, times `alpha`."""

    alpha: NotNegativeNumber = 36.0
    """strength, in pixels; 36 moves a pixel by about 1"""
    sigma: Annotated[float, Field(ge=0.1, le=28)] = 6.0
    """width of the smoothing, in pixels"""


class Augment(Section):
    """Training images are deformed anew each epoch, each by its own draw, evenly between minus and plus each figure."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """degrees, about the centre"""
    shear: Annotated[float, Field(ge=0, le=80)] = 0.0
    """degrees of slant to the side"""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share by which width and height grow or shrink, each by itself"""
    shift: Annotated[float, Field(ge=0, le=28)] = 0.0
    """pixels, across and down"""
    elastic: Annotated[Elastic | None, BeforeValidator(bool_as_section)] = None
    """a displacement of each pixel"""
    thickness: ZeroToOne = 0.0
    """ink thicker or thinner; 1: up to one pixel more or less on each side of a stroke"""
    probability: ZeroToOne = 1.0
    """of an image to be deformed at all"""
    halve_for: ListOf[ClassName] = ()
    """classes whose angles are halved: [1, 7] look alike when slanted (Cireşan et al. 2010); with `data.binary`
    0 is no and 1 is yes"""
    clean_last: NotNegative = 0
    """the last N epochs see the images as they are"""

    @property
    def moves(self) -> bool:
        """Whether pixels are moved at all."""
        return any((self.rotate, self.shear, self.scale, self.shift)) or self.elastic is not None


AUTO_BATCH = 128
"""What `data.batch_size: auto` begins with: the default, so that it learns the same wherever there is room for it."""

CSV_ENDINGS = (".csv", ".csv.gz")
"""File name endings of tables of images."""

DataName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist", "usps", "digits", "folder"]


def _device_name(name: object) -> object:
    """Return torch's name of `gpu`, `CUDA` or `cuda0`. A GPU is mps on a Mac, and cuda elsewhere."""
    found = re.fullmatch(r"(auto|cpu|mps|gpu|cuda)(?::?([0-9]{1,2}))?", name.lower()) if isinstance(name, str) else None
    if found is None:
        return name
    kind = found[1] if found[1] != "gpu" else "mps" if sys.platform == "darwin" else "cuda"
    if kind == "cuda":
        return kind if found[2] is None else f"{kind}:{found[2]}"
    return kind if found[2] in (None, "0") else name


class Data(Section):
    """Which images, how many to validate with, and in what form they reach the model."""

    name: Annotated[DataName, AnySpelling()] = "mnist"
    """digits comes with the package; folder needs `path`"""
    path: str | None = None
    """for folder: one sub-folder of pictures a class, or train/ val/ test/; or a .csv or .npz file"""
    root: str | None = None
    """where data sets lie, as torchvision lays them out; else MNIST_TRAINER_DATA, else a cache folder"""
    batch_size: Positive | Literal["auto"] = 128
    """images a step; auto: 128, and on a GPU whose memory is too small half of it, again and again"""
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] | None = None
    """images (a number) or share (a fraction) to validate with; default 5000, a tenth where there are fewer than
    50,000"""
    split_seed: NotNegative = 0
    """chooses the validation images; independent of `seed`"""
    normalize: Annotated[Literal["mean_std", "unit", "none"], AnySpelling()] = "mean_std"
    """mean_std: mean 0, deviation 1 over the training images; unit: 0 to 1; none: 0 to 255"""
    limit: Positive | None = None
    """take only the first N training images of each class"""
    binary: ClassName | None = None
    """a yes/no task: is it the class of this name?"""
    augment: Annotated[Augment | None, BeforeValidator(false_as_none)] = None
    """deform the training images, anew each epoch"""
    simulate: Simulate = Simulate()
    """add images that are made from them"""

    @property
    def is_table(self) -> bool:
        """Whether `path` ends as the name of a table of images."""
        return self.name == "folder" and (self.path or "").lower().endswith((*CSV_ENDINGS, ".npz"))

    @property
    def batch(self) -> int:
        """`batch_size` as a number; of `auto` the one that it begins with."""
        return AUTO_BATCH if self.batch_size == "auto" else self.batch_size


class EarlyStopping(Section):
    """Stop when the validation figure has not improved for so many epochs."""

    monitor: Annotated[Literal["val_loss", "val_accuracy"], AnySpelling()] = "val_loss"
    """the figure that decides"""
    patience: Positive = 5
    """epochs without an improvement before it stops"""
    min_delta: NotNegativeNumber = 0.0
    """how much better counts as better"""


class Training(Section):
    """How long, and what is done around each step."""

    epochs: Positive = 10
    """times through the training images, at most"""
    max_minutes: PositiveNumber | None = None
    """stop after the step at which this time is over"""
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(bool_as_section)] = None
    """when to stop early; without it the best epoch by val_loss is the result all the same"""
    checkpoint_seconds: NotNegativeNumber = 10.0
    """save the state after so many seconds, in an epoch too; 0: after each epoch"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """validate and keep an exponential moving average of the weights with this decay; after n steps the decay is
    at most (1 + n) / (10 + n)"""
    clip_norm: PositiveNumber | None = None
    """largest length of the gradient"""
    on_divergence: Literal["stop", "restore"] = "stop"
    """when a loss or gradient is no longer a finite number: stop, or go back to the start of the epoch with half
    the learning rate, 3 times at most"""
    accumulate: Positive = 1
    """batches whose gradients make one step"""
    mixup: PositiveNumber | None = None
    """train on weighted means of two images and of their losses; the weight is drawn from Beta(α, α) with this α
    (Zhang et al. 2018)"""
    refit: bool = False
    """after the best epoch is known: train anew for as many epochs, on training and validation images"""


class Report(Section):
    """What is measured at the end, and what is drawn and written besides the figures."""

    test: bool = True
    """measure the result on the test images; false while you still choose between settings"""
    plots: bool = True
    """curves, confusion matrix and first-layer weights as pictures"""
    format: Literal["png", "svg", "pdf"] = "png"
    """file format of the plots"""
    tensorboard: bool = False
    """event files for TensorBoard; needs the extra [tensorboard]"""
    gallery: bool = True
    """the surest mistakes as a picture"""


class Config(Section):
    """One training: data, model, loss, optimizer, schedule, and how long."""

    name: Name = "run"
    """of the run and its folder: letters, digits and _ . + -"""
    seed: NotNegative = 0
    """of initial weights, order and dropout"""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"), BeforeValidator(_device_name)] = (
        "auto"
    )
    """cpu, cuda, cuda:1, mps; auto takes a GPU where there is one"""
    precision: Annotated[Literal["auto", "float32", "bfloat16", "float16"], AnySpelling()] = "auto"
    """of the products in the model; auto knows from the hardware and the model"""
    deterministic: bool = False
    """same bits twice on CUDA too, a little slower; the CPU always is"""
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """CPU threads; default 1 for small models and batches, else torch's choice"""
    data: Annotated[Data, ShortForm()] = Data()
    """the images"""
    model: Model
    """the network"""
    loss: Loss = ClassLoss(name="cross_entropy")
    """what is minimised"""
    optimizer: Optimizer = Adam(name="adam")
    """how a step is made from a gradient"""
    schedule: Schedule = Constant()
    """the learning rate over time"""
    training: Training = Training()
    """how long"""
    report: Report = Report()
    """what is drawn"""

    def with_batch(self, size: int) -> Config:
        """The same with `data.batch_size: size`."""
        return self.model_copy(update={"data": self.data.model_copy(update={"batch_size": size})})
