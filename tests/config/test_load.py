"""From files, names and mappings to configs, and back to YAML."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.config.load import changed_keys, differences, dump_config, load_config, load_text
from mnist_trainer.config.shipped import shipped
from mnist_trainer.config.yaml_reader import YAML11_BOOLEANS
from mnist_trainer.errors import ConfigError, UsageError

Told = Callable[..., list[str]]
MLP = {"model": {"architecture": "mlp"}}


def test_a_file_a_path_and_a_mapping_give_the_same_config(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {architecture: mlp, hidden: {layers: 2, units: 8}}\n")
    assert load_config(str(path)) == load_config(path)
    assert load_config(path) == load_config({"model": {"architecture": "mlp", "hidden": (8, 8)}})


def test_the_name_is_the_files_unless_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "my first (good) run.yaml"
    path.write_text("model: {architecture: mlp}\n")
    assert load_config(path).name == "my-first-good-run"
    assert load_config(path, ["name=other"]).name == "other"
    assert load_config(MLP).name == "run"


@pytest.mark.parametrize(
    ("stem", "name"),
    [("Übung 3", "Übung-3"), ("x² (1)", "x-1"), (".hidden", "hidden"), ("²", "run"), ("n" * 120, "n" * 100)],
)
def test_a_files_name_is_made_fit_for_a_run(tmp_path: Path, stem: str, name: str) -> None:
    path = tmp_path / f"{stem}.yaml"
    path.write_text("model: {architecture: mlp}\n")
    assert load_config(path).name == name


def test_shipped_configs_go_by_name_but_a_file_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp").mkdir()
    assert load_config("mlp").training.epochs == 12
    (tmp_path / "mlp").rmdir()
    (tmp_path / "mlp").write_text("model: {architecture: mlp}\ntraining: {epochs: 3}\n")
    assert load_config("mlp").training.epochs == 3


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("mlp.yaml", "mlp.yaml  no such file; did you mean the shipped config 'mlp'?"),
        ("quikstart", "quikstart  no such file; did you mean the shipped config 'quickstart'?"),
        ("configs/CNN.yml", "configs/CNN.yml  no such file; did you mean the shipped config 'cnn'?"),
        ("zzz.yaml", "zzz.yaml  no such file"),
        (".", ".  is a folder, and a config is a file; name a .yaml file in it"),
    ],
)
def test_a_file_that_is_not_there(source: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config(str(Path(source)))
    assert str(caught.value) == str(Path(source)) + text.removeprefix(source)


@pytest.mark.parametrize("source", [5, None, ["a"], Path, b"mlp"])
def test_what_is_no_config_is_told(source: Any) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(source)
    assert str(caught.value) == f"A config is a file, the name of a shipped one, a mapping or a Config, not {source}."


def test_a_config_is_taken_as_it_is_and_changed_by_overrides() -> None:
    config = load_config(MLP)
    assert load_config(config) is config
    assert load_config(config, ["seed=5"]) == load_config(MLP, ["seed=5"])


def test_a_path_may_begin_with_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "mine.yaml").write_text("model: mlp\n")
    assert load_config("~/mine.yaml").name == "mine"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "a picture, for mnist-predict"),
        ("a", b"\xff\xd8\xff\xe0", "a picture, for mnist-predict"),
        ("best.pt", b"PK\3\4\0", "a checkpoint, for mnist-eval, or another archive"),
        ("a.gz", b"\x1f\x8b\x08", "a compressed file"),
        ("run.json", b'{"status": "finished", "versions": {}}', "the record of a run; its config is config.yaml"),
        ("run/config.yaml", b"", "is a folder, and a config is a file; its config is run/config.yaml"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_called_what_it_is(
    name: str, content: bytes, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    given = path if path.parent == Path() else path.parent
    with pytest.raises(ConfigError) as caught:
        load_config(given)
    text += "" if "its config" in text else "; a config is a text file, as mlp.yaml"
    assert str(caught.value) == f"{given}  {text.replace('run/config.yaml', str(Path('run/config.yaml')))}"


def test_a_text_is_a_config_whose_problems_have_their_lines() -> None:
    assert load_text("model: mlp", ["seed=3"]) == load_config({"model": "mlp", "seed": 3})
    with pytest.raises(ConfigError) as caught:
        load_text("model: mlp\nsed: 1", ["training.epochs=0"])
    first, second = (str(problem) for problem in caught.value.problems)
    assert first == ":2:1  sed: unknown key; did you mean 'seed'?"
    assert second.startswith("override 1  training.epochs: ")


def test_json_is_a_config_with_tabs_too(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{\n\t"model": {\n\t\t"architecture": "mlp"\n\t},\n\t"seed": 3\n}\n')
    assert load_config(tmp_path / "mine.json").seed == 3


def test_contradictions_between_keys_have_places_too(config_errors: Told) -> None:
    text = """\
model: {architecture: layers, layers: [flatten, linear: 9]}
loss: nll
training: {accumulate: 2}
data:
  name: folder
seed: 1
seed: 2
"""
    assert config_errors(text, "optimizer=gradient_descent", "model.freeze=1") == [
        "c.yaml:2:7  loss.name: nll needs model.output: log_softmax, not none; or use cross_entropy",
        "c.yaml:3:24  training.accumulate: gradient_descent already makes one step of all batches; leave it out",
        "c.yaml:5:9  data.path: missing: data.name 'folder' needs the path of the pictures",
        "c.yaml:7:1  seed: repeated key; the first is at 6:1; keep one of them",
        "override 2  model.freeze: without model.init_from it would freeze random weights",
    ]


def test_the_mistakes_of_a_mapping_have_no_place_but_are_all_told() -> None:
    source: dict[Any, Any] = {"model": {"architecture": "mlp", "hidden": object()}, 3: 4, "loss": {True: 1}}
    with pytest.raises(ConfigError) as caught:
        load_config(source)
    assert str(caught.value) == "\n".join(
        [
            "model.hidden: expected a list, got a Python object",
            "loss.name: missing; choose one: cross_entropy, nll, bce, mse, sse, absolute",
            "3: unknown key; known keys: name, seed, device, precision, deterministic, threads, data, model, loss, "
            "optimizer, schedule, training, report",
        ]
    )
    assert [problem.location for problem in caught.value.problems] == ["", "", ""]
    assert caught.value.exit_code == 2


RATES = st.floats(1e-9, 10)
SHARES = st.floats(0, 1, exclude_max=True)
WHOLE = st.integers(1, 10_000)
TEXTS = st.one_of(
    st.text(), st.sampled_from([*YAML11_BOOLEANS, "Off", "1e-3", "0x1F", "010", "~", "", "true", "1.", "<<", "a: b"])
)


def section(required: dict[str, Any], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fixed = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in required.items()}
    return st.fixed_dictionaries(fixed, optional=optional)


ACTIVATIONS = st.one_of(
    st.sampled_from(["relu", "tanh", "swish", "maxout", "rrelu"]),
    section({"name": "leaky_relu"}, slope=SHARES),
    section({"name": "elu", "alpha": RATES}),
)
HIDDEN = st.one_of(st.lists(WHOLE, max_size=4), WHOLE, section({"layers": st.integers(0, 3), "units": WHOLE}))
INNER = st.lists(
    st.one_of(
        st.sampled_from(["batch_norm", "layer_norm", "dropout"]),
        st.builds(lambda function: {"activation": function}, ACTIVATIONS.filter(lambda name: name != "maxout")),
    ),
    min_size=1,
    max_size=3,
)
MODELS = st.one_of(
    section(
        {"architecture": "mlp"}, hidden=HIDDEN, activation=ACTIVATIONS, dropout=SHARES, init=st.just({"normal": 0.1})
    ),
    section(
        {"architecture": "cnn"}, channels=st.lists(WHOLE, min_size=1, max_size=2), hidden=HIDDEN, bias=st.booleans()
    ),
    st.builds(
        lambda inner, units: {
            "architecture": "layers",
            "layers": ["flatten", {"linear": units}, {"residual": inner}, {"linear": "classes"}],
        },
        INNER,
        WHOLE,
    ),
)
CONFIGS = section(
    {"model": MODELS},
    name=st.from_regex(r"\A[a-z0-9_é][A-Z0-9_.+-]{0,20}\Z"),
    seed=st.integers(0, 2**63 - 1),
    data=section({}, root=TEXTS, validation=st.one_of(WHOLE, st.floats(0.01, 0.9)), normalize=st.just("none")),
    loss=st.one_of(
        st.sampled_from(["cross_entropy", "mse", "sse"]),
        section({"name": "bce"}, penalties=st.just([{"true": 7, "predicted": 2}]), class_weights=st.just([1] * 10)),
    ),
    optimizer=st.one_of(
        st.sampled_from(["sgd", "adagrad", "gradient_descent"]),
        section({"name": "adamw"}, lr=RATES, betas=st.lists(SHARES, min_size=2, max_size=2), weight_decay=RATES),
    ),
    schedule=st.one_of(st.just("constant"), section({"name": "one_cycle"}, warmup=SHARES)),
    training=section({}, max_minutes=RATES, ema=SHARES.filter(bool), early_stopping=section({}, patience=WHOLE)),
)


@given(source=CONFIGS)
def test_what_is_written_is_read_back_as_the_same_config(
    tmp_path_factory: pytest.TempPathFactory, source: dict[str, Any]
) -> None:
    config = load_config(source)
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_bytes(dump_config(config).encode())
    assert load_config(path) == config


def test_the_written_form_is_easy_to_read() -> None:
    config = load_config(
        {
            "name": "1e-3",
            "model": {
                "architecture": "layers",
                "layers": ["flatten", {"residual": ["dropout"]}, {"linear": "classes"}],
            },
            "data": {"root": "off"},
            "loss": {"name": "mse", "penalties": [{"true": 7, "predicted": 2}]},
            "training": {"early_stopping": {}},
        }
    )
    assert (
        dump_config(config)
        == """\
name: '1e-3'
seed: 0
device: auto
precision: auto
deterministic: false
data:
  name: mnist
  root: 'off'
  batch_size: 128
  split: stratified
  split_seed: 0
  normalize: mean_std
  simulate: {photographs: 0.0, non_digits: 0.0, rows: 0.0}
model:
  architecture: layers
  init: {name: default}
  freeze: 0
  layers:
  - {type: flatten}
  - type: residual
    layers:
    - {type: dropout, rate: 0.5}
  - {type: linear, units: classes, bias: true}
  output: none
loss:
  name: mse
  reduction: mean
  penalties:
  - {'true': 7, predicted: 2, weight: 1.0, symmetric: false}
  smooth_weights: 0.0
optimizer:
  name: adam
  weight_decay: 0.0
  lr: 0.001
  betas: [0.9, 0.999]
  eps: 1.0e-08
schedule:
  name: constant
  warmup: 0.0
training:
  epochs: 10
  early_stopping: {monitor: val_loss, patience: 5, min_delta: 0.0}
  keep: best
  checkpoint_seconds: 10.0
  on_divergence: stop
  accumulate: 1
  micro_batches: 1
  reduce: exact
  refit: false
report:
  test: true
  plots: true
  weights_by_epoch: false
  format: png
  tensorboard: false
  gallery: true
"""
    )


HEAVY = ("torch", "torchvision", "numpy", "rich", "matplotlib", "cv2", "PIL", "typer")


def test_loading_a_config_imports_nothing_heavy() -> None:
    code = f"""
import sys
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import ConfigError, UsageError
load_config("mlp", ["optimizer.lr=0.01"])
try:
    load_config("mlp", ["optimizer.lrr=0.01"])
except ConfigError as error:
    print(error)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["override 1  optimizer.lrr: unknown key; did you mean 'lr'?", "[]"]


def test_keys_with_their_defaults_are_left_out_but_names_and_empty_sections() -> None:
    config = load_config({**MLP, "training": {"early_stopping": {}}, "schedule": "cosine", "seed": 0, "threads": 2})
    assert changed_keys(config) == {
        "name": "run",
        "threads": 2,
        "model": {"architecture": "mlp"},
        "schedule": {"name": "cosine"},
        "training": {"early_stopping": {"monitor": "val_loss", "patience": 5, "min_delta": 0.0}},
    }


@pytest.mark.parametrize("name", shipped())
def test_what_differs_from_the_defaults_is_the_same_config(name: str) -> None:
    config = load_config(name)
    assert load_config(changed_keys(config)) == config
    assert len(dump_config(changed_keys(config))) < 0.6 * len(dump_config(config))


def test_equal_mappings_have_none() -> None:
    assert list(differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}})) == []


def test_each_is_named_by_its_key_with_both_values() -> None:
    first = {"name": "mlp", "model": {"hidden": [8], "dropout": 0.1}, "loss": {"name": "mse"}, "old": 1}
    second = {"name": "mlp", "model": {"hidden": [9], "dropout": 0.1}, "loss": None, "new": {"deep": 2}}
    assert [tuple(found) for found in differences(first, second)] == [
        ("model.hidden", [8], [9]),
        ("loss", {"name": "mse"}, None),
        ("old", 1, None),
        ("new", None, {"deep": 2}),
    ]


def test_a_difference_in_words() -> None:
    assert [str(found) for found in differences({"a": {"lr": 0.1}}, {"a": {"lr": None}})] == [
        "a.lr is 0.1 there and not set here"
    ]
