"""Commands that train nothing import nothing heavy: help, the list of configs, errors in commands and configs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.shipped import shipped

Light = Callable[..., Any]

HELP = {
    "train": """\
  Train a model for handwritten digits from a YAML file, evaluate it, and
  write everything to runs/.

  Without CONFIG the configs that come with the package are listed.

Options:
  -c, --config CONFIG  The same as CONFIG without an option.
  --run-dir DIR        Write to this folder instead of runs/<time>-<name>.
  --device NAME        Device: cpu, cuda, cuda:1, mps or auto.
  --seed N             Random seed for weights, order and dropout.
  --seeds N            Train a series of runs, with seeds 0 to N-1 (or a list:
                       4,7,9).
  --jobs J             Runs of a series at the same time, sharing the cores
                       (default: one for each GPU, or 1).
  --processes N        Train in N processes, which share each batch
                       (training.micro_batches); each has its own GPU, if any.
  --resume RUN         Continue a run that was stopped: its folder, its
                       last.pt, or latest.
  --take-over          With --resume: replace the lock of a process on another
                       host. Make sure that the process is dead.
  --on-interrupt HOW   What Ctrl-C does: stop and save, or finish (test and
                       report the best epoch).
  --check              Check the config, show the layers and the memory
                       needed; train nothing.
  --show-batch FILE    Write a PNG of the first training batch, with its
                       augmentation; train nothing.
  --find-lr            Find a learning rate with a few steps of three seeds,
                       and draw their losses; train nothing.
  --slurm              Print a batch script for Slurm (sbatch): it is
                       requeued, and resumes; train nothing.
  --quiet              Print only the result, and warnings.
  --copy-config NAME   Write a copy of a config that comes with the package to
                       NAME.yaml, to edit it.
  --completion SHELL   Print a script that completes all mnist-* commands in
                       bash, zsh or fish.
  --debug              Show the traceback of an error.
  --version            Show the version and exit.
  -h, --help           Show this message and exit.
""",
    "eval": """\
  Evaluate a trained model, or several as an ensemble: accuracy, errors, loss,
  each digit, calibration.

Options:
  --split PART      Which images: test, validation, train; with
                    data.name=qmnist also test50k, the 50,000 that are not
                    part of MNIST, and its parts hsf04 and hsf1, by series of
                    forms.  [default: test]
  --out DIR         Write confusion.png, mistakes.png and predictions.csv to
                    this folder.
  --save FILE       Save the ensemble as one checkpoint.
  --views N         Average the predictions for each image and N - 1 deformed
                    copies of it (test-time augmentation).  [default: 1]
  --calibrate FILE  Save a copy whose probabilities are calibrated on the
                    validation images.
  --compare         Compare two checkpoints: is one significantly better?
                    (McNemar's test)
  --explain         Show what each hidden unit contributes; with --out also as
                    files.
  --suspicious      Find wrong training labels, by the runs of all folds
                    (data.fold); with --out also as files.
  --robustness      Evaluate on rotated, noisy, …, attacked (FGSM, PGD) and
                    simulated images; with --out also as files.
  --count N         With --robustness: the number of attacked images, of
                    photographs and of non-digits (default 1000).
  --device NAME     Device: cpu, cuda, cuda:1, mps or auto.
  --json            Print one JSON object; accuracies are fractions from 0 to
                    1.
  --debug           Show the traceback of an error.
  --version         Show the version and exit.
  -h, --help        Show this message and exit.
""",
    "export": """\
  Write a trained model to a file that other programs run: images in,
  calibrated probabilities out.

  All validation images go through the file first: if it does not give the
  model's answers, it is not written.

Options:
  --to FORMAT     The format: onnx (the default, for ONNX Runtime and other
                  programs), pt2 (torch.export), state_dict (weights, and a
                  script that builds the model with torch alone), keras (a
                  .keras file), or hub (a folder with safetensors, the config
                  and a model card).
  --out FILE      Write to this file (hub: this folder) instead of one with
                  the name of the run.
  --quantize 8|4  Store the weights in 8 or 4 bits, and compare size, time and
                  errors with the original.
  --prune SHARE   Set this share of the weights to zero, those with the
                  smallest magnitude in all layers together: 0.5 is half.
  --benchmark     Print a table over all formats, and write nothing: size,
                  start, time of one image and of all, difference.
  --debug         Show the traceback of an error.
  --version       Show the version and exit.
  -h, --help      Show this message and exit.
""",
    "predict": """\
  Read handwritten digits from pictures: any format, dark on light or light on
  dark, one digit or many.

Options:
  --checkpoint FILE|RUN|latest  The model: a .pt or .onnx file, a run folder,
                                latest (the newest finished run), or bundled
                                (comes with the package).  [default: bundled]
  --expect KIND                 What a picture holds: single (one digit), row,
                                page, or auto (find out).  [default: auto]
  --min-confidence P            Refuse digits whose probability is below P (0
                                to 1).
  --top K                       Show the K most likely classes of each digit;
                                by default only close ones.  [x>=1]
  --show                        Draw each 28×28 image that the network reads,
                                in the terminal.
  --save-steps DIR              Write a PNG for each picture that shows, step
                                by step, how it was read.
  --explain                     Show which pixels decided, and against which
                                other digit; with --save-steps also as a PNG.
  --correct DIR                 Ask whether each answer is right, and save the
                                digits to DIR, by class, to train on.
  --out FILE                    Write Kaggle's ImageId,Label for the images in
                                the rows of a CSV file.
  --json                        Print a list with one object for each picture.
  --csv                         Print a table with one row for each picture.
  --debug                       Show the traceback of an error.
  --version                     Show the version and exit.
  -h, --help                    Show this message and exit.
""",
    "runs": """\
  List the runs in a folder: what was trained, how it ended, validation and
  test metrics.

Options:
  --sort KEY          Sort by a column or a key of the config, lowest first.
                      Without it the newest is last.
  --reverse           Reverse the order.
  --filter KEY=VALUE  List only runs with this value: status=finished,
                      name=mlp*, optimizer=adam. May be repeated.
  --diff A B          Compare two runs, by folder, name or latest: which keys
                      and results differ.
  --json              Print a list of JSON objects; accuracies are fractions
                      from 0 to 1.
  --plot FILE         Draw the listed runs' curves as a PNG.
  --report FILE       Write a report on the listed runs as one HTML file,
                      pictures included.
  --debug             Show the traceback of an error.
  --version           Show the version and exit.
  -h, --help          Show this message and exit.
""",
    "sweep": """\
  Search for better settings: train a config many times with other values, and
  compare the validation results.

  The same command on several machines with one --storage works on one study.
  Continue a sweep that was stopped with its --run-dir, or its --storage.
  Without SWEEP the sweeps that come with the package are listed.

Options:
  -c, --config SWEEP  The same as SWEEP without an option.
  --trials N          Total number of trials, with those of earlier sessions.
                      [x>=1]
  --jobs J            Trials at the same time, sharing the cores (default: one
                      for each GPU, or 1).  [x>=1]
  --minutes M         Stop after M minutes.  [x>=0]
  --storage URL       Keep the study in a database: sqlite:///FILE or
                      postgresql://USER@HOST/DB.
  --run-dir DIR       Write to this folder, or continue the sweep in it.
  --slurm             Print a batch script for Slurm (sbatch): J jobs with one
                      study in PostgreSQL; run nothing.
  --quiet             Print only the result, and warnings.
  --json              Print one JSON object; accuracies are fractions from 0
                      to 1.
  --debug             Show the traceback of an error.
  --version           Show the version and exit.
  -h, --help          Show this message and exit.
""",
}


@pytest.mark.parametrize("name", sorted(HELP))
def test_the_whole_help(name: str, light: Light) -> None:
    done = light(name, "--help")
    usage, about, arguments, options = re.split(r"\n\n(?=  [A-Z]|Arguments:|Options:)", done.out, maxsplit=3)
    if name in ("train", "sweep", "export"):  # whose texts have two paragraphs
        about, arguments, options = f"{about}\n\n{arguments}", *re.split(r"\n\n(?=Options:)", options)
    assert (done.code, done.err) == (0, "")
    assert usage.startswith(f"Usage: mnist-{name} [OPTIONS] ")
    assert f"{about}\n\n{options}" == HELP[name]
    # how arguments are shown differs from one version of typer to the next
    words = {"eval": ["CHECKPOINT", "KEY=VALUE"], "predict": ["IMAGE", "FOLDER"], "runs": ["DIR"], "sweep": ["SWEEP"]}
    words["export"] = ["CHECKPOINT"]
    for word in words.get(name, ["KEY=VALUE"]):
        assert word in usage
        assert word in arguments


def test_a_list_of_configs_with_a_phrase_each(light: Light) -> None:
    done = light("train")
    head, table, examples = done.out.split("\n\n")
    assert (done.code, done.err) == (0, "")
    assert head == "Configs that come with mnist-train, in the order of a course:"
    found = [line.split(maxsplit=1) for line in table.splitlines()]
    assert found == [[name, phrase] for name, phrase in shipped().items()]
    assert "mnist-train quickstart\n" in examples


def test_mistakes_in_a_config_are_told_whole_with_their_places(light: Light, here: Path) -> None:
    (here / "wrong.yaml").write_text("model:\n  architecture: mlp\n  hiden: [64]\n  dropout: 2\nname: off\n")
    overrides = ["optimizer.lr=-1", "trainig.epochs=1"]
    done = light("train", "--config", "wrong.yaml", *overrides, "--device", "tpu", "--seed", "x")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "wrong.yaml:3:3  model.hiden: unknown key; did you mean 'hidden'?",
        "wrong.yaml:4:12  model.dropout: must be less than 1, got 2",
        "wrong.yaml:5:7  name: off is false for some programs and text for others; write false, or quote it; "
        "null switches a part off",
        "override 1  optimizer.lr: must be greater than 0, got -1",
        "override 2  trainig: unknown key; did you mean 'training'?",
        "--device  device: 'tpu' is not possible here (cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one)",
        "--seed  seed: expected a whole number, got text 'x'",
    ]


def test_overrides_may_stand_anywhere(light: Light, here: Path) -> None:
    done = light("train", "seed=x", "--config", "tiny.yaml", "threads=z")
    assert done.err.splitlines() == [
        "override 1  seed: expected a whole number, got text 'x'",
        "override 2  threads: expected a whole number, got text 'z'",
    ]
    assert done.code == 2


def test_a_config_that_is_not_there_is_told(light: Light, here: Path) -> None:
    done = light("train", "--config", "quikstart")
    assert done == (2, "", "quikstart  no such file; did you mean the shipped config 'quickstart'?\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1"], "No config is given. For example: mnist-train quickstart seed=1"),
        (["a=[1]", "seed=1"], "No config is given. For example: mnist-train quickstart 'a=[1]' seed=1"),
        (["mlpp"], "mlpp  no such file; did you mean the shipped config 'mlp'?"),
    ],
)
def test_without_a_config_it_says_how_to_name_one(command: Any, arguments: list[str], message: str) -> None:
    assert command("train", *arguments) == (2, "", f"{message}\n")


def test_an_unknown_option_is_a_wrong_usage(light: Light) -> None:
    done = light("train", "--confg", "mlp")
    assert (done.code, done.out) == (2, "")
    assert done.err == "mnist-train has no option --confg. Did you mean --config?\n"


@pytest.mark.parametrize("name", sorted(HELP))
def test_the_version(name: str, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"1.2.3 of {package}")
    assert command(name, "--version") == (0, "mnist-trainer 1.2.3 of mnist-trainer\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--csv"], "--json and --csv print the same predictions in two formats: leave one out."),
        (["--json", "--top", "3"], "--show and --top can't be combined with --json or --csv: leave one out."),
        (["--csv", "--show"], "--show and --top can't be combined with --json or --csv: leave one out."),
        (["--min-confidence", "90"], "--min-confidence must be from 0 to 1, got 90; 90 % is 0.9."),
        (["--min-confidence", "nan"], "--min-confidence must be from 0 to 1, got nan; 90 % is 0.9."),
    ],
)
def test_wrong_options_are_told_before_a_picture_is_opened(light: Light, options: list[str], message: str) -> None:
    assert light("predict", "7.png", *options) == (2, "", f"{message}\n")


@pytest.mark.parametrize("options", [["--expect", "word"], ["--top", "0"], ["--min-confidence", "much"]])
def test_a_wrong_usage_names_the_option(light: Light, options: list[str]) -> None:
    done = light("predict", "7.png", *options)
    assert (done.code, done.out) == (2, "")
    assert f"'{options[0]}'" in done.err


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("eval", "mnist-eval latest"),
        ("predict", "mnist-predict picture.png"),
        ("export", "mnist-export latest --to onnx"),
    ],
)
def test_without_arguments_an_example_is_shown(light: Light, name: str, example: str) -> None:
    done = light(name)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[1:] == [f"  {example}", f"mnist-{name} --help lists all options."]


WATCHED = """
import sys
sys.argv[:2] = ["mnist-predict"]
from mnist_trainer.cli.options import run_app
try:
    run_app("predict")
finally:
    slow = ("torchvision", "matplotlib", "rich", "torch", "pandas", "scipy", "tensorboard", "optuna")
    print("loaded:", *(name for name in slow if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.slow
def test_one_digit_is_read_without_what_is_slow_to_load(completed: Any, here: Path) -> None:
    """An image as MNIST has it needs nothing but NumPy, Pillow and OpenCV."""
    from PIL import Image

    from mnist_trainer.data.digits import load_digits

    Image.fromarray(load_digits("test").images[0].numpy()).save(here / "digit.png")
    for options in (["--show", "--top", "3"], ["--json", "--save-steps", "steps"]):
        done = completed("predict", "digit.png", *options, script=WATCHED)
        assert (done.code, done.err.splitlines()[-1]) == (0, "loaded:"), done.err
