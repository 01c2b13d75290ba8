"""How training images are deformed, and what is made from images besides, as a config names it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from mnist_trainer.config.fields import (
    ClassName,
    ListOf,
    NotNegative,
    NotNegativeNumber,
    Section,
    ZeroToOne,
    bool_as_section,
)


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
