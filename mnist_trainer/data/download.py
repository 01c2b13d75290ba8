"""Fetches one file: from several mirrors, several times, going on where it was cut, and never more than it can have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPResponse
from itertools import chain
from pathlib import Path
from random import SystemRandom
from time import sleep
from typing import IO
from urllib.parse import urlsplit

from mnist_trainer.data.mirror import LOG_IN, MirrorError, chunks_of, opened
from mnist_trainer.data.partial import partial_of
from mnist_trainer.data.paths import DamagedError, write_to_first

Progress = Callable[[str, int, int | None], None]
"""Called while data come in: what is done (`downloading train.gz`), bytes so far, bytes in all (None if not known)."""

PAUSES = (1.0, 3.0, 9.0)
"""Seconds between the rounds over the mirrors that may do better next time, at least; half as much again at most."""


class UnreachableError(Exception):
    """No mirror gave the file; the text has each server and its reason, `remedies` what may help."""

    def __init__(self, failures: dict[str, MirrorError]) -> None:
        self.remedies = tuple(dict.fromkeys(failure.remedy for failure in failures.values() if failure.remedy))
        super().__init__("; ".join(f"{urlsplit(url).netloc}: {failure}" for url, failure in failures.items()))


class _FetchedError(Exception):
    """Another process, which was waited for, has fetched the file."""


def download(
    urls: Sequence[str], folders: Sequence[Path], check: Callable[[Path], None], most: int, progress: Progress
) -> Path:
    """Where the file is that all `urls` name: in the first of `folders` that takes it. Several processes may want it
    at once: one downloads, the others wait. Raises UnreachableError and StorageError.
    """
    name = _name(urls[0])

    def waiting() -> None:
        progress(f"waiting for another process to download {name}", 0, None)

    def write(path: Path) -> None:
        target = path.with_name(name)
        with partial_of(target, waiting) as partial:
            if target.is_file():
                raise _FetchedError(target)
            fetch(urls, partial, check, most, progress)
            partial.replace(path)

    try:
        return write_to_first(folders, name, write)
    except _FetchedError as other:
        path: Path = other.args[0]
        return path


def fetch(urls: Sequence[str], partial: Path, check: Callable[[Path], None], most: int, progress: Progress) -> str:
    """The URL that filled the file `partial`, after what it holds already, with content that `check` accepts (it raises
    DamagedError otherwise). Never more than `most` bytes are written.

    Raises UnreachableError when no URL does: what was received is kept for the next time. Raises OSError when `partial`
    cannot be written.
    """
    failures: dict[str, MirrorError] = {}
    waiting = list(urls)
    for pause in (*PAUSES, None):
        for url in waiting:
            try:
                _fill(partial, url, check, most, progress)
            except MirrorError as failure:
                failures[url] = failure
            else:
                return url
        waiting = [url for url in waiting if failures[url].again]
        if not waiting or pause is None:
            break
        hosts = ", ".join(f"{urlsplit(url).netloc} ({failures[url]})" for url in waiting)
        progress(f"waiting to ask again: {hosts}", 0, None)
        longest = max(pause, *(failures[url].pause for url in waiting))
        sleep(longest * SystemRandom().uniform(1, 1.5))  # not all of a class at the same moment
    raise UnreachableError(failures)


def _fill(partial: Path, url: str, check: Callable[[Path], None], most: int, progress: Progress) -> None:
    """Receives what is missing. The content decides: neither a length that was promised, nor where the rest is from."""
    partial.touch()
    begun, failure = partial.stat().st_size > 0, None
    try:
        _receive(partial, url, most, progress)
    except MirrorError as error:
        if not error.again:
            raise
        failure = error
    try:
        check(partial)
    except DamagedError as damage:
        if failure is not None:
            raise failure from None
        partial.write_bytes(b"")
        if not begun:
            raise MirrorError(str(damage)) from None
        _fill(partial, url, check, most, progress)  # its beginning was of another file: once more, from the first byte


def _receive(partial: Path, url: str, most: int, progress: Progress) -> None:
    with partial.open("ab") as file:
        response = opened(url, file.tell())
        if response is None:
            return
        with response:
            total, chunks = _beginning(response, file, most)
            for chunk in chunks:
                file.write(chunk)
                if file.tell() > most:
                    file.truncate(0)
                    raise MirrorError(f"it sends more than the {most:,} bytes that the file has at most")
                progress(f"downloading {_name(url)}", file.tell(), total)
        if total is not None and file.tell() < total:
            raise MirrorError(f"the connection ended after {file.tell():,} of {total:,} bytes", again=True)


def _beginning(response: HTTPResponse, file: IO[bytes], most: int) -> tuple[int | None, Iterator[bytes]]:
    """How many bytes the whole file has, as the server says (None: it does not), and what is to be added to `file`,
    which is emptied if the server begins anew."""
    total, goes_on = response.length, response.status == 206
    if goes_on:
        found = re.fullmatch(r"bytes \d{1,15}-\d{1,15}/(\d{1,15})", response.headers.get("Content-Range", ""))
        total = int(found[1]) if found else None
    if total is not None and total > most:
        raise MirrorError(f"it announces {total:,} bytes, and the file has {most:,} at most")
    chunks = chunks_of(response)
    first = next(chunks, b"")
    if not goes_on:
        if response.headers.get_content_type() == "text/html" or first.lstrip().startswith(b"<"):
            raise MirrorError("it sent a web page instead of the file", remedy=LOG_IN)
        file.seek(0)
        file.truncate()
    return total, chain([first], chunks)


def _name(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]
