"""Fetches one file from the first mirror that gives it whole. (Retries, resuming and proxies belong here as well.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mnist_trainer.data.damage import DamagedError

Progress = Callable[[str, int, int | None], None]
"""Called while data come in: what is done (`downloading train.gz`), bytes so far, bytes in all (None if not known)."""

TIMEOUT = 30.0
"""Seconds without an answer, or without a further byte, after which a mirror is given up."""

CHUNK = 1 << 18


class UnreachableError(Exception):
    """No mirror gave the file; the text has each server and its reason."""


class _MirrorError(Exception):
    pass


def fetch(urls: Sequence[str], target: Path, check: Callable[[Path], None], progress: Progress | None = None) -> str:
    """The URL that filled `target` with content that `check` accepts (it raises DamagedError otherwise).

    Raises UnreachableError when no URL does, OSError when `target` cannot be written.
    """
    reasons = []
    for url in urls:
        try:
            _receive(url, target, progress)
            check(target)
        except (_MirrorError, DamagedError) as error:
            reasons.append(f"{urlsplit(url).netloc}: {error}")
        else:
            return url
    raise UnreachableError("; ".join(reasons))


def _receive(url: str, target: Path, progress: Progress | None) -> None:
    name = urlsplit(url).path.rpartition("/")[2]
    with target.open("wb") as file, _opened(url) as response:
        total = response.length
        for chunk in _chunks(response):
            file.write(chunk)
            if progress is not None:
                progress(f"downloading {name}", file.tell(), total)
        if total is not None and file.tell() < total:
            raise _MirrorError(f"the connection ended after {file.tell():,} of {total:,} bytes")


def _opened(url: str) -> HTTPResponse:
    # Some servers refuse urllib's own name.
    request = Request(url, headers={"User-Agent": "mnist-trainer"})
    try:
        return cast(HTTPResponse, urlopen(request, timeout=TIMEOUT))
    except HTTPError as error:
        error.close()
        raise _MirrorError(f"HTTP {error.code} {error.reason}") from None
    except URLError as error:
        raise _MirrorError(_plain(error.reason)) from None
    except (OSError, HTTPException) as error:
        raise _MirrorError(_plain(error)) from None


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    # Network errors are OSErrors, as are those of the disk: they are told apart by being caught here.
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _MirrorError(_plain(error)) from None


def _plain(reason: str | BaseException) -> str:
    """`Name or service not known` instead of `[Errno -2] Name or service not known`."""
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
