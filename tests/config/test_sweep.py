from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.shipped import sweeps
from mnist_trainer.config.sweep import Choice, IntUniform, LogUniform, Sweep, Uniform, load_sweep, sweep_items
from mnist_trainer.errors import ConfigError

BASE = "base: {data: {name: digits}, model: {architecture: mlp, hidden: [8]}}\n"


def read(tmp_path: Path, text: str, *overrides: str, **changes: Any) -> Sweep:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_sweep(path, overrides, changes)


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, *overrides)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_each_kind_is_read(tmp_path: Path) -> None:
    space = """space:
  optimizer.lr: {log_uniform: [1e-4, 1e-1]}
  model.dropout: {uniform: [0, 0.5]}
  training.epochs: {int: [2, 9], step: 3}
  model.hidden: {choice: [[64], [128, 64]]}
"""
    sweep = read(tmp_path, BASE + space)
    assert (sweep.name, sweep.objective, sweep.trials) == ("mine", "val_loss", 20)
    assert sweep.space == {
        "optimizer.lr": LogUniform(log_uniform=(1e-4, 0.1)),
        "model.dropout": Uniform(uniform=(0, 0.5)),
        "training.epochs": IntUniform(int=(2, 9), step=3),
        "model.hidden": Choice(choice=([64], [128, 64])),
    }


def test_a_base_is_a_file_beside_the_sweep_or_a_shipped_config(tmp_path: Path) -> None:
    space = "space: {optimizer.lr: {uniform: [0.1, 1]}}\n"
    (tmp_path / "near.yaml").write_text("seed: 3\nmodel: {architecture: mlp, hidden: [8]}\n")
    near = read(tmp_path, "base: near.yaml\n" + space, "training.epochs=7").config({})
    assert (near.name, near.seed, near.training.epochs) == ("near", 3, 7)
    assert read(tmp_path, "base: lecture\n" + space).config({}).name == "lecture"


def test_values_go_into_the_base_whole_sections_first(tmp_path: Path) -> None:
    text = BASE + "space: {optimizer.lr: {uniform: [0.1, 1]}, optimizer: {choice: [{name: sgd}, {name: adam}]}}\n"
    config = read(tmp_path, text).config({"optimizer.lr": 0.5, "optimizer": {"name": "sgd"}})
    assert (config.optimizer.name, config.optimizer.lr) == ("sgd", 0.5)


def test_a_grid_has_all_combinations(tmp_path: Path) -> None:
    text = BASE + "sampler: grid\nspace: {seed: {choice: [1, 2, 3]}, model.hidden: {choice: [[8], [16]]}}\n"
    sweep = read(tmp_path, text)
    assert sweep.trials == 6
    points = [tuple(sweep.point(index).values()) for index in range(6)]
    assert points == [(seed, hidden) for seed in "123" for hidden in ("[8]", "[16]")]
    assert read(tmp_path, text, trials=4).trials == 4
    assert read(tmp_path, text, trials=9).trials == 6


def test_all_mistakes_are_told_with_their_places(tmp_path: Path) -> None:
    text = """trails: 3
base: {data: {name: digits, validation: 0}, model: {architecture: mlp, hiden: [8]}}
space:
  optimizer.lrr: {log_uniform: [1e-4, 1]}
  model.hidden: {choice: [[8], [0]]}
  model.dropout: {uniform: [0.1, 2]}
  data.batch_size: {uniform: [16, 64]}
  seed: {intt: [1, 2]}
  training.epochs: {int: [5, 1]}
  training.ema: {uniform: [0.5]}
  model.batch_norm: {choice: [true, true]}
  loss.reduction: {choice: [sum, mean]}
  data.limit: {int: [1, 3], step: x}
  schedule: 3
sampler: grit
training: {epochs: 3}
"""
    assert problems(tmp_path, text, "seed=x") == [
        "mine.yaml:1:1  trails: unknown key; did you mean 'trials'?",
        "mine.yaml:2:7  base: data.validation is 0, but a sweep needs validation images to compare trials",
        "mine.yaml:4:3  space.optimizer.lrr: unknown key; did you mean 'lr'?",
        "mine.yaml:5:32  space.model.hidden.0: must be greater than 0, got 0",
        "mine.yaml:6:34  space.model.dropout: must be less than 1, got 2.0",
        "mine.yaml:7:21  space.data.batch_size: takes whole numbers; write {int: [16, 64]}",
        "mine.yaml:8:9  space.seed: needs one of log_uniform, uniform, int, choice, as in {choice: [1, 2]}; "
        "did you mean 'int'?",
        "mine.yaml:9:20  space.training.epochs: the first bound must be the smaller one, got [5, 1]",
        "mine.yaml:10:27  space.training.ema.uniform: needs 2 or more items, got 1",
        "mine.yaml:11:21  space.model.batch_norm: true is given twice",
        "mine.yaml:12:20  space.loss.reduction: losses of different kinds can't be compared; "
        "set it in the base, or objective: val_accuracy",
        "mine.yaml:13:35  space.data.limit.step: expected a whole number, got text 'x'",
        "mine.yaml:14:13  space.schedule: needs one of log_uniform, uniform, int, choice, as in {choice: [1, 2]}",
        "mine.yaml:15:10  sampler: unknown name 'grit'; did you mean 'grid'? Known: tpe, random, grid",
        "mine.yaml:16:1  training: unknown key; keys of the config belong under 'base'",
        "mine.yaml:2:72  model.hiden: unknown key; did you mean 'hidden'?",
        "override 1  seed: expected a whole number, got text 'x'",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            BASE + "sampler: grid\nspace: {seed: {int: [1, 2]}}\n",
            "mine.yaml:3:16  space.seed: a grid needs choice; list the values, or use another sampler",
        ),
        (
            BASE + "space: {optimizer.lr: {log_uniform: [0, 1]}}\n",
            "mine.yaml:2:23  space.optimizer.lr: a logarithm needs bounds greater than 0, got [0, 1]",
        ),
        (
            BASE + "space: {seed: {int: [1, 9], step: 2, log: true}}\n",
            "mine.yaml:2:15  space.seed: takes step or log, not both",
        ),
        (
            BASE + "space: {data.fold: {choice: [1/2, 2/2]}}\n",
            "mine.yaml:2:21  space.data.fold: changes the validation images, so that trials could not be "
            "compared; set it in the base",
        ),
        (
            BASE + "space: {data.split_seed: {int: [1, 9]}}\n",
            "mine.yaml:2:27  space.data.split_seed: changes the validation images, so that trials could not be "
            "compared; set it in the base",
        ),
        (BASE, "mine.yaml:1:1  space: missing (config keys and their possible values, as in optimizer.lr: "
         "{log_uniform: [1e-4, 1e-1]})"),
        (BASE + "space: {}\n", "mine.yaml:2:8  space: needs 1 or more items, got 0"),
        (
            "base: mlpp\nspace: {seed: {int: [1, 9]}}\n",
            "mine.yaml:1:7  base: mlpp: no such file; did you mean the shipped config 'mlp'?",
        ),
        ("- 1\n", "mine.yaml:1:1  a list at the top; a config has keys there: remove the '- ' or the brackets"),
    ],
)  # fmt: skip
def test_one_mistake_is_told_once(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


def test_losses_may_differ_when_accuracy_decides(tmp_path: Path) -> None:
    text = BASE + "objective: val_accuracy\nspace: {loss.reduction: {choice: [sum, mean]}}\n"
    assert set(read(tmp_path, text).space) == {"loss.reduction"}


def test_a_key_may_need_the_right_neighbour(tmp_path: Path) -> None:
    """Momentum is sgd's alone: trials that combine it with adam fail, each with its reason."""
    optimizer = "optimizer.name: {choice: [adam, sgd]}"
    momentum = "optimizer.momentum: {uniform: [0, 0.9]}"
    assert len(read(tmp_path, f"{BASE}space: {{{momentum}, {optimizer}}}\n").space) == 2
    (problem,) = problems(tmp_path, f"{BASE}space: {{{momentum}}}\n")
    assert problem == "mine.yaml:2:9  space.optimizer.momentum: unknown key here; it belongs to sgd, rmsprop"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mpl  no such file; did you mean the shipped sweep 'mlp'"):
        load_sweep("mpl")


@pytest.mark.parametrize("name", list(sweeps()))
def test_shipped_sweeps_survive_being_written(name: str, tmp_path: Path) -> None:
    sweep = load_sweep(name)
    assert sweep.name == name
    again = read(tmp_path, dump_config(sweep_items(sweep, 7)))
    assert (again.base, again.space, again.trials) == (sweep.base, sweep.space, 7)
    assert again.config({}) == sweep.config({})


@pytest.mark.parametrize("text", ["007", r"C:\new\x.pt", "it's #2", "null", 'a "b"'])
def test_a_choice_of_text_is_that_text(tmp_path: Path, text: str) -> None:
    sweep = read(tmp_path, f"{BASE}space: {{model.init_from: {{choice: ['{text.replace(chr(39), chr(39) * 2)}']}}}}\n")
    assert sweep.config({"model.init_from": text}).model.init_from == text
