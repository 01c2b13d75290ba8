"""Load what plots need when this module is imported, and draw a first figure, which fills matplotlib's caches.

Only the processes of `canvas.plot_process` import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_trainer.reports import curves, plots  # noqa: F401
from mnist_trainer.reports.canvas import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _draw(figure: Figure) -> None:
    axes = figure.add_subplot(title="0")
    axes.imshow([[0, 1]])
    axes.plot([0, 1], [0, 1], label="0")
    axes.legend()


render((100, 100), "", _draw)
