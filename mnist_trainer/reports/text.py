"""Text that consoles and commands share: percentages, losses, layers, and tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from textwrap import TextWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that draws plots needs neither torch nor pydantic
    from mnist_trainer.config.layers import LayerInfo

STOP_REASONS = {
    "epochs": "All epochs are done.",
    "early_stopping": "Stopped early: the validation metric did not improve any more.",
    "max_minutes": "Stopped: training.max_minutes is over.",
    "gradient_norm": "Stopped: the norm of the gradient is at most training.stop.gradient_norm.",
    "train_loss": "Stopped: the training loss is at most training.stop.train_loss.",
    "interrupted": "Stopped by a signal.",
}

_COMMAND = re.compile(r"\bmnist-(?:train|eval|predict|runs|sweep) .*?(?=[)`;]|\. |, |$)")
"""A command in a text, which stays on one line so that it can be pasted."""

SAMPLE_FILE = "sample.png"
"""The file in `plots/` that holds one image, to try the model on."""


def wrap_text(text: str, columns: int, indent: int = 0) -> str:
    """Wrap `text` between words to `columns`, but not within a command; later lines start with `indent` spaces."""
    lines: list[str] = []
    for line in text.split("\n"):
        bound = _COMMAND.sub(lambda command: command[0].replace(" ", "\0"), line)  # a space that does not break
        wrap = TextWrapper(columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
        lines += wrap.wrap(bound) if len(line) > columns else [line]
    return "\n".join(lines).replace("\0", " ")


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return `98.21 %`, or a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`; a longer text loses its middle."""
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def plural(count: int, noun: str) -> str:
    """Return `1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clip_to_range(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of accuracies limited to 0 to 1; that of the mean of a few runs may exceed it."""
    low, high = bounds
    return max(0.0, low), min(1.0, high)


def interval(bounds: tuple[float, float] | None) -> str:
    """Return `95.25 to 98.66 %`, or a dash for None."""
    if bounds is None:
        return "-"
    low, high = clip_to_range(bounds)
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def loss_text(loss: float | None) -> str:
    """Return `0.1234`, `1.23e+12` if that would be too long, or a dash for None."""
    return "-" if loss is None else f"{loss:.4f}" if abs(loss) < 10_000 else f"{loss:.3g}"


def csv_text(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as CSV."""
    stream = StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue()


def layer_lines(layers: Sequence[LayerInfo], depth: int = 0) -> list[str]:
    """Return the table of layers: type, output shape, parameters."""
    lines = []
    for position, info in enumerate(layers):
        shape = f"[B, {', '.join(map(str, info.outputs))}]"
        name = f"{'  ' * depth}{position}  {_layer_name(info)}"
        lines.append(f"{name:<36}{shape:<20}{info.parameters:>12,}")
        lines += layer_lines(info.inner, depth + 1)
    return lines


def _layer_name(info: LayerInfo) -> str:
    """Return the type of a layer and its main options: `conv 3×3`, `activation relu`."""
    from mnist_trainer.config.model import ActivationLayer, Conv, Dropout, Output, Pool, SqueezeExcite

    layer = info.layer
    match layer:
        case Conv():
            stride = f", stride {layer.stride}" if layer.stride > 1 else ""
            return f"conv {layer.kernel}×{layer.kernel}{stride}"
        case Pool():
            return f"pool {layer.kind} {layer.size if layer.size == 'global' else f'{layer.size}×{layer.size}'}"
        case SqueezeExcite():
            return f"squeeze_excite {layer.reduction}"
        case Dropout():
            return f"dropout {layer.rate:g}"
        case ActivationLayer():
            return f"activation {layer.function.name}"
        case Output():
            return f"output {layer.function}"
        case _:
            return layer.type


COLUMN_GAP = 2
"""Spaces between columns."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and how it may shrink where the table is too wide.

    It is cut to `least` characters or more (None: never cut), at its end or, with `keeps_end`, to its last `least`
    characters. Columns with a `rank` above 0 may be left out, those with the highest rank first.
    """

    head: str
    right: bool = False
    least: int | None = None
    keeps_end: bool = False
    rank: int = 0


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and the heads of the columns that were left out to keep within `width`."""
    from rich.cells import cell_len

    table = [[column.head for column in columns], *rows]
    natural = [max(cell_len(cells[index]) for cells in table) for index in range(len(columns))]
    widths = natural if width is None else _fit_widths(columns, natural, width)
    lines = [
        (" " * COLUMN_GAP).join(_fit_cell(*cell) for cell in zip(columns, cells, widths, strict=True) if cell[2])
        for cells in table
    ]
    left_out = [column.head for column, kept in zip(columns, widths, strict=True) if not kept]
    return [line.rstrip() for line in lines], left_out


def _fit_widths(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Return the width of each column, 0 for one that is left out. Spare room goes to those that were cut."""
    widths = [0] * len(columns)

    def room() -> int:
        kept = [size for size in widths if size]
        return width - sum(kept) - COLUMN_GAP * (len(kept) - 1)

    for index in sorted(range(len(columns)), key=lambda index: columns[index].rank):
        column = columns[index]
        least = natural[index] if column.least is None else max(column.least, len(column.head))
        widths[index] = min(least, natural[index])
        if column.rank and room() < 0:
            widths[index] = 0
    for index, full in enumerate(natural):
        wider = min(full, widths[index] + max(0, room()))
        if widths[index] and (wider == full or not columns[index].keeps_end):
            widths[index] = wider
    return widths


def _fit_cell(column: Column, text: str, width: int) -> str:
    """Return `text` padded, or shortened, to `width` columns of a terminal."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        text = text[-width:] if column.keeps_end else f"{set_cell_size(text, width - 1).rstrip()}…"
    spaces = " " * (width - cell_len(text))
    return f"{spaces}{text}" if column.right else f"{text}{spaces}"
