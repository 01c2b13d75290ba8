"""What comes with the package: configs by name (`mlp` works wherever one stands), sweeps, and the version."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

CONFIG_ORDER = (
    "quickstart",
    "neuron",
    "regression",
    "lecture",
    "lecture-softmax",
    "lecture-log-softmax",
    "gradient-descent",
    "sgd-momentum",
    "custom-error",
    "maxout",
    "early-stopping",
    "mlp",
    "cnn",
    "fast",
    "fashion",
    "mlp-deformed",
    "cnn-deformed",
    "bundled",
)
"""The shipped configs in the order of a lesson, in which they are listed."""


def shipped() -> dict[str, str]:
    """Name → phrase of every shipped config; the phrase is the first comment below the editor's line."""
    return {name: _phrase(_folder() / f"{name}.yaml") for name in CONFIG_ORDER}


def shipped_path(name: str) -> Path:
    """The file of a shipped config. Raises `KeyError` when there is none of that name."""
    if name not in shipped():
        raise KeyError(name)
    return _folder() / f"{name}.yaml"


def sweeps() -> dict[str, str]:
    """Name → phrase of every shipped sweep."""
    return {path.stem: _phrase(path) for path in sorted(_folder().glob("sweeps/*.yaml"))}


def sweep_path(name: str) -> Path:
    """The file of a shipped sweep."""
    return _folder() / "sweeps" / f"{name}.yaml"


def package_version() -> str:
    """This package's version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mnist-trainer")
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


def _folder() -> Path:
    """Inside the package once it is installed, beside it in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def _phrase(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readlines()[1].removeprefix("#").strip()
