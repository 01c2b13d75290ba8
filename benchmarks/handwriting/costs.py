"""`time` and `memory`: what reading costs. Linux alone: memory is what /proc says."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image

from handwriting.bench import Bench, Pixels, head, row
from handwriting.unchanged import with_more_paper
from mnist_trainer.pipeline.predict import InputImage
from mnist_trainer.simulator.photographs import photograph

COSTS = 7
"""Where the random numbers of a part begin."""

PHONE = 12
"""Megapixels of a telephone's camera."""

HUGE: tuple[tuple[str, str, int], ...] = (
    ("JPEG", "RGB", 12),
    ("JPEG", "RGB", 24),
    ("JPEG", "RGB", 100),
    ("progressive JPEG", "RGB", 100),
    ("PNG", "RGB", 24),
    ("PNG", "L", 150),
    ("PNG", "RGB", 150),
    ("PNG", "P", 150),
    ("PNG", "I;16", 150),
)
"""Format, Pillow's mode and megapixels."""

# Not ru_maxrss, which begins with the memory of the process that starts this one.
PEAK = """import atexit, pathlib, re
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]))
"""


def time(bench: Bench) -> Iterator[str]:
    """Seconds for a telephone's photograph and for the whole command, small files a second."""
    with TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        phone_photo(bench).save(photo, quality=90)
        yield head("time", "median", "each")
        yield _seconds(f"a JPEG of {PHONE} megapixels, after start", _repeated(bench, [photo], 5))
        for name, images in small_images(bench).items():
            paths = [Path(folder) / f"{name}-{number}.png" for number in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                Image.fromarray(image).save(path)
            speeds = [len(paths) / seconds for seconds in _repeated(bench, paths, 3)]
            title = f"28×28 files {name}, {len(paths):,} in one call"
            yield row(title, f"{median(speeds):,.0f} a second", ", ".join(f"{speed:,.0f}" for speed in speeds))
        yield from _whole_command(bench, photo, paths[0])


def _repeated(bench: Bench, paths: Sequence[Path], times: int) -> list[float]:
    """Seconds of each reading, but for a first one that is not counted."""
    seconds = []
    for _ in range(times + 1):
        started = perf_counter()
        list(bench.reader.read(InputImage(str(path), path) for path in paths))
        seconds.append(perf_counter() - started)
    return seconds[1:]


def _whole_command(bench: Bench, photo: Path, small: Path) -> Iterator[str]:
    """Alternating, so that whatever else the machine does falls to all of them."""
    alone = "`import torch`"
    commands = {
        alone: [sys.executable, "-c", "import torch"],
        "`mnist-predict` with one 28×28 file": _predict(bench, small),
        "`mnist-predict` with the photograph": _predict(bench, photo),
    }
    runs = [{name: _timed(command) for name, command in commands.items()} for _ in range(8)][1:]
    for which, kind in enumerate(("CPU (user + system)", "wall")):
        seconds = {name: [run[name][which] for run in runs] for name in commands}
        for name in commands:
            times = "" if name == alone else f", {median(seconds[name]) / median(seconds[alone]):.2f} × {alone}"
            yield _seconds(f"{name}, {kind}", seconds[name], times)


def _predict(bench: Bench, path: Path) -> list[str]:
    return [sys.executable, "-m", "mnist_trainer.cli.mnist_predict", str(path), "--checkpoint", bench.checkpoint]


def _timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of CPU and of wall time that a process took."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def _seconds(name: str, seconds: Sequence[float], more: str = "") -> str:
    return row(name, f"{median(seconds):.2f} s{more}", ", ".join(f"{each:.2f}" for each in seconds))


def small_images(bench: Bench) -> dict[str, Pixels]:
    """Images [N, 28, 28]: jagged and off-centre, as they come from a canvas, and as MNIST has them."""
    images = bench.digits[0][: bench.count]
    jagged = np.where(np.roll(images, (3, -2), (1, 2)) > 127, np.uint8(255), np.uint8(0))
    return {"as from a canvas": jagged, "as MNIST's": images}


def phone_photo(bench: Bench) -> Image.Image:
    """12 megapixels with the noise of a camera."""
    large = enlarged(bench, "RGB", PHONE)
    random = np.random.default_rng([COSTS, 1])
    noise = 4 * random.standard_normal((large.height, large.width, 3), np.float32)
    return Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))


def enlarged(bench: Bench, mode: str, megapixels: int) -> Image.Image:
    """A photograph of a digit, four to three."""
    picture, _ = photograph(bench.digits[0][0], np.random.default_rng([COSTS, 0]), "pen")
    height, width = picture.shape[:2]
    picture = with_more_paper(picture, 0, max(0, 4 * height / 3 / width - 1))
    picture = with_more_paper(picture, 1, max(0, 3 * width / 4 / height - 1))
    image = Image.fromarray(picture)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    width = int((megapixels * 1e6 * 4 / 3) ** 0.5)
    smooth = Image.Resampling.BICUBIC if mode in ("L", "RGB") else Image.Resampling.NEAREST
    return (image if mode == "I;16" else image.convert(mode)).resize((width, width * 3 // 4), smooth)


def memory(bench: Bench) -> Iterator[str]:
    """Peak memory of the whole command, in 10⁶ bytes."""
    alone = peak("import torch")
    yield head("memory", "peak MB", "above `import torch`")
    yield row("`import torch`", f"{alone:.0f}", "")
    with TemporaryDirectory() as folder:
        for form, mode, megapixels in HUGE:
            path = Path(folder) / "picture"
            image = enlarged(bench, mode, megapixels)
            image.save(path, form.split()[-1], progressive="progressive" in form, compress_level=1)
            del image
            arguments = ["mnist-predict", str(path), "--checkpoint", bench.checkpoint]
            used = peak(
                f"import sys; sys.argv = {arguments!r}\nfrom mnist_trainer.cli.mnist_predict import main; main()"
            )
            yield row(f"{form}, {mode}, {megapixels} megapixels", f"{used:.0f}", f"{used - alone:.0f}")


def peak(code: str) -> float:
    """Megabytes (10⁶ bytes) at the highest point of a Python process that runs `code`."""
    done = subprocess.run([sys.executable, "-c", PEAK + code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * 1024 / 1e6
