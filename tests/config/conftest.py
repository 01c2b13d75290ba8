"""What most tests of configs need: the lines a user would read about a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import ConfigError


@pytest.fixture
def config_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function from the text or bytes of `c.yaml`, and overrides, to the lines about it; empty when it is right."""
    monkeypatch.chdir(tmp_path)

    def lines(content: str | bytes, *overrides: str) -> list[str]:
        Path("c.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        try:
            load_config("c.yaml", overrides)
        except ConfigError as error:
            return str(error).split("\n")
        return []

    return lines
