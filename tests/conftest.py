"""Fixtures that several test modules share."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from mnist_trainer import Run

# One thread: the models here are small, and threads that wait for each other on a busy machine cost more than they
# give.
# It must be set before torch is imported, here and in the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """The random inputs of a test do not depend on the tests that ran before it."""
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(0)


AXE = os.environ.get("AXE_CORE")
"""The file axe.min.js of npm's axe-core."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which can't look up any name."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        yield driver.chromium.launch(executable_path=CHROMIUM, args=options)


@pytest.fixture(scope="session")
def accessibility_faults() -> Callable[[Any], list[str]] | None:
    """Return the faults of a page that axe-core calls serious or critical; None where axe-core is missing."""
    if AXE is None:
        return None
    script = Path(AXE).read_text(encoding="utf-8")

    def run(page: Any) -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run().then((result) => result.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in serious]

    return run


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A torchvision root that holds the real MNIST, unpacked; the test is skipped where there is none."""
    named = os.environ.get("MNIST_TRAINER_DATA")
    here = Path(__file__)
    candidates = [Path(named)] if named else [here.parents[2] / "shared" / "data", here.parents[1] / "data"]
    for root in candidates:
        if (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
            return root
    pytest.skip("needs the real MNIST: set MNIST_TRAINER_DATA to a folder that holds MNIST/raw/")


def from_benchmarks(name: str) -> ModuleType:
    """The module `benchmarks/reliability/<name>.py`, which is shared with the tests."""
    place = Path(__file__).parents[1] / "benchmarks" / "reliability" / f"{name}.py"
    spec = spec_from_file_location(f"reliability_{name}", place)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def differences_of_runs() -> Callable[[Path, Path], list[str]]:
    """What two folders of finished runs differ in, apart from times."""
    found: Callable[[Path, Path], list[str]] = from_benchmarks("runs_alike").differences_of_runs
    return found


@pytest.fixture(scope="session")
def zygote() -> Iterator[Any]:
    """`zygote.train(["--config", …], folder, at=7)`: sessions of mnist-train that are killed or meet errors."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc and fork")
    with from_benchmarks("zygote").Zygote() as process:
        yield process


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the bundled digits, in `<its own folder>/runs/shared`; good enough to read a clear digit."""
    from mnist_trainer import train

    config = {
        "name": "shared",
        "threads": 1,  # bits depend on the number of threads, and subprocesses have their own default
        "data": {"name": "digits", "batch_size": 64, "validation": 100},
        "model": {"architecture": "mlp", "hidden": [32]},
        "optimizer": {"name": "adam", "lr": 0.005},
        "training": {"epochs": 4},
        "report": {"plots": False, "gallery": False},
    }
    return train(config, run_dir=tmp_path_factory.mktemp("shared") / "runs" / "shared")


RECORD = {
    "name": "small",
    "status": "finished",
    "stop_reason": "epochs",
    "best_epoch": 2,
    "epochs": 3,
    "test": {"accuracy": 0.9, "errors": 10, "count": 100, "loss": 0.4, "interval": [0.826, 0.945]},
    "validation": {"accuracy": 0.95, "errors": 5, "count": 100, "loss": 0.25, "interval": [0.88, 0.98]},
    "seed": 0,
    "model": "mlp 784-8-10, relu",
    "custom": {},
    "data": {"name": "digits"},
    "parameters": 6370,
    "device": "cpu",
    "precision": "float32",
    "threads": 1,
    "versions": {"torch": "2.11.0"},
    "git_commit": None,
    "started_at": "2026-03-14T15:09:26.535+00:00",
    "finished_at": "2026-03-14T15:10:26.535+00:00",
    "timings": {"training_seconds": 12.5, "total_seconds": 20.0},
}
METRICS = """\
epoch,phase,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second
1,train,1.5,0.5,1.25,0.6,0.001,2.0,100.0
2,train,0.5,0.8,0.25,0.95,0.001,1.0,200.0
3,train,0.4,0.9,0.3,0.94,0.001,1.0,200.0
"""


@pytest.fixture
def fake_run(tmp_path: Path) -> Callable[..., Path]:
    """`fake_run("runs/one", {"name": "one"}, "loss=mse")`: a run folder that no training made.

    The mapping changes keys of `run.json` (None in its place: there is no such file); overrides change the config.
    """

    def make(
        place: str,
        record: Mapping[str, Any] | None = {},
        *overrides: str,
        metrics: str | None = METRICS,
    ) -> Path:
        from mnist_trainer.config.load import dump_config, load_config

        folder = tmp_path / place
        folder.mkdir(parents=True)
        config = {"name": "small", "model": {"architecture": "mlp", "hidden": [8]}, "training": {"epochs": 3}}
        (folder / "config.yaml").write_text(dump_config(load_config(config, overrides)))
        if record is not None:
            (folder / "run.json").write_text(json.dumps({**RECORD, **record}))
            if record.get("status") == "running":
                (folder / ".lock").write_text('{"host": "elsewhere", "pid": 1}')
        if metrics is not None:
            (folder / "metrics.csv").write_text(metrics)
        return folder

    return make
