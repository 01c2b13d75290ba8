"""The routes that read pictures, and the queue in which they are read."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore, Event
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from PIL import Image
from starlette.requests import ClientDisconnect

from mnist_trainer.inference.reading import Prediction
from mnist_trainer.pictures.page import Expect
from mnist_trainer.pipeline.predict import InputImage
from mnist_trainer.reports.canvas import available_cores, encode_png
from mnist_trainer.reports.digit_images import step_panels
from mnist_trainer.serve.models import Models, ServedModel
from mnist_trainer.serve.samples import random_digit, random_photograph
from mnist_trainer.serve.security import Limits
from mnist_trainer.serve.uploads import received_pictures

T = TypeVar("T")

PICTURE = {"type": "string", "format": "binary"}
READ_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"files": {"type": "array", "items": PICTURE}}}
            },
            "image/*": {"schema": PICTURE},
        },
    }
}
"""What OpenAPI says of the body, which is not parsed by FastAPI."""


def read_router(models: Models, limits: Limits) -> APIRouter:
    """Return the routes that read pictures."""
    router, queue = APIRouter(), ReadQueue(limits)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """List the models that read pictures."""
        return {"models": [model.to_json() for model in models.fixed.values()]}

    @router.post("/v1/read", openapi_extra=READ_BODY)
    async def read(request: Request, model: str = "", expect: Expect = "auto", details: bool = False) -> Response:
        """Read the digits on one or many pictures: files in the field `files` of a form, or one picture as the body.

        `model` is a name in `/v1/models`, or `run:NAME`: the newest weights of a run, also while it trains. With
        `details` each prediction has `images`, the inputs of the network, `steps` from the picture to the ink, and
        the `size` of the upright picture; and `about` is the model as in `/v1/models`.
        """
        pictures = await received_pictures(request)
        content = await queue.run(request, partial(_read, models, model, pictures, expect, details))
        return Response(content, media_type="application/json")

    @router.get("/v1/samples/{kind}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def sample(request: Request, kind: Literal["digit", "photograph"]) -> Response:
        """Return a picture to try: a random test image, or a simulated photograph. X-Label says what is on it."""
        make = random_digit if kind == "digit" else random_photograph
        png, label = await queue.run(request, lambda stop: make())
        return Response(png, media_type="image/png", headers={"X-Label": label, "Cache-Control": "no-store"})

    return router


class ReadQueue:
    """Runs work in threads, as many at once as there are cores; the event loop stays free to answer."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.slots = BoundedSemaphore(limits.reads)
        self.threads = ThreadPoolExecutor(available_cores(), "read")

    async def run(self, request: Request, work: Callable[[Event], T]) -> T:
        """Return what `work` returns; its argument is set when nobody wants the result any more.

        Raises `HTTPException` if too much is waiting already, or if it takes too long, and `ClientDisconnect`.
        """
        if not self.slots.acquire(blocking=False):
            raise HTTPException(429, "Too many pictures at once. Try again later.", {"Retry-After": "1"})
        stop = Event()
        future = self.threads.submit(work, stop)
        future.add_done_callback(lambda _: self.slots.release())
        result, gone = asyncio.wrap_future(future), asyncio.create_task(_wait_for_disconnect(request))
        waited: set[asyncio.Future[Any]] = {result, gone}
        try:
            await asyncio.wait(waited, timeout=self.limits.read_seconds, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            if gone.done():
                raise ClientDisconnect
            raise HTTPException(
                413, f"Reading took longer than {self.limits.read_seconds:g} seconds. Send fewer pages."
            )
        finally:
            stop.set()
            result.cancel()
            gone.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has gone away. The body must be complete."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _read(
    models: Models, name: str, pictures: Sequence[InputImage], expect: Expect, details: bool, stop: Event
) -> bytes:
    """Return the answer of `/v1/read` as JSON; it stops after a page when `stop` is set."""
    model = models.find(name)
    predictions = _predictions(model, pictures, expect, details, stop)
    answer: dict[str, Any] = {"model": model.name, "sha256": model.sha256, "predictions": predictions}
    answer |= {} if model.epoch is None else {"epoch": model.epoch}
    answer |= {"about": model.to_json()} if details else {}
    return json.dumps(answer).encode()


def _predictions(
    model: ServedModel, pictures: Sequence[InputImage], expect: Expect, details: bool, stop: Event
) -> list[dict[str, Any]]:
    answers = []
    for prediction in model.reader.read(pictures, expect, steps=details, chunk=1):
        answers.append(prediction.to_json() | (_details(prediction) if details else {}))
        if stop.is_set():
            break
    return answers


def _details(prediction: Prediction) -> dict[str, Any]:
    """Return what the network saw, and the steps before, as PNGs in data URIs, and the size of the upright picture."""
    steps, images = prediction.steps, [digit.image for digit in prediction.digits if digit.image is not None]
    if steps is None:
        return {"images": [], "steps": [], "size": None}
    height, width = steps.ink.shape
    return {
        "images": [_data_uri(Image.fromarray(image)) for image in images],
        "steps": [{"name": name, "image": _data_uri(image)} for name, image in step_panels(steps)],
        "size": [round(width * steps.scale), round(height * steps.scale)],
    }


def _data_uri(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode()}"
