"""Peak memory of `mnist-train --config mlp` as a whole process, beside `import torch` alone (Linux, macOS)."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ru_maxrss."""

PEAK = "import resource, atexit; atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))\n"


def peak(code: str) -> float:
    """Megabytes (10⁶ bytes) at the highest point of a Python process that runs `code`."""
    done = subprocess.run([sys.executable, "-c", PEAK + code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * UNIT / 1e6


def main() -> None:
    assert resource  # not on Windows
    name = sys.argv[1] if len(sys.argv) > 1 else "mlp"
    torch_alone = peak("import torch")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["mnist-train", "--config", name, "--quiet", "--run-dir", str(Path(folder) / "run")]
        training = peak(f"import sys; sys.argv = {arguments!r}\nfrom mnist_trainer.cli.train import main; main()")
    print("| command | peak MB | above import torch |")
    print("|---|---|---|")
    print(f"| import torch | {torch_alone:.0f} | |")
    print(f"| mnist-train --config {name} | {training:.0f} | {training - torch_alone:.0f} |")


if __name__ == "__main__":
    main()
