"""Asks one server for one file: what it answers, or in a few words why not, whether to ask again, and the remedy.

The standard library does the speaking (proxies and certificates come from the environment), for what is left to do is
the same with any other.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, responses
from ssl import SSLCertVerificationError
from time import monotonic, time
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener, getproxies, proxy_bypass

TIMEOUT = 30.0
"""Seconds without an answer, or without a further byte, after which a try is over."""
SLOWEST = 1000.0
"""Bytes a second, over such a time; below it a try is over too."""
LONGEST_PAUSE = 60.0
"""A server that wants to be left alone for longer is."""
CHUNK = 1 << 16

CERTIFICATES = (
    "Certificates come from the system, or from the file that SSL_CERT_FILE names: your network's own, or the usual "
    "ones, which `pip install certifi` brings and `python -m certifi` locates."
)
PROXY = "Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY."
LOG_IN = "Where a network or its proxy wants a log-in first, do that in a browser."


class MirrorError(Exception):
    """Why a URL did not give the file; whether it may do so later, and after how many seconds."""

    def __init__(self, reason: str, again: bool = False, pause: float = 0, remedy: str = "") -> None:
        super().__init__(reason)
        self.again, self.pause, self.remedy = again, pause, remedy


def chunks_of(response: HTTPResponse) -> Iterator[bytes]:
    """What comes in. Raises MirrorError when it stops coming."""
    # Network errors are OSErrors, as are those of the disk: they are told apart by being caught here.
    since, received = monotonic(), 0
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
            received += len(chunk)
            if (seconds := monotonic() - since) > TIMEOUT:
                if received < SLOWEST * seconds:
                    raise TimeoutError(f"it sent {received:,} bytes in {seconds:.0f} seconds")
                since, received = monotonic(), 0
    except (OSError, HTTPException) as error:
        raise MirrorError(_plain(error), again=True) from None


class _Redirects(HTTPRedirectHandler):
    """At most ten, as everywhere; their own content, which may be endless, is not read."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        fp.close()
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opened(url: str, begin: int) -> HTTPResponse | None:
    """The answer to a request for the bytes from `begin` on; None when the server says that there are none."""
    request = Request(url, headers={"User-Agent": "mnist-trainer"})  # some servers refuse urllib's own name
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    try:
        response: HTTPResponse = build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise _refused(error) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _unreachable(url, reason if isinstance(reason, Exception) else OSError(reason)) from None
    return response


def _refused(error: HTTPError) -> MirrorError:
    # The words are ours: what a server writes is not for a terminal.
    reason = f"HTTP {error.code} {responses.get(error.code, '')}".strip()
    if 300 <= error.code < 400:
        return MirrorError(f"{reason}, and its redirects lead nowhere")
    pause = _seconds(error.headers.get("Retry-After", ""))
    if pause > LONGEST_PAUSE:
        return MirrorError(f"{reason}, and it wants to be asked again in {pause:,.0f} seconds")
    again = error.code in (408, 425, 429) or error.code >= 500
    return MirrorError(reason, again, pause, remedy=LOG_IN if error.code in (407, 511) else "")


def _seconds(retry_after: str) -> float:
    """`120` or a date, as HTTP has it; 0 for anything else."""
    if re.fullmatch(r"\d{1,9}", retry_after):
        return float(retry_after)
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time(), 0)
    except (ValueError, OverflowError):
        return 0


def _unreachable(url: str, error: Exception) -> MirrorError:
    """A server that could not be spoken to; without a name for it, or with a wrong certificate, it is for good."""
    reason = _plain(error)
    if isinstance(error, SSLCertVerificationError):
        return MirrorError(f"its certificate cannot be verified ({error.verify_message})", remedy=CERTIFICATES)
    kind, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
    again = not (isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME)
    variable, proxy = f"{kind.upper()}_PROXY", getproxies().get(kind)
    if proxy is None or proxy_bypass(host):
        return MirrorError(reason, again, remedy=PROXY)
    address = re.sub(r".*[/@]", "", proxy.rstrip("/"))  # without a password
    return MirrorError(f"{reason}, through the proxy {address}", again, remedy=f"Correct {variable}, or unset it.")


def _plain(error: Exception) -> str:
    """`Name or service not known` instead of `[Errno -2] Name or service not known`; nothing that a server wrote."""
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return f"its answer is cut or no proper HTTP ({type(error).__name__})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
