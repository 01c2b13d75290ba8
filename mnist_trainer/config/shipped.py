"""The configs and sweeps that are shipped with the package, and the version of the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

CONFIG_ORDER = (
    *("quickstart", "neuron", "regression", "lecture", "lecture-softmax", "lecture-log-softmax", "gradient-descent"),
    *("sgd-momentum", "custom-error", "maxout", "early-stopping"),
    *("mlp", "cnn", "fast", "fashion", "mlp-deformed", "cnn-deformed", "bundled", "bundled-rows"),
)
"""The shipped configs in the order in which they are listed, as in a course."""


def shipped() -> dict[str, str]:
    """Return the description of every shipped config by name: the comment in its second line."""
    return {name: _description(_folder() / f"{name}.yaml") for name in CONFIG_ORDER}


def shipped_path(name: str) -> Path:
    """Return the file of a shipped config. Raises `KeyError` for an unknown name."""
    if name not in shipped():
        raise KeyError(name)
    return _folder() / f"{name}.yaml"


def schema_path() -> Path:
    """Return the file of the JSON Schema of a config."""
    return _folder() / "schema.json"


def sweeps() -> dict[str, str]:
    """Return the description of every shipped sweep by name."""
    return {path.stem: _description(path) for path in sorted(_folder().glob("sweeps/*.yaml"))}


def sweep_path(name: str) -> Path:
    """Return the file of a shipped sweep."""
    return _folder() / "sweeps" / f"{name}.yaml"


def package_version() -> str:
    """Return the version of this package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mnist-trainer")
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


def _folder() -> Path:
    """Return the folder of the configs: in an installed package, or next to the package in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def _description(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readlines()[1].removeprefix("#").strip()
