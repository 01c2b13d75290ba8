"""Which requests are answered: the checks of Host, Origin and token, the limits of uploads, and the headers of answers.

Sources: DNS rebinding, https://crypto.stanford.edu/dns/dns-rebinding.pdf; forged requests of other pages,
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from secrets import token_urlsafe
from time import monotonic

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

BUG = "This is a bug in mnist-trainer, not a mistake of yours. Please report it, with what the server printed."

LOOPBACK = ("127.0.0.1", "localhost", "::1")

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that change nothing."""

OPEN_PATHS = ("/healthz",)
"""Paths that are answered without the token."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Headers of each answer, unless a route sets its own."""


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    All uploads together may hold `buffer_bytes` in memory. `reads` may wait or run at once.
    """

    upload_bytes: int = 20_000_000
    upload_seconds: float = 60.0
    buffer_bytes: int = 200_000_000
    reads: int = 32
    read_seconds: float = 60.0


LIMITS = Limits()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to `host`."""
    return host in LOOPBACK or (_is_address(host) and ip_address(host).is_loopback)


def new_token() -> str:
    """Return a random token."""
    return token_urlsafe(16)


def error_response(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as all routes answer it."""
    return JSONResponse({"error": text}, status, headers)


class SecurityMiddleware:
    """Answers only requests of the server's own page and of programs; if there is a token, only with it.

    A page of another site can make a browser send requests to this machine. Its name in the Host header, or its own
    address in the Origin header, gives it away. Programs such as curl send no Origin.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None, limits: Limits = LIMITS) -> None:
        self.app, self.host, self.token, self.limits = app, host, token, limits
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, upload = Request(scope), _Upload(self, receive)
        cookie = self._new_cookie(request)
        app = self._refusal(request) or self.app
        has_started = False

        async def send_with_headers(message: Message) -> None:
            """Send a part of the answer, the first one with `HEADERS`."""
            nonlocal has_started
            has_started = True
            await send(_with_headers(message, cookie))

        try:
            await app(scope, upload.receive, send_with_headers)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            _log.error("%s %s: %r", request.method, request.url.path, error, exc_info=_log.isEnabledFor(logging.DEBUG))
            if not has_started:
                await error_response(500, BUG)(scope, receive, send_with_headers)
        finally:
            self.held_bytes -= upload.num_bytes

    def _refusal(self, request: Request) -> JSONResponse | None:
        """Return the answer to a request that is refused, else None."""
        headers = request.headers
        host = headers.get("host", "")
        if not self._is_own_name(_split_host(host)[0]):
            return error_response(403, "This server is not known by the name in the Host header. Use its own address.")
        if request.method not in SAFE_METHODS and not _is_same_origin(request, host):
            return error_response(403, "Another site's page sent this request (Origin header). Use this server's page.")
        if self.token is not None and request.url.path not in OPEN_PATHS and not self._has_token(request):
            return error_response(401, "The token is missing or wrong. Open the address that mnist-serve printed.")
        if _content_length(request) > self.limits.upload_bytes:
            return error_response(413, too_large(self.limits))
        return None

    def _is_own_name(self, name: str) -> bool:
        """Return whether `name` is this server's; a rebound DNS name never is, and an address can't be one."""
        if is_loopback(self.host):
            return is_loopback(name)
        own = socket.gethostname().lower()
        return name in (*LOOPBACK, self.host.lower(), own, f"{own}.local") or _is_address(name)

    def _has_token(self, request: Request) -> bool:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = (
            bearer if kind.lower() == "bearer" else "",
            request.query_params.get("token", ""),
            request.cookies.get(self._cookie_name(request), ""),
        )
        return any(hmac.compare_digest(each.encode(), str(self.token).encode()) for each in given)

    def _cookie_name(self, request: Request) -> str:
        """Return a name with the port: browsers send cookies to all ports of a host."""
        return f"mnist-serve-{_split_host(request.headers.get('host', ''))[1] or 80}"

    def _new_cookie(self, request: Request) -> str | None:
        """Return the cookie for a browser that opened the address with the token."""
        if self.token is None or "token" not in request.query_params or not self._has_token(request):
            return None
        return f"{self._cookie_name(request)}={self.token}; Path=/; HttpOnly; SameSite=Strict"


class _Upload:
    """The body of one request: it is limited in size and time while it arrives."""

    def __init__(self, middleware: SecurityMiddleware, receive: Receive) -> None:
        self.middleware, self.next = middleware, receive
        self.num_bytes, self.is_complete = 0, False
        self.deadline = monotonic() + middleware.limits.upload_seconds

    async def receive(self) -> Message:
        """Return the next part of the body. Raises `HTTPException` if it is too large or too slow."""
        if self.is_complete:
            return await self.next()
        limits = self.middleware.limits
        try:
            async with asyncio.timeout(max(0.0, self.deadline - monotonic())):
                message = await self.next()
        except TimeoutError:
            raise HTTPException(
                408, f"The request took longer than {limits.upload_seconds:g} seconds to arrive."
            ) from None
        size = len(message.get("body", b""))
        self.num_bytes += size
        self.middleware.held_bytes += size
        self.is_complete = not message.get("more_body", False)
        if self.num_bytes > limits.upload_bytes:
            raise HTTPException(413, too_large(limits))
        if self.middleware.held_bytes > limits.buffer_bytes:
            raise HTTPException(429, "Too many uploads at once. Try again later.", {"Retry-After": "1"})
        return message


def too_large(limits: Limits) -> str:
    """Return the error of an upload that is too large."""
    return f"A request may have {limits.upload_bytes / 1e6:g} MB at most. Send fewer or smaller pictures."


def _with_headers(message: Message, cookie: str | None) -> Message:
    """Add `HEADERS` and the cookie to the start of an answer."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if cookie is not None:
            headers.append("set-cookie", cookie)
    return message


def _content_length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


def _split_host(host: str) -> tuple[str, str]:
    """Return the name or address in a Host header, without the brackets of IPv6, and the port; empty if it has none."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d+))?", host.lower())
    return (found[1] or found[2], found[3] or "") if found else ("", "")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_same_origin(request: Request, host: str) -> bool:
    """Return whether a request comes from the page of this server, or from a program that is no browser."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
