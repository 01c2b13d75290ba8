"""How much memory there is, and which images would take too much of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MEMORY_FRACTION = 0.25
"""Of the memory that can still be had, a container's limit counted: images that need more of a computer's stay in a
mapped file, those that need more of a card's stay off it, see `data/mapped.py`. A quarter, for what is split is copied,
a second fit holds both fits' images, and the model wants room too. No figure and no weight depends on it."""

CONTROL_GROUP = Path("/sys/fs/cgroup")


def too_large(size: int, device: torch.device | None = None) -> bool:
    """Whether `size` bytes of images are more than `MEMORY_FRACTION` of the memory of `device`, without one of the
    computer."""
    there = available_memory(device)
    return there is not None and size > MEMORY_FRACTION * there


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can still be had on `device`, without one in the computer; None where the system does not say."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return min((amount for amount in (_system_memory(), _cgroup_memory()) if amount is not None), default=None)


def _system_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroup_memory() -> int | None:
    """What a container is still allowed (cgroup v2); files that are merely cached make room when asked."""
    try:
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(facts["inactive_file"])
    except (OSError, ValueError, KeyError):
        return None
