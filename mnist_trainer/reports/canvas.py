"""The common style and colours of all drawings, and rendering to the bytes of a PNG, SVG or PDF; no pyplot.

100 dots an inch, at most 1200 pixels wide. The colours suit colour-blind readers (Okabe & Ito 2008,
https://jfly.uni-koeln.de/color/). Equal input gives equal bytes, whatever matplotlibrc and MPLBACKEND say: drawings
start from matplotlib's own defaults, and the settings of the calling program are restored afterwards.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_WIDTH = 1200
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
    "svg.hashsalt": "mnist_trainer",
    "text.parse_math": False,  # a class may be called $5
}


FileFormat = Literal["png", "svg", "pdf"]


def render(size: tuple[int, int], title: str, draw: Callable[[Figure], None], file_format: FileFormat = "png") -> bytes:
    """Return what `draw` draws on an empty figure of `size` (width, height in pixels) under `title`."""
    load_matplotlib()
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stream = BytesIO()
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", "Glyph")  # a class may have a name in any script
        inches = ((size[0] + 0.1) / _DPI, (size[1] + 0.1) / _DPI)  # matplotlib cuts off what is just below a pixel
        figure = Figure(inches, dpi=_DPI, layout="compressed", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        figure.suptitle(fill(title, size[0] // 10), fontsize=13)
        draw(figure)
        # Without a version or a date, which would change the bytes.
        if file_format == "png":  # savefig would draw twice, once to see where things go
            canvas.print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
        else:
            fields = ("Date",) if file_format == "svg" else ("CreationDate", "Creator", "Producer")
            figure.savefig(stream, format=file_format, metadata=dict.fromkeys(fields))
    return stream.getvalue()


def load_matplotlib() -> None:
    """Import matplotlib, whatever `MPLBACKEND` and the user's matplotlibrc say.

    Jupyter sets `MPLBACKEND` for all its child processes, and `import matplotlib` raises `ValueError` where that names
    a backend which is not installed. Valid settings of both are applied afterwards, as for a program that imports
    matplotlib itself. Raises `UsageError` if a matplotlibrc in the working directory can't be read.
    """
    if "matplotlib" in sys.modules:
        return
    require_readable_settings()
    package, logger = find_spec("matplotlib"), logging.getLogger("matplotlib")
    assert package is not None and package.origin is not None
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # a wrong line in matplotlibrc does not matter here
    users = {name: os.environ.pop(name) for name in ("MPLBACKEND", "MATPLOTLIBRC") if name in os.environ}
    os.environ["MATPLOTLIBRC"] = str(Path(package.origin).parent / "mpl-data/matplotlibrc")
    try:
        try:
            import matplotlib
        finally:
            del os.environ["MATPLOTLIBRC"]
            os.environ.update(users)
        with suppress(OSError, ValueError):
            settings = matplotlib.rc_params_from_file(matplotlib.matplotlib_fname(), use_default_template=False)
            matplotlib.rcParams.update(settings)
            matplotlib.rcParamsOrig.update(settings)
        with suppress(KeyError, ValueError):
            matplotlib.rcParams["backend"] = users["MPLBACKEND"]
    finally:
        logger.setLevel(level)


def require_readable_settings() -> None:
    """Raise `UsageError` if a matplotlibrc in the working directory can't be read: `import matplotlib` needs it."""
    path = Path("matplotlibrc").absolute()
    try:
        if path.is_file():
            path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}. Save it as UTF-8.") from error


def get_ready() -> None:
    """Loads what drawing needs, and draws a first figure: what is looked up once then is known."""
    load_matplotlib()
    from matplotlib import ticker  # noqa: F401 - as the drawings do

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="0")
        axes.imshow([[0, 1]])
        axes.plot([0, 1], [0, 1], label="0")
        axes.legend()

    render((100, 100), "", draw)
