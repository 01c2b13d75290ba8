"""What is damaged lies in `benchmarks/`, where more of it is fed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
