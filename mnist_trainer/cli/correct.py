"""`mnist-predict --correct`: ask for each answer in the terminal, and save the digits as pictures to train on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_trainer.cli.common import print_safe, require
from mnist_trainer.errors import escape_controls

if TYPE_CHECKING:
    from mnist_trainer.inference.reading import DigitPrediction, Prediction

NO_DIGIT, QUIT = "-", "q"

INSTRUCTIONS = """\
Enter accepts an answer. To correct it, type all of its digits, with - for what is no digit (it is not saved).
q ends; what was answered until then is saved."""


def check_classes(classes: Sequence[str]) -> None:
    """Raise `UsageError` if the name of a class can't be typed as one character."""
    message = f"--correct corrects digits, but the classes of this model are {', '.join(classes)}."
    require({message: all(len(name) == 1 for name in classes)})


class Corrections:
    """The digits that a person accepted or corrected: a folder with a sub-folder for each class, as for training.

    A file is named after its picture and a hash of its pixels, so that equal images are saved once.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        from mnist_trainer.files import make_folder

        make_folder(folder)
        self.folder, self.classes = folder, classes
        self.saved = self.corrected = self.known = 0

    def ask(self, predictions: Iterable[Prediction], show: Callable[[Prediction], bool]) -> bool:
        """Ask for each prediction after `show`; save the answers. Return whether a picture could not be read.

        q and the end of the input (Ctrl-D) end it. Ctrl-C raises KeyboardInterrupt. What was answered stays saved.
        """
        with suppress(ImportError):  # not on Windows
            import readline  # noqa: F401 - arrow keys edit the answer

        print_safe(INSTRUCTIONS)
        failed = False
        try:
            for prediction in predictions:
                failed |= show(prediction)
                lines = [list(line) for _, line in groupby(prediction.digits, key=lambda digit: digit.line)]
                for number, digits in enumerate(lines, start=1):
                    name = prediction.name + (f", line {number}" if len(lines) > 1 else "")
                    proposal = _proposal(prediction, digits)
                    answer = _ask_line(name, proposal, self.classes)
                    if answer is None:
                        return failed
                    for digit, sign, proposed in zip(digits, answer, proposal, strict=True):
                        self._save(prediction, digit, sign, sign != proposed)
        finally:
            print_safe(self.summary())
        return failed

    def summary(self) -> str:
        """Return a sentence about what was saved."""
        from mnist_trainer.reports.text import plural

        known = f"; {self.known} saved before" if self.known else ""
        return f"{self.folder}: {plural(self.saved, 'digit')} saved, {self.corrected} of them corrected{known}"

    def _save(self, prediction: Prediction, digit: DigitPrediction, sign: str, corrected: bool) -> None:
        """Save the image of a digit in the folder of its class; the last answer for equal images counts."""
        from PIL import Image

        from mnist_trainer.files import make_folder, remove_file, write_bytes
        from mnist_trainer.reports.canvas import encode_png

        if digit.image is None:
            return
        code = blake2b(digit.image.tobytes(), digest_size=6).hexdigest()
        before = [path for name in self.classes for path in (self.folder / name).glob(f"*-{code}.png")]
        for path in before:
            if path.parent.name != sign:
                remove_file(path)
        if sign == NO_DIGIT:
            return
        if any(path.parent.name == sign for path in before):
            self.known += 1
            return
        make_folder(self.folder / sign)
        stem = "picture" if prediction.path is None else re.sub(r"[^\w.-]", "_", Path(prediction.path).stem)[:80]
        write_bytes(self.folder / sign / f"{stem}-{code}.png", encode_png(Image.fromarray(digit.image)))
        self.saved += 1
        self.corrected += corrected


def _proposal(prediction: Prediction, digits: Sequence[DigitPrediction]) -> str:
    """Return the answer that Enter accepts: what was read, with - for what was refused."""
    return "".join(NO_DIGIT if prediction.refused or digit.refused else digit.sign for digit in digits)


def _ask_line(name: str, proposal: str, classes: Sequence[str]) -> str | None:
    """Return a sign for each digit of a line: a class or -. None at the end."""
    while True:
        try:
            typed = "".join(input(escape_controls(f"{name} [{proposal}] > ")).split())
        except (EOFError, KeyboardInterrupt) as end:
            print()  # the cursor is behind the prompt
            if isinstance(end, KeyboardInterrupt):
                raise
            return None
        if typed.casefold() == QUIT and QUIT not in classes:
            return None
        if not typed:
            return proposal
        problem = _problem(typed, proposal, classes)
        if problem is None:
            return typed
        print_safe(problem)


def _problem(typed: str, proposal: str, classes: Sequence[str]) -> str | None:
    """Return why an answer can't be taken, or None."""
    from mnist_trainer.reports.text import plural

    if wrong := next((sign for sign in typed if sign not in (*classes, NO_DIGIT)), None):
        return f"{wrong!r} is none of {' '.join(classes)}, nor - (no digit), nor q (end)."
    if len(typed) != len(proposal):
        needed = f"{plural(len(proposal), 'sign')} needed, one for each box ({proposal})"
        return f"{needed}; you typed {len(typed)}. If a box is cut wrongly, type - for it."
    return None
