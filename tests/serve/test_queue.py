"""The queue in which pictures are read: its limits, and clients that go away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fastapi import HTTPException
from starlette.requests import ClientDisconnect, Request

from mnist_trainer.serve.read import ReadQueue
from mnist_trainer.serve.security import Limits


def request(disconnects: asyncio.Event | None = None) -> Request:
    """A request whose body is complete, and whose client goes away when the event is set."""

    async def receive() -> dict[str, Any]:
        await (disconnects or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def wait_for_stop(stop: Event) -> str:
    assert stop.wait(60)
    return "stopped"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_too_many_reads_are_refused_until_one_is_done() -> None:
    async def main() -> None:
        queue, release = ReadQueue(Limits(reads=1)), Event()
        first = asyncio.create_task(queue.run(request(), lambda stop: release.wait(60)))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await queue.run(request(), wait_for_stop)
        assert refused.value.status_code == 429 and refused.value.headers == {"Retry-After": "1"}
        release.set()
        assert await first is True
        assert await queue.run(request(), lambda stop: "next") == "next"

    asyncio.run(main())


def test_a_client_that_goes_away_stops_its_work() -> None:
    async def main() -> None:
        queue, gone, stopped, begun = ReadQueue(Limits(reads=1)), asyncio.Event(), Event(), Event()

        def work(stop: Event) -> None:
            begun.set()
            wait_for_stop(stop)
            stopped.set()

        task = asyncio.create_task(queue.run(request(gone), work))
        await until(begun.is_set)
        gone.set()
        with pytest.raises(ClientDisconnect):
            await task
        await until(stopped.is_set)
        await until(lambda: queue.slots._value == 1)  # the slot is free when the thread is, not before

    asyncio.run(main())


def test_work_that_waits_is_not_begun_when_its_client_has_gone() -> None:
    async def main() -> None:
        queue, gone, release, begun = ReadQueue(Limits(reads=2)), asyncio.Event(), Event(), Event()
        queue.threads._max_workers = 1
        first = asyncio.create_task(queue.run(request(), lambda stop: release.wait(60)))
        await asyncio.sleep(0)
        second = asyncio.create_task(queue.run(request(gone), lambda stop: begun.set()))
        await asyncio.sleep(0)
        gone.set()
        with pytest.raises(ClientDisconnect):
            await second
        assert queue.slots._value == 1
        release.set()
        await first
        assert not begun.is_set()

    asyncio.run(main())


def test_work_that_takes_too_long_is_stopped() -> None:
    async def main() -> None:
        with pytest.raises(HTTPException) as late:
            await ReadQueue(Limits(read_seconds=0.01)).run(request(), wait_for_stop)
        assert late.value.status_code == 413 and "longer than 0.01 seconds" in late.value.detail

    asyncio.run(main())


def test_errors_of_the_work_are_raised() -> None:
    def fail(stop: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ReadQueue(Limits()).run(request(), fail))
