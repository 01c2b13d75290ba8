"""What all drawings stand on: one look, one set of colours, and the way to the bytes of a PNG; no pyplot.

100 dots an inch, at most 1200 pixels wide. Colours are told apart by colour-blind eyes too (Okabe & Ito 2008,
https://jfly.uni-koeln.de/color/). Equal input gives equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 1200
_DPI = 100
BLUE, ORANGE, GREEN, GREY, PALE = "#0072B2", "#D55E00", "#007A5A", "#808080", "#E9E9E9"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "legend.edgecolor": "none",
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "text.parse_math": False,  # a class may be called $5
}


def png(size: tuple[int, int], title: str, draw: Callable[[Figure], None]) -> bytes:
    """What `draw` puts on an empty figure of `size` (width, height in pixels) under `title`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stream = BytesIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a class may have a name in any script
        inches = ((size[0] + 0.1) / _DPI, (size[1] + 0.1) / _DPI)  # matplotlib cuts off what is just below a pixel
        figure = Figure(inches, dpi=_DPI, layout="compressed", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        figure.suptitle(fill(title, size[0] // 10), fontsize=13)
        draw(figure)
        # Without a version, which would change the bytes; savefig would draw twice, once to see where things go.
        canvas.print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return stream.getvalue()


def get_ready() -> None:
    """Loads what drawing needs, and draws a first figure: what is looked up once then is known."""
    from matplotlib import ticker  # noqa: F401 - as the drawings do

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="0")
        axes.imshow([[0, 1]])
        axes.plot([0, 1], [0, 1], label="0")
        axes.legend()

    png((100, 100), "", draw)
