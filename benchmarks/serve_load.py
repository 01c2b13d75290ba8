"""Measure `mnist-serve` under load: clients that each send pictures one after another, and heed Retry-After.

    python benchmarks/serve_load.py > serve_load.md     # 50 clients, 20 pictures each
    python benchmarks/serve_load.py --tiny     # shows that it works, and measures nothing

The pictures are simulated photographs of digits; all clients send the same ones. An answer is right if it is that of
`predict`. The time of a picture is from its first request to its answer, with all waiting. The CPU time and the memory
are those of the server's process (Linux); on a busy machine the CPU time tells how long a quiet one would take.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np

from mnist_trainer import predict
from mnist_trainer.data.digits import load_digits
from mnist_trainer.reports.canvas import encode_png
from mnist_trainer.simulator.photographs import photograph

PATIENCE = 600.0
"""Seconds after which a request fails."""


@dataclass(frozen=True)
class Picture:
    """A picture as a PNG, and the probabilities that `predict` gives for it."""

    png: bytes
    digits: list[list[float]]


@dataclass(frozen=True)
class Answer:
    """How a picture was answered: whether as by `predict`, how often it had to be sent, and the seconds in all."""

    is_right: bool
    requests: int
    seconds: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="clients at the same time")
    parser.add_argument("--pictures", type=int, default=20, help="pictures that each client sends")
    parser.add_argument("--tiny", action="store_true", help="3 clients with 2 pictures each")
    arguments = parser.parse_args()
    clients, count = (3, 2) if arguments.tiny else (arguments.clients, arguments.pictures)
    pictures = make_pictures(count)
    with server() as (address, process):
        before = memory(process.pid, "VmRSS")
        start, cpu_start = perf_counter(), cpu_seconds(process.pid)
        answers = asyncio.run(load(address, pictures, clients))
        seconds, cpu = perf_counter() - start, cpu_seconds(process.pid) - cpu_start
        print("\n".join(table(answers, seconds, cpu, before, memory(process.pid, "VmHWM"))))
    if not all(answer.is_right for answer in answers):
        sys.exit(1)


def make_pictures(count: int) -> list[Picture]:
    """Return simulated photographs, the same ones each time."""
    images = np.asarray(load_digits("test").images)
    drawn = [photograph(images[number], np.random.default_rng([4, number]))[0] for number in range(count)]
    found = [[list(digit.probabilities) for digit in prediction.digits] for prediction in predict(drawn)]
    from PIL import Image

    return [Picture(encode_png(Image.fromarray(each)), digits) for each, digits in zip(drawn, found, strict=True)]


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address of a server and its process, which ends after the block as by Ctrl-C."""
    command = [sys.executable, "-m", "mnist_trainer", "serve", "--port", "0", "--read-only"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(signal.SIGINT)


async def load(address: str, pictures: Sequence[Picture], clients: int) -> list[Answer]:
    """Return the answers to all pictures of all clients, which begin at once."""
    each = await asyncio.gather(*(send_all(address, pictures) for _ in range(clients)))
    return [answer for answers in each for answer in answers]


async def send_all(address: str, pictures: Sequence[Picture]) -> list[Answer]:
    """Return the answers that one client gets, which sends a picture after the answer to the one before."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as client:
        return [await send(client, picture) for picture in pictures]


async def send(client: httpx.AsyncClient, picture: Picture) -> Answer:
    """Send a picture until it is read."""
    start, requests = perf_counter(), 0
    while True:
        response = await client.post("/v1/read", content=picture.png)
        requests += 1
        if response.status_code != 429:
            break
        await asyncio.sleep(int(response.headers["retry-after"]))
    is_right = response.status_code == 200 and digits_of(response.json()) == picture.digits
    return Answer(is_right, requests, perf_counter() - start)


def digits_of(answer: dict[str, Any]) -> list[list[float]]:
    """Return the probabilities of all digits in an answer to one picture."""
    (prediction,) = answer["predictions"]
    return [digit["probabilities"] for digit in prediction["digits"]]


def memory(pid: int, key: str) -> float:
    """Return a process's present (VmRSS) or largest (VmHWM) memory in MB."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(answers: Sequence[Answer], seconds: float, cpu: float, before: float, largest: float) -> Iterator[str]:
    """Yield a table of one row."""
    right, refused = sum(answer.is_right for answer in answers), sum(answer.requests - 1 for answer in answers)
    median, p95 = np.quantile([answer.seconds for answer in answers], [0.5, 0.95])
    yield "| pictures | right | seconds | CPU ms a picture | median s | p95 s | 429 | MB before | MB at most |"
    yield f"|{'---|' * 9}"
    yield (
        f"| {len(answers):,} | {right:,} | {seconds:.1f} | {1000 * cpu / len(answers):.1f} | {median:.2f} | {p95:.2f} "
        f"| {refused:,} | {before:.0f} | {largest:.0f} |"
    )


if __name__ == "__main__":
    main()
