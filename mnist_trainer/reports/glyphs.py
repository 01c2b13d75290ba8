"""Images of 28×28 pixels drawn in a terminal: two pixels in each character, several images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

IMAGE_GAP = 2
"""Columns between two images."""

BLOCKS = " ▀▄█"
"""Without colours: by upper pixel + 2 × lower pixel, each 0 or 1."""

BLACK, GREYS, WHITE = 16, range(232, 256), 231
"""Of the 256 colours that terminals have (ECMA-48, `38;5;n`): the greys from dark to light between black and white."""


def glyph_lines(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], width: int, colour: bool) -> list[str]:
    """The `images` [28, 28], as many in a row as fit in `width` columns, each above its caption.

    Without `colour` a pixel is there or not.
    """
    draw = _grey_rows if colour else _block_rows
    drawn = [[*draw(image), caption] for image, caption in zip(images, captions, strict=True)]
    if not drawn:
        return []
    wide = images[0].shape[1] + IMAGE_GAP
    columns = max(1, (width + IMAGE_GAP) // wide)
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    return [_side_by_side(cells, wide) for row in rows for cells in zip(*row, strict=True)]


def _side_by_side(cells: Sequence[str], wide: int) -> str:
    # codes for colours take no room, and captions none that is not theirs
    padded = (cell if "\x1b" in cell else cell.ljust(wide - IMAGE_GAP)[: wide - IMAGE_GAP] for cell in cells)
    return (" " * IMAGE_GAP).join(padded).rstrip()


def _block_rows(image: NDArray[np.uint8]) -> list[str]:
    bits = (image >= 128).astype(np.intp)
    return ["".join(BLOCKS[place] for place in row) for row in (bits[0::2] + 2 * bits[1::2]).tolist()]


def _grey_rows(image: NDArray[np.uint8]) -> list[str]:
    shades = np.array([BLACK, *GREYS, WHITE])[image.astype(np.intp) * 26 // 256]
    return [_grey_row(*pair) for pair in zip(shades[0::2].tolist(), shades[1::2].tolist(), strict=True)]


def _grey_row(upper: list[int], lower: list[int]) -> str:
    """Both rows of pixels in one row of characters; what has the same two shades shares a code."""
    runs = groupby(zip(upper, lower, strict=True))
    text = (f"\x1b[38;5;{above};48;5;{below}m{'▀' * len(list(same))}" for (above, below), same in runs)
    return f"{''.join(text)}\x1b[0m"
