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

    photographs: NotNegativeNumber = Field(
        default=0.0, description="as a share of the images: 1 adds one of each training and each validation image"
    )
    non_digits: NotNegativeNumber = Field(
        default=0.0,
        description="as a share of the training images, which alone get any: letters, scribbles, cut and joined digits "
        "…, so that the model can refuse; needs cross_entropy on raw outputs",
    )

    def added(self, images: int) -> int:
        """How many are made from so many training images, photographs and non-digits together."""
        return round(self.photographs * images) + round(self.non_digits * images)


class Elastic(Section):
    """Each pixel moves by its own step, alike for neighbours (Simard et al. 2003): noise from −1 to 1 for each pixel
    and direction, smoothed by a Gaussian of `sigma`, times `alpha`."""

    alpha: NotNegativeNumber = Field(default=36.0, description="strength, in pixels; 36 moves a pixel by about 1")
    sigma: Annotated[float, Field(ge=0.1, le=28)] = Field(default=6.0, description="width of the smoothing, in pixels")


class Augment(Section):
    """Training images are deformed anew each epoch, each by its own draw, evenly between minus and plus each figure."""

    rotate: Annotated[float, Field(ge=0, le=180)] = Field(default=0.0, description="degrees, about the centre")
    shear: Annotated[float, Field(ge=0, le=80)] = Field(default=0.0, description="degrees of slant to the side")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share by which width and height grow or shrink, each by itself"
    )
    shift: Annotated[float, Field(ge=0, le=28)] = Field(default=0.0, description="pixels, across and down")
    elastic: Annotated[Elastic | None, BeforeValidator(bool_as_section)] = Field(
        default=None, description="a displacement of each pixel"
    )
    thickness: ZeroToOne = Field(
        default=0.0, description="ink thicker or thinner; 1: up to one pixel more or less on each side of a stroke"
    )
    probability: ZeroToOne = Field(default=1.0, description="of an image to be deformed at all")
    halve_for: ListOf[ClassName] = Field(
        default=(),
        description="classes whose angles are halved: [1, 7] look alike when slanted (Cireşan et al. 2010); with "
        "`data.binary` 0 is no and 1 is yes",
    )
    clean_last: NotNegative = Field(default=0, description="the last N epochs see the images as they are")

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

    name: Annotated[DataName, AnySpelling()] = Field(
        default="mnist", description="digits comes with the package; folder needs `path`"
    )
    path: str | None = Field(
        default=None,
        description="for folder: one sub-folder of pictures a class, or train/ val/ test/; or a .csv or .npz file",
    )
    root: str | None = Field(
        default=None,
        description="where data sets lie, as torchvision lays them out; else MNIST_TRAINER_DATA, else a cache folder",
    )
    batch_size: Positive | Literal["auto"] = Field(
        default=128,
        description="images a step; auto: 128, and on a GPU whose memory is too small half of it, again and again",
    )
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="images (a number) or share (a fraction) to validate with; default 5000, "
        "a tenth where there are fewer than 50,000",
    )
    split_seed: NotNegative = Field(default=0, description="chooses the validation images; independent of `seed`")
    normalize: Annotated[Literal["mean_std", "unit", "none"], AnySpelling()] = Field(
        default="mean_std",
        description="mean_std: mean 0, deviation 1 over the training images; unit: 0 to 1; none: 0 to 255",
    )
    limit: Positive | None = Field(default=None, description="take only the first N training images of each class")
    binary: ClassName | None = Field(default=None, description="a yes/no task: is it the class of this name?")
    augment: Annotated[Augment | None, BeforeValidator(false_as_none)] = Field(
        default=None, description="deform the training images, anew each epoch"
    )
    simulate: Simulate = Field(default=Simulate(), description="add images that are made from them")

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

    monitor: Annotated[Literal["val_loss", "val_accuracy"], AnySpelling()] = Field(
        default="val_loss", description="the figure that decides"
    )
    patience: Positive = Field(default=5, description="epochs without an improvement before it stops")
    min_delta: NotNegativeNumber = Field(default=0.0, description="how much better counts as better")


class Training(Section):
    """How long, and what is done around each step."""

    epochs: Positive = Field(default=10, description="times through the training images, at most")
    max_minutes: PositiveNumber | None = Field(
        default=None, description="stop after the step at which this time is over"
    )
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(bool_as_section)] = Field(
        default=None, description="when to stop early; without it the best epoch by val_loss is the result all the same"
    )
    checkpoint_seconds: NotNegativeNumber = Field(
        default=10.0, description="save the state after so many seconds, in an epoch too; 0: after each epoch"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="validate and keep an exponential moving average of the weights with this decay; after n steps the "
        "decay is at most (1 + n) / (10 + n)",
    )
    clip_norm: PositiveNumber | None = Field(default=None, description="largest length of the gradient")
    on_divergence: Literal["stop", "restore"] = Field(
        default="stop",
        description="when a loss or gradient is no longer a finite number: stop, or go back to the start of the epoch "
        "with half the learning rate, 3 times at most",
    )
    accumulate: Positive = Field(default=1, description="batches whose gradients make one step")
    mixup: PositiveNumber | None = Field(
        default=None,
        description="train on weighted means of two images and of their losses; the weight is drawn from Beta(α, α) "
        "with this α (Zhang et al. 2018)",
    )
    refit: bool = Field(
        default=False,
        description="after the best epoch is known: train anew for as many epochs, on training and validation images",
    )


class Report(Section):
    """What is measured at the end, and what is drawn and written besides the figures."""

    test: bool = Field(
        default=True, description="measure the result on the test images; false while you still choose between settings"
    )
    plots: bool = Field(default=True, description="curves, confusion matrix and first-layer weights as pictures")
    format: Literal["png", "svg", "pdf"] = Field(default="png", description="file format of the plots")
    tensorboard: bool = Field(default=False, description="event files for TensorBoard; needs the extra [tensorboard]")
    gallery: bool = Field(default=True, description="the surest mistakes as a picture")


class Config(Section):
    """One training: data, model, loss, optimizer, schedule, and how long."""

    name: Name = Field(default="run", description="of the run and its folder: letters, digits and _ . + -")
    seed: NotNegative = Field(default=0, description="of initial weights, order and dropout")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"), BeforeValidator(_device_name)] = (
        Field(default="auto", description="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one")
    )
    precision: Annotated[Literal["auto", "float32", "bfloat16", "float16"], AnySpelling()] = Field(
        default="auto", description="of the products in the model; auto knows from the hardware and the model"
    )
    deterministic: bool = Field(
        default=False, description="same bits twice on CUDA too, a little slower; the CPU always is"
    )
    threads: Annotated[int, Field(gt=0, le=1024)] | None = Field(
        default=None, description="CPU threads; default 1 for small models and batches, else torch's choice"
    )
    data: Annotated[Data, ShortForm()] = Field(default=Data(), description="the images")
    model: Model = Field(description="the network")
    loss: Loss = Field(default=ClassLoss(name="cross_entropy"), description="what is minimised")
    optimizer: Optimizer = Field(default=Adam(name="adam"), description="how a step is made from a gradient")
    schedule: Schedule = Field(default=Constant(), description="the learning rate over time")
    training: Training = Field(default=Training(), description="how long")
    report: Report = Field(default=Report(), description="what is drawn")

    def with_batch(self, size: int) -> Config:
        """The same with `data.batch_size: size`."""
        return self.model_copy(update={"data": self.data.model_copy(update={"batch_size": size})})
