"""What the figures were measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""What tells libraries how many threads to take."""

ASK_TORCH = """
import json, torch
card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
known = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512 BF16": torch.cpu._is_avx512_bf16_supported()}
known["AVX-512"] = torch.cpu._is_avx512_supported()
units = [name for name, there in known.items() if there]
print(json.dumps({"torch": torch.__version__, "units": units, "card": card, "threads": torch.get_num_threads()}))
"""
ASK_PEERS = """
import json
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in ("scikit-learn", "keras", "tensorflow-cpu", "lightning", "torch", "torchvision"):
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def describe(peers: Path | None) -> dict[str, Any]:
    """Processor, cores, versions, thread settings, and how busy the machine is."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **_asked(sys.executable, ASK_TORCH),
        "peers": _asked(str(peers), ASK_PEERS) if peers else {},
        "settings": {name: os.environ[name] for name in THREADS if name in os.environ},
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def sentence(machine: dict[str, Any]) -> str:
    """The description for people."""
    units = f" with {', '.join(machine['units'])}" if machine["units"] else ""
    parts = [
        f"{machine['cores']} CPU cores of {machine['processor']}{units}; {machine['card'] or 'no GPU'}",
        f"{machine['system']}; Python {machine['python']}, torch {machine['torch']}, {machine['threads']} threads",
    ]
    if machine["peers"]:
        parts.append("peers: " + ", ".join(f"{name} {version}" for name, version in machine["peers"].items()))
    if machine["settings"]:
        parts.append("settings: " + ", ".join(f"{name}={value}" for name, value in machine["settings"].items()))
    if machine["load"]:
        parts.append(f"load before the first run: {machine['load'][0]} (0 is a machine that does nothing else)")
    return "; ".join(parts) + "."


def _asked(interpreter: str, code: str) -> dict[str, Any]:
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "an unknown CPU")
