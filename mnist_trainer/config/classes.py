"""What `data.binary`, `halve_for`, `class_weights` and `penalties` call a class, and the label that is meant.

Images carry labels, whole numbers from 0 in the order of the class names. A folder's classes are named after its
sub-folders. A published data set's classes also go by its own labels, 7 for a Sneaker of Fashion-MNIST. A yes/no task
has the classes 0 (no) and 1 (yes).
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

LISTED = 20
"""Classes that are named in one message."""


def known_classes(data: Data) -> tuple[str, ...] | None:
    """The classes of the data set, before `binary`; None for a folder, which has to be looked at."""
    return {"folder": None, "fashion-mnist": FASHION_ITEMS, "kmnist": KUZUSHIJI}.get(data.name, DIGITS)


def task_classes(data: Data, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names that labels go by in the other keys: `classes`, or with `data.binary` 0 and 1."""
    return classes if data.binary is None else DIGITS[:2]


def label_of(name: int | str, classes: Sequence[str], data: Data) -> int | None:
    """The label of the class `name`, or None if there is no such class."""
    written = normalize("NFC", str(name))
    names = [normalize("NFC", each) for each in classes]
    if written in names:
        return names.index(written)
    if not written.isdecimal() or len(written) > 20:
        return None
    number = int(written)
    if data.name != "folder":
        return number if number < len(names) else None
    alike = [label for label, each in enumerate(names) if each.isdecimal() and int(each) == number]
    return alike[0] if len(alike) == 1 else None  # 07 is 7, unless a folder has both


def are_counted(classes: Sequence[str]) -> bool:
    """Whether the names are 0, 1, 2 … themselves."""
    return list(classes) == list(map(str, range(len(classes))))


def listed(classes: Sequence[str], data: Data) -> str:
    """The names for a message: `0 to 9`, or each."""
    counted = f"0 to {len(classes) - 1}"
    if are_counted(classes):
        return counted
    names = ", ".join([*classes[:LISTED], *(["…"] if len(classes) > LISTED else [])])
    return names if data.name == "folder" else f"{names} ({counted})"


def with_labels(config: Config, classes: tuple[str, ...]) -> Config:
    """`config` with labels in the place of class names, and class weights as a list; `classes` are the data set's, or
    the two answers of a yes/no task. The names have been checked."""
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
