"""Keeps torch's compiler out of a start that does not use it.

`torch.optim` imports `torch._dynamo` at an optimizer's first use, only to tell the compiler what to leave alone. With
all that it imports in turn (sympy, torch.distributed, triton) that takes as long as `import torch` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


class Placeholder(ModuleType):
    """Stands for `torch._dynamo` until somebody asks for more of it than optimizers do; then the real one is loaded."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self._left_alone: list[Callable[..., Any]] = []

    def graph_break(self, *arguments: Any, **options: Any) -> None:
        """Nothing is compiled, so there is no graph to break."""
        if self._is_replaced:
            self._load().graph_break(*arguments, **options)

    def disable(self, fn: Callable[..., Any] | None = None, *arguments: Any, **options: Any) -> Any:
        """`fn`, which nobody compiles."""
        if fn is None or self._is_replaced:
            return self._load().disable(fn, *arguments, **options)
        self._left_alone.append(fn)
        return fn

    @property
    def _is_replaced(self) -> bool:
        return sys.modules.get(NAME) is not self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # whoever looks through all modules wants nothing of this one
            raise AttributeError(name)
        return getattr(self._load(), name)

    def _load(self) -> ModuleType:
        """The real module, in the place of this one; torch asks it anew what it was told here."""
        if not self._is_replaced:
            del sys.modules[NAME]
        real = import_module(NAME)
        for fn in self._left_alone:
            fn.__dict__.pop("__dynamo_disable", None)
        self._left_alone.clear()
        return real


def leave_compiler_out() -> None:
    """From now on `torch._dynamo` is loaded when it is needed; does nothing if it is there already."""
    if NAME not in sys.modules:
        sys.modules[NAME] = Placeholder()
        setattr(torch, "_dynamo", sys.modules[NAME])  # noqa: B010 - to the type checker it is the real one
