"""`mnist-serve`: a web page and an HTTP API to read pictures and to watch training."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_safe, require
from mnist_trainer.cli.options import Debug, Version, complete, flag, new_app, option

if TYPE_CHECKING:
    from socket import socket

app = new_app()

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="The models: .pt or .onnx files, run folders, latest (the newest finished run), or bundled (comes "
        "with the package; the default).",
        autocompletion=complete("bundled", "latest"),
    ),
]
HOST = "Address to listen on; with 0.0.0.0 other machines can reach it, with a token."
PORT = "Port to listen on; 0 is any free one."
READ_ONLY = "Do not start or stop training runs."
ALLOW_TRAINING = "With --host: let other machines start and stop training runs."
KEEP_TRAININGS = "Let training runs go on after the server has ended; by default they stop and save."
BOTH = "--read-only and --allow-training contradict each other: leave one out."


@app.command(cls=Command)
def serve(  # noqa: PLR0913, PLR0917 - one an option
    models: Models = None,
    host: Annotated[str, option("--host", "ADDRESS", HOST)] = "127.0.0.1",
    port: Annotated[int, option("--port", "N", PORT, min=0, max=65535)] = 8000,
    open_browser: Annotated[bool, flag("--open", "Open the page in the browser.")] = False,
    runs_dir: Annotated[Path, option("--runs-dir", "DIR", "The folder of the runs.")] = Path("runs"),
    read_only: Annotated[bool, flag("--read-only", READ_ONLY)] = False,
    allow_training: Annotated[bool, flag("--allow-training", ALLOW_TRAINING)] = False,
    keep_trainings: Annotated[bool, flag("--keep-trainings", KEEP_TRAININGS)] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Serve a web page to draw digits, read pictures and watch training, and an HTTP API for programs.

    Only this machine can reach it, unless --host is given. It needs no internet, and ends with Ctrl-C.
    """
    with handle_errors(debug):
        require({BOTH: not (read_only and allow_training)})
        if debug:
            logging.getLogger("mnist_trainer").setLevel(logging.DEBUG)
        environment = dict(os.environ)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # pictures are read side by side
        _check_packages()
        import cv2

        cv2.setNumThreads(1)
        from mnist_trainer.serve.app import create_app
        from mnist_trainer.serve.security import is_loopback, new_token
        from mnist_trainer.serve.server import bind, run

        is_local = is_loopback(host)
        token = None if is_local else new_token()
        served = create_app(
            models or ["bundled"],
            runs_dir=runs_dir,
            can_train=not read_only and (is_local or allow_training),
            keep_trainings=keep_trainings,
            host=host,
            token=token,
            training_environment=environment,
        )
        listener = bind(host, port)
        _announce(listener, host, token, open_browser)
        with suppress(KeyboardInterrupt):
            run(served, listener)
        print_safe("Stopped.")


def _check_packages() -> None:
    """Raise `UsageError` with the install line if a package of the extra is missing."""
    from mnist_trainer.storage.onnx_file import import_extra

    for name in ("fastapi", "uvicorn"):
        import_extra(name, "mnist-serve", "serve")


def _announce(listener: socket, host: str, token: str | None, open_browser: bool) -> None:
    """Print the address, and open it in the browser if asked."""
    import webbrowser
    from threading import Thread

    name = _own_address() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    if token is not None:
        print_safe(
            "warning: everybody in this network who knows the address below can use this server; it is not encrypted.",
            err=True,
        )
        address += f"?token={token}"
    print_safe(f"{address}\nCtrl-C ends it.")
    if open_browser:
        Thread(target=webbrowser.open, args=[address], daemon=True).start()


def _own_address() -> str:
    """Return the address by which other machines of the network reach this one, or its name if it has no network."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses the interface; an address of RFC 5737
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
