"""The style of all plots, rendering them to the bytes of a PNG, SVG or PDF without pyplot, and drawing in a process.

100 dots an inch, at most 1200 pixels wide. The colours suit colour-blind readers (Okabe & Ito 2008,
https://jfly.uni-koeln.de/color/). Equal input gives equal bytes: plots are drawn with matplotlib's default settings,
whatever the user's matplotlibrc says.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

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
Parameters = ParamSpec("Parameters")

Picture = Callable[[], bytes]
"""Returns the bytes of a plot, and waits until it is drawn."""


def render(size: tuple[int, int], title: str, draw: Callable[[Figure], None], file_format: FileFormat = "png") -> bytes:
    """Return what `draw` draws on an empty figure of `size` (width, height in pixels) under `title`."""
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
        # Metadata without a version or a date, which would change the bytes.
        if file_format == "png":  # savefig would draw twice, once for the layout
            canvas.print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
        else:
            fields = ("Date",) if file_format == "svg" else ("CreationDate", "Creator", "Producer")
            figure.savefig(stream, format=file_format, metadata=dict.fromkeys(fields))
    return stream.getvalue()


def encode_png(image: Image) -> bytes:
    """Return an image as a PNG."""
    stream = BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def check_matplotlib() -> None:
    """Raise `UsageError` if matplotlib is missing, or can't be imported with the settings of the user."""
    if find_spec("matplotlib") is None:
        advice = "pip install matplotlib, or set report.plots=false and report.gallery=false"
        raise UsageError(f"report.plots and report.gallery need matplotlib: {advice}.")
    has_settings = "MATPLOTLIBRC" in os.environ or Path("matplotlibrc").exists()
    if has_settings or os.environ.get("MPLBACKEND", "agg") != "agg":  # importing it takes 0.2 s, so only then
        try:
            import matplotlib  # noqa: F401
        except (OSError, ValueError) as error:
            advice = "Check MPLBACKEND, MATPLOTLIBRC and the file matplotlibrc"
            raise UsageError(f"matplotlib can't be loaded with your settings: {error}. {advice}.") from error


_pools: list[ProcessPoolExecutor] = []
"""The process that draws, if there is one."""


@contextmanager
def plot_process(is_wanted: bool) -> Iterator[None]:
    """Inside the block, `draw_in_background` uses a process, if plots are wanted and there is a second CPU core.

    The process loads matplotlib, which takes as long as some epochs of a small model, while the model is trained.
    """
    if not is_wanted or _pools or _cores() == 1:
        yield
        return
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(_warm_up)
        _pools.append(pool)
        try:
            yield
        finally:
            _pools.clear()
            pool.shutdown(cancel_futures=True)


def draw_in_background(
    draw: Callable[Parameters, bytes], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Picture:
    """Return what `draw`, a module-level function, returns. It is called at once in the process of `plot_process`.

    Without that process, or if it has died, `draw` is called in this process when the picture is wanted.
    """
    try:
        future: Future[bytes] | None = _pools[0].submit(draw, *arguments, **options) if _pools else None
    except BrokenProcessPool:
        future = None

    def picture() -> bytes:
        if future is not None:
            try:
                return future.result()
            except BrokenProcessPool:
                pass
        return draw(*arguments, **options)

    return picture


def _cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _warm_up() -> None:
    """Load what plots need and draw a first one, which fills matplotlib's caches; end with the parent process."""
    import atexit
    import signal
    import threading
    from multiprocessing import parent_process

    def exit_with_parent() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(0)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="0")
        axes.imshow([[0, 1]])
        axes.plot([0, 1], [0, 1], label="0")
        axes.legend()

    atexit.register(os._exit, 0)  # skips the teardown of matplotlib, which the parent would wait for
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=exit_with_parent, daemon=True).start()
    from mnist_trainer.reports import curves, plots  # noqa: F401

    render((100, 100), "", draw)
