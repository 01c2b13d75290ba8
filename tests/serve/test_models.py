"""The models of a server, and those of runs while they train."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="needs the extra [serve]")

import mnist_trainer
from mnist_trainer import Callback, load_config, predict, train
from mnist_trainer.errors import CheckpointError, InterruptedRunError
from mnist_trainer.pipeline.predict import Reader
from mnist_trainer.serve import models
from mnist_trainer.serve.models import MAX_RUNS
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.onnx_file import ArrayPredictor, recorded_test

SAMPLES = Path(__file__).parents[1] / "pictures" / "samples"
SEVEN = SAMPLES / "7_drawing.png"

TINY: dict[str, Any] = {
    "name": "tiny",
    "threads": 1,
    "data": {"name": "digits", "limit": 40, "batch_size": 10, "validation": 40},
    "model": {"architecture": "mlp", "hidden": [8]},
    "training": {"epochs": 3},
    "report": {"plots": False, "gallery": False},
}


class Stop(Callback):
    """Stops a training in its second epoch."""

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        self.should_stop = (epoch, step) == (2, 3)


def probabilities(client: Any, name: str) -> list[float]:
    answer = client.post("/v1/read", params={"model": name, "expect": "single"}, content=SEVEN.read_bytes()).json()
    assert answer["model"] == name
    return list(answer["predictions"][0]["digits"][0]["probabilities"])


def test_each_network_of_a_model_runs_in_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of glyphs, and that of rows."""
    inside, most = [0], [0]

    def run(images: Any) -> tuple[Any, ...]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        sleep(0.05)
        inside[0] -= 1
        return (images,)

    watched = ArrayPredictor(run)
    monkeypatch.setattr(models, "load_reader", lambda name: Reader(name, watched, tuple("0123456789"), rows=watched))
    reader = models.Models(["bundled"], Path).find("bundled").reader
    assert reader.rows is not None
    for predictor in (reader.predictor, reader.rows):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(predictor.run, [np.zeros((1, 28, 28), np.uint8)] * 4))
        assert most == [1]


def test_models_are_described(client: Any) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    weights = Path(mnist_trainer.__file__).parent / "bundled.pt"
    assert model == {
        "name": "bundled",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "classes": list("0123456789"),
        "can_refuse": True,
        "trained_on": "mnist",
        "limits": "",
        "test": recorded_test(weights),
    }
    assert model["test"]["accuracy"] > 0.99


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_several_models_read_side_by_side(connect: Any, runs: Path) -> None:
    train(load_config(TINY), run_dir=runs / "first")
    name = str(runs / "first")
    client = connect("bundled", name)
    _, second = client.get("/v1/models").json()["models"]
    record = json.loads((runs / "first" / "run.json").read_text())
    assert (second["name"], second["trained_on"], second["can_refuse"]) == (name, "digits", False)
    assert "cannot refuse" in second["limits"]
    assert second["test"] == {key: record["test"][key] for key in ("accuracy", "interval", "errors", "count")}
    (expected,) = predict(SEVEN, name, expect="single")
    assert probabilities(client, name) == list(expected.digits[0].probabilities) != probabilities(client, "bundled")
    with pytest.raises(CheckpointError, match="there is no such file"):
        connect("nothing")


def test_a_finished_run_reads_with_its_best_epoch(client: Any, runs: Path) -> None:
    train(load_config(TINY), run_dir=runs / "first")
    (expected,) = predict(SEVEN, runs / "first", expect="single")
    assert probabilities(client, "run:first") == list(expected.digits[0].probabilities)
    about = client.post("/v1/read?model=run:first&details=1", content=SEVEN.read_bytes()).json()["about"]
    assert about["sha256"] == hashlib.sha256((runs / "first" / "best.pt").read_bytes()).hexdigest()
    assert about["test"]["accuracy"] == json.loads((runs / "first" / "run.json").read_text())["test"]["accuracy"]


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_run_that_trains_reads_with_its_newest_weights(client: Any, runs: Path, ema: float | None) -> None:
    config = load_config(TINY, {"training": {"ema": ema}})
    with pytest.raises(InterruptedRunError):
        train(config, run_dir=runs / "first", callback=Stop())
    checkpoint = load_checkpoint(runs / "first" / "last.pt")
    state = checkpoint.training_state
    assert state is not None and (state["epoch"], state["step"]) == (1, 3)
    weights = {name.removeprefix("module."): value for name, value in (state["ema"] or state["model"]).items()}
    weights.pop("n_averaged", None)
    model = checkpoint.only.build(10)
    (best,) = predict(SEVEN, runs / "first" / "last.pt", expect="single")
    model.load_state_dict(weights)
    with torch.inference_mode():
        image = torch.from_numpy(np.array(best.digits[0].image))[None]
        logits = model(checkpoint.only.spec.normalization.apply(image))
    expected = torch.softmax(logits.double() / checkpoint.only.spec.temperature, dim=1)[0]
    answer = client.post("/v1/read?model=run:first&expect=single", content=SEVEN.read_bytes()).json()
    assert answer["epoch"] == 1
    found = answer["predictions"][0]["digits"][0]["probabilities"]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert found != pytest.approx(list(best.digits[0].probabilities), abs=1e-6)


def test_the_model_of_a_run_is_loaded_again_when_it_has_changed(connect: Any, runs: Path) -> None:
    client = connect()
    train(load_config(TINY), run_dir=runs / "first")
    train(load_config(TINY, {"seed": 1}), run_dir=runs / "second")
    before = probabilities(client, "run:first")
    loaded = client.app.state.models.runs["run:first"][1]
    assert probabilities(client, "run:first") == before
    assert client.app.state.models.runs["run:first"][1] is loaded
    (runs / "second" / "best.pt").replace(runs / "first" / "best.pt")
    assert probabilities(client, "run:first") != before


def test_few_models_of_runs_stay_in_memory(client: Any, runs: Path) -> None:
    train(load_config(TINY), run_dir=runs / "0")
    for number in range(1, MAX_RUNS + 2):
        (runs / str(number)).mkdir()
        (runs / str(number) / "best.pt").write_bytes((runs / "0" / "best.pt").read_bytes())
        probabilities(client, f"run:{number}")
    assert list(client.app.state.models.runs) == [f"run:{number}" for number in range(2, MAX_RUNS + 2)]


@pytest.mark.parametrize(
    "name", ["run:", "run:none", "run:../outside", "run:.", "run:..", "run:/etc", "outside", "run:a\0"]
)
def test_names_of_clients_do_not_become_paths(client: Any, runs: Path, name: str) -> None:
    runs.mkdir()
    (runs.parent / "outside").mkdir()
    (runs.parent / "outside" / "best.pt").write_bytes(b"")
    response = client.post("/v1/read", params={"model": name}, content=SEVEN.read_bytes())
    assert response.status_code == 404 and list(response.json()) == ["error"]


def test_a_run_without_a_model_says_so(client: Any, runs: Path) -> None:
    (runs / "new").mkdir(parents=True)
    (runs / "new" / "config.yaml").write_text("name: new")
    response = client.post("/v1/read?model=run:new", content=SEVEN.read_bytes())
    assert response.status_code == 409 and "holds no best.pt" in response.json()["error"]
    (runs / "new" / "best.pt").write_bytes(b"damaged")
    response = client.post("/v1/read?model=run:new", content=SEVEN.read_bytes())
    assert response.status_code == 409 and "best.pt" in response.json()["error"]
    (runs / "new" / "best.pt").unlink()
    for make in (lambda path: path.symlink_to("nothing"), Path.mkdir):
        (runs / "new" / "best.pt").unlink(missing_ok=True)
        make(runs / "new" / "best.pt")
        response = client.post("/v1/read?model=run:new", content=SEVEN.read_bytes())
        assert response.status_code == 409 and "best.pt" in response.json()["error"]
