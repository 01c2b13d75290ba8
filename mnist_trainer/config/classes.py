"""Class names in `data.binary`, `halve_for`, `class_weights` and `penalties`, and the labels that they stand for.

Images carry labels, whole numbers from 0 in the order of the class names. A folder's classes are named after its
sub-folders. A class of a published data set can also be named by its label: 7 is Sneaker of Fashion-MNIST. A yes/no
task has the classes 0 (no) and 1 (yes).
"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import normalize

from mnist_trainer.config.schema import Config, Data

DIGITS = tuple("0123456789")
FASHION_ITEMS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

DIGIT_WORDS = (
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
)
_DIGITS = {word: str(digit) for words in DIGIT_WORDS for digit, word in enumerate(words)}

MAX_DIGITS = 20
"""Class names of this many digits or more are not compared as numbers."""

MAX_LISTED = 20
"""Maximum number of classes that a message lists."""


def known_classes(data: Data) -> tuple[str, ...] | None:
    """Return the classes of the data set, without regard to `binary`; None for a folder (they are read from disk)."""
    return {"folder": None, "fashion-mnist": FASHION_ITEMS, "kmnist": KUZUSHIJI}.get(data.name, DIGITS)


def task_classes(data: Data, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class names that the other keys use: `classes`, or 0 and 1 with `data.binary`."""
    return classes if data.binary is None else DIGITS[:2]


def class_positions(names: Sequence[str], classes: Sequence[str]) -> list[int | None]:
    """Return the position of each of `names` in `classes`, None for one that is not among them.

    A name may differ in case, in how an accent is encoded (NFC or NFD), in leading zeros, or spell a digit in English
    or German, if only one class then has that name.
    """
    exact = {nfc(name): position for position, name in enumerate(classes)}
    alike: dict[str, list[int]] = {}
    for position, name in enumerate(classes):
        alike.setdefault(normalized_name(name), []).append(position)
    found = [[exact[name]] if name in exact else alike.get(normalized_name(name), []) for name in map(nfc, names)]
    return [positions[0] if len(positions) == 1 else None for positions in found]


def nfc(name: str) -> str:
    """Return `name` in Unicode's form NFC: a letter and its accent are one character."""
    return normalize("NFC", name)


def normalized_name(name: str) -> str:
    """Return `name` in lower case; a number, or the word for a digit, in digits without leading zeros."""
    folded = nfc(name).casefold()
    is_number = folded.isdecimal() and len(folded) < MAX_DIGITS
    return str(int(folded)) if is_number else _DIGITS.get(folded, folded)


def label_of(name: int | str, classes: Sequence[str], data: Data) -> int | None:
    """Return the label of the class `name`, or None if there is no such class."""
    written = str(name)
    (position,) = class_positions([written], classes)
    if position is None and data.name != "folder" and written.isdecimal() and len(written) < MAX_DIGITS:
        return int(written) if int(written) < len(classes) else None
    return position


def is_numbered(classes: Sequence[str]) -> bool:
    """Return whether the names are 0, 1, 2 …"""
    return list(classes) == list(map(str, range(len(classes))))


def format_classes(classes: Sequence[str], data: Data) -> str:
    """Return the names for a message: `0 to 9`, or a list."""
    counted = f"0 to {len(classes) - 1}"
    if is_numbered(classes):
        return counted
    names = ", ".join([*classes[:MAX_LISTED], *(["…"] if len(classes) > MAX_LISTED else [])])
    return names if data.name == "folder" else f"{names} ({counted})"


def with_labels(config: Config, classes: tuple[str, ...]) -> Config:
    """Return `config` with labels instead of class names, and class weights as a list.

    `classes` are those of the data set, or 0 and 1 of a yes/no task. The names must have been checked.
    """
    data, loss = config.data, config.loss
    names = task_classes(data, classes)

    def label(name: int | str) -> int:
        found = label_of(name, names, data)
        return int(name) if found is None else found

    penalties = tuple(
        penalty.model_copy(update={"true": label(penalty.true), "predicted": label(penalty.predicted)})
        for penalty in loss.penalties
    )
    weights = loss.class_weights
    if isinstance(weights, dict):
        given = {label(name): weight for name, weight in weights.items()}
        weights = tuple(given.get(index, 1.0) for index in range(len(names)))
    if data.augment is not None:
        halved = tuple(map(label, data.augment.halve_for))
        data = data.model_copy(update={"augment": data.augment.model_copy(update={"halve_for": halved})})
    loss = loss.model_copy(update={"penalties": penalties, "class_weights": weights})
    return config.model_copy(update={"data": data, "loss": loss})
