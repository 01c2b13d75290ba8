"""A client of the server in this process, without a port, and a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
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


AXE = os.environ.get("AXE_CORE")
"""The file axe.min.js of npm's axe-core."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which can't look up any name."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        yield driver.chromium.launch(executable_path=CHROMIUM, args=options)


@pytest.fixture(scope="session")
def accessibility_faults() -> Callable[[Any], list[str]] | None:
    """Return the faults of a page that axe-core calls serious or critical; None where axe-core is missing."""
    if AXE is None:
        return None
    script = Path(AXE).read_text(encoding="utf-8")

    def run(page: Any) -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run().then((result) => result.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in serious]

    return run


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
