"""The server as an ASGI app: its routes, its page, and errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from mnist_trainer.config.shipped import package_version
from mnist_trainer.errors import CheckpointError, TrainerError
from mnist_trainer.serve.models import Models
from mnist_trainer.serve.read import read_router
from mnist_trainer.serve.runs import runs_router
from mnist_trainer.serve.security import LIMITS, Limits, SecurityMiddleware, error_response
from mnist_trainer.serve.trainings import Trainings
from mnist_trainer.storage.run_folder import BUNDLED, RUNS

STATIC = Path(__file__).parent / "static"


def create_app(
    models: Sequence[str] = (BUNDLED,),
    *,
    runs_dir: Path = RUNS,
    can_train: bool = False,
    keep_trainings: bool = False,
    host: str = "127.0.0.1",
    token: str | None = None,
    limits: Limits = LIMITS,
    training_environment: Mapping[str, str] | None = None,
) -> FastAPI:
    """Return the server of `models` (as `mnist-predict --checkpoint` takes them) and of the runs in `runs_dir`.

    It is meant to be bound to `host`, and answers requests for other names with an error; with a `token`, also
    requests without it. Only with `can_train` it starts and stops trainings, which end with the server unless
    `keep_trainings` is true; their environment variables are those of the server unless others are given. Raises
    `CheckpointError` for a model that can't be loaded.
    """
    trainings = Trainings(runs_dir, environment=training_environment)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        trainings.close(keep_trainings)

    app = FastAPI(title="mnist-trainer", version=package_version(), docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.models, app.state.trainings = Models(models, trainings.find), trainings
    app.state.is_ending = lambda: False  # replaced by what runs the server; streams of events end when it is true
    app.include_router(read_router(app.state.models, limits))
    app.include_router(runs_router(trainings, can_train))
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(SecurityMiddleware, host=host, token=token, limits=limits)
    for kind in (StarletteHTTPException, RequestValidationError, TrainerError):
        app.add_exception_handler(kind, _error_answer)
    return app


def _error_answer(request: Request, error: Exception) -> JSONResponse:
    """Return an error as `{"error": text}`, with the status that fits it."""
    match error:
        case StarletteHTTPException():
            return error_response(error.status_code, str(error.detail), dict(error.headers or {}))
        case RequestValidationError():
            return error_response(422, _validation_text(error))
        case CheckpointError():
            return error_response(409, str(error))
        case _:
            return error_response(400, str(error))


def _validation_text(error: RequestValidationError) -> str:
    """Return what is wrong with the parameters or the JSON of a request, in one paragraph."""
    return " ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}." for each in error.errors())
