"""The routes that read pictures: the models, reading with one of them, and samples to try."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from mnist_trainer.pictures.page import Expect
from mnist_trainer.pipeline.predict import InputImage, Reader, load_reader
from mnist_trainer.storage.run_folder import find_checkpoint


@dataclass(frozen=True)
class ServedModel:
    """A model under the name by which requests call it."""

    name: str
    reader: Reader
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the model's entry in `/v1/models`."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "classes": self.reader.classes,
            "can_refuse": self.reader.predictor.refusal_threshold is not None,
            "trained_on": self.reader.name,
            "limits": self.reader.limits,
            "test": None,
        }


def load_model(name: str) -> ServedModel:
    """Return the model `name`, as `mnist-predict --checkpoint` takes it. Raises `CheckpointError`."""
    content = find_checkpoint(name).read_bytes()
    return ServedModel(name, load_reader(name), hashlib.sha256(content).hexdigest())


def read_router(names: Sequence[str], runs_dir: Path) -> APIRouter:
    """Return the routes that read pictures with the models called `names`. Raises `CheckpointError`."""
    router, models = APIRouter(), {name: load_model(name) for name in names}

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Return that the server answers."""
        return {"status": "ok"}

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """Return the models that can read pictures."""
        return {"models": [model.to_json() for model in models.values()]}

    @router.post("/v1/read")
    async def read(
        request: Request, model: str | None = None, expect: Expect = "auto", details: bool = False
    ) -> JSONResponse:
        """Read the digits on pictures."""
        chosen = models.get(model or next(iter(models)))
        if chosen is None:
            raise HTTPException(404, f"There is no model {model}. GET /v1/models lists them.")
        inputs = [InputImage("-", BytesIO(await request.body()))]
        predictions = await asyncio.to_thread(_read, chosen, inputs, expect)
        return JSONResponse({"model": chosen.name, "predictions": predictions})

    return router


def _read(model: ServedModel, inputs: Sequence[InputImage], expect: Expect) -> list[dict[str, Any]]:
    return [prediction.to_json() for prediction in model.reader.read(inputs, expect)]
