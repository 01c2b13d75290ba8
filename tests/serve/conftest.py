"""A client of the server in this process, without a port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from fastapi import FastAPI


class Client:
    """Sends requests to an app, each in an event loop of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer to one request."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with (
                self.app.router.lifespan_context(self.app),
                httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
            ):
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a POST."""
        return self.request("POST", path, **options)


Connect = Callable[..., Client]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """Return a client of a new server; the arguments are those of `create_app`."""
    from mnist_trainer.serve.app import create_app

    return lambda *models, **settings: Client(
        create_app(models or ("bundled",), **{"runs_dir": tmp_path / "runs", **settings})
    )


@pytest.fixture
def client(connect: Connect) -> Client:
    """A client of a server on this machine with the bundled model."""
    return connect()
