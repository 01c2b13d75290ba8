"""Runs the app on a port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_trainer.errors import UsageError

HEAD_SECONDS = 10.0
"""A connection is closed if its next request is incomplete for so long, or up to twice of it."""

SLOWEST_READ = 1000.0
"""A connection is closed as well if its client reads an answer with fewer bytes a second."""

KEEP_ALIVE_SECONDS = 60
"""A connection is closed if there is no further request for so long; browsers and clients that wait use it again."""

GRACE_SECONDS = 1
"""At the end, answers that are on their way have this long to be completed."""

MAX_CONNECTIONS = 500


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`; 0 is any free port. Raises `UsageError` if that fails."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = host == "::" and socket.has_dualstack_ipv6()  # IPv4, too
        listener = socket.create_server(address, family=family, dualstack_ipv6=both)
        # Connections inherit it. asyncio sets it only if the listener was created with the protocol's number.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"Port {port} of {host} is in use, maybe by another mnist-serve. Choose another one with --port."
            ) from None
        reason = str(error.strerror or error).partition(" (while")[0]
        raise UsageError(f"{host}, port {port}, can't be opened: {reason}.") from None


def run(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C. Then it ends within two seconds, and raises `KeyboardInterrupt`."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_error)
    server = uvicorn.Server(config)
    app.state.is_ending = lambda: server.should_exit
    server.run(sockets=[listener])


def _is_error(record: logging.LogRecord) -> bool:
    """Return whether uvicorn reports an error, and not that it cancels answers at the end."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "graceful shutdown" not in record.getMessage()


class ImpatientProtocol(H11Protocol):
    """Closes connections whose clients are slow to send a request or to read an answer; uvicorn waits for ever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._check_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _check_later(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._check, self.cycle, unread)

    def _check(self, previous: Any, unread: int) -> None:
        """Close the connection if since the last check its request is still incomplete, or `unread` hardly shrank."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        is_idle = is_answered and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        is_waiting = not is_idle and (self.cycle is None or is_answered)
        num_read = unread - self.transport.get_write_buffer_size()
        if self.cycle is previous and unread and num_read < HEAD_SECONDS * SLOWEST_READ:
            self.transport.abort()
        elif self.cycle is previous and is_waiting:
            self.transport.close()  # after what is unread
        self._check_later()
