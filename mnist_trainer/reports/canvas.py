"""The style of all plots, rendering them to the bytes of a PNG, SVG or PDF without pyplot, and drawing in a process.

100 dots an inch, at most 1200 pixels wide. The colours suit colour-blind readers (Okabe & Ito 2008,
https://jfly.uni-koeln.de/color/). Equal input gives equal bytes: plots are drawn with matplotlib's default settings,
whatever the user's matplotlibrc says.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

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


def check_matplotlib(option: str | None = None) -> None:
    """Raise `UsageError` if matplotlib is missing, or can't be imported with the settings of the user.

    `option` is what needs it, if it is not the plots of a run.
    """
    if find_spec("matplotlib") is None and option is not None:
        raise UsageError(f"{option} needs matplotlib: pip install matplotlib.")
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


class PlotProcess:
    """A process that draws plots; on Linux it forks a second one, once it has loaded matplotlib."""

    def __init__(self) -> None:
        from multiprocessing import get_context

        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(2 if sys.platform == "linux" else 1)]
        self.connections = [ours for ours, _ in pipes]
        self.process = context.Process(target=_serve, args=[theirs for _, theirs in pipes], daemon=True)
        self.process.start()
        self.idle: SimpleQueue[Connection] = SimpleQueue()
        for ours, theirs in pipes:
            self.idle.put(ours)
            theirs.close()
        self.threads = ThreadPoolExecutor(len(pipes))

    def submit(self, *call: object) -> Future[bytes | None]:
        """Call a function with arguments and options there; the result is None if it raised, or the process died."""
        return self.threads.submit(self._send, call)

    def _send(self, call: tuple[object, ...]) -> bytes | None:
        """Return the plot that a process draws, or None if the process has died."""
        connection = self.idle.get()
        try:
            connection.send(call)
            drawn: bytes | None = connection.recv()
        except (EOFError, OSError):
            return None
        finally:
            self.idle.put(connection)
        return drawn

    def close(self) -> None:
        """End the process, and forget what it has not begun to draw."""
        self.threads.shutdown(cancel_futures=True)
        for connection in self.connections:
            connection.close()
        self.process.join()


_processes: list[PlotProcess] = []
"""The process that draws, if there is one."""


@contextmanager
def plot_process(is_wanted: bool) -> Iterator[None]:
    """Inside the block, `draw_in_background` uses a process, if plots are wanted and there is a second CPU core.

    The process loads matplotlib, which takes as long as some epochs of a small model, while the model is trained.
    """
    if not is_wanted or _processes or available_cores() == 1:
        yield
        return
    process = PlotProcess()
    _processes.append(process)
    try:
        yield
    finally:
        _processes.clear()
        process.close()


def draw_in_background(
    draw: Callable[Parameters, bytes], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Picture:
    """Return what `draw`, a module-level function, returns. It is called at once in the process of `plot_process`.

    Without that process, or if it has died, `draw` is called in this process when the picture is wanted.
    """
    if not _processes:
        return partial(draw, *arguments, **options)
    future = _processes[0].submit(draw, arguments, options)
    return lambda: future.result() or draw(*arguments, **options)  # an error is raised again, here


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(*connections: Connection) -> None:
    """Draw what the connections ask for until they are closed; the second connection is that of a fork."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    from mnist_trainer.reports import curves, plots  # noqa: F401

    render((100, 100), "", _draw_first)
    has_fork = len(connections) > 1 and os.fork() > 0
    own = connections[0 if has_fork else -1]
    for connection in connections:
        if connection is not own:
            connection.close()
    with suppress(EOFError, OSError):
        while True:
            draw, arguments, options = own.recv()
            try:
                drawn = draw(*arguments, **options)
            except Exception:
                drawn = None
            own.send(drawn)
    if has_fork:
        os.wait()
    os._exit(0)  # skips the teardown of matplotlib, which the parent would wait for


def _draw_first(figure: Figure) -> None:
    """Draw some of everything, which fills matplotlib's caches."""
    axes = figure.add_subplot(title="0")
    axes.imshow([[0, 1]])
    axes.plot([0, 1], [0, 1], label="0")
    axes.legend()
