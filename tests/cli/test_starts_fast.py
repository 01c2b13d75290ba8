"""What needs no training loads nothing heavy: help, the list of configs, mistakes in commands and configs."""

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
  Train a model for handwritten digits as a YAML file says, measure it, and
  write everything to runs/.

  Without --config the configs that come with the package are listed.

Options:
  --config FILE       A YAML file, or the name of a shipped config.
  --run-dir DIR       Write to exactly this folder.
  --device NAME       cpu, cuda, cuda:1, mps or auto.
  --seed N            Of initial weights, order, dropout.
  --seeds N           Train with seeds 0 to N-1, or 4,7,9: a series of runs.
  --jobs J            Runs of a series at a time; they share the cores.
  --resume RUN        Go on with a run: its folder, its last.pt, or latest.
  --take-over         With --resume: from a dead process on another host.
  --on-interrupt HOW  By Ctrl-C: stop, or finish: test what is.
  --check             Show the model and what it needs; train nothing.
  --show-batch FILE   Draw the first batch, deformed, as a PNG; train nothing.
  --quiet             Print the result alone.
  --debug             Show the traceback of an error.
  --version           Show the version and exit.
  --help              Show this message and exit.
""",
    "eval": """\
  Measure a trained model, or several as an ensemble: accuracy, errors, loss,
  each digit, calibration.

Options:
  --split PART      Which images: test, validation, train; of qmnist also
                    test50k, those that MNIST left out.  [default: test]
  --out DIR         Write confusion.png, mistakes.png and predictions.csv
                    there.
  --save FILE       Write the ensemble as one checkpoint.
  --views N         Average over N slightly deformed copies of each image.
                    [default: 1]
  --calibrate FILE  Write a copy with its confidence fitted on validation
                    images.
  --compare         Of two checkpoints: is one better, or was it chance?
  --device NAME     cpu, cuda, cuda:1, mps or auto.
  --json            Print one JSON object; fractions from 0 to 1.
  --debug           Show the traceback of an error.
  --version         Show the version and exit.
  --help            Show this message and exit.
""",
    "predict": """\
  Read handwritten digits from pictures: any format, dark on light or light on
  dark, one digit or many.

Options:
  --checkpoint FILE|RUN|latest  The model: latest is the newest finished run,
                                bundled the one that comes with the package.
                                [default: bundled]
  --expect KIND                 What a picture holds: single (a digit), row,
                                page, or auto.  [default: auto]
  --min-confidence P            Refuse digits that are less sure than P (0 to
                                1).
  --top K                       Show the K likeliest answers to each digit;
                                else close ones.  [x>=1]
  --show                        Draw the 28×28 pixels that the network saw.
  --save-steps DIR              Write a PNG for each picture: how it was read.
  --out FILE                    Write Kaggle's ImageId,Label for the images in
                                the rows of a CSV file.
  --json                        Print a list with one object for each picture.
  --csv                         Print a table with one row for each picture.
  --debug                       Show the traceback of an error.
  --version                     Show the version and exit.
  --help                        Show this message and exit.
""",
    "runs": """\
  List the runs in a folder: what was trained, how it ended, validation and
  test figures.

Options:
  --sort KEY          By a column or a config's key, rising; else the newest
                      is last.
  --reverse           The other way round.
  --filter KEY=VALUE  Only these: status=finished, name=mlp*, optimizer=adam.
  --diff A B          What two runs, folders or names, differ in.
  --json              Print a list of objects; fractions from 0 to 1.
  --plot FILE         Draw the listed runs' curves as a PNG.
  --debug             Show the traceback of an error.
  --version           Show the version and exit.
  --help              Show this message and exit.
""",
    "sweep": """\
  Search for the best config: train it many times with other values, and judge
  by the validation images.

  The same command on several machines with one --storage works on one study.
  A sweep that was stopped goes on with its --run-dir, or its --storage.
  Without SWEEP the sweeps that come with the package are listed.

Options:
  --trials N     How many in all, those of before included.  [x>=1]
  --jobs J       Trials at a time; they share the cores.  [default: 1; x>=1]
  --minutes M    Stop when so much time is over.  [x>=0]
  --storage URL  Keep the study in sqlite:///FILE or
                 postgresql://USER@HOST/DB.
  --run-dir DIR  Write to exactly this folder, or go on in it.
  --quiet        Print the result alone.
  --json         Print one JSON object; fractions from 0 to 1.
  --debug        Show the traceback of an error.
  --version      Show the version and exit.
  --help         Show this message and exit.
""",
}


@pytest.mark.parametrize("name", sorted(HELP))
def test_the_whole_help(name: str, light: Light) -> None:
    done = light(name, "--help")
    usage, about, arguments, options = re.split(r"\n\n(?=  [A-Z]|Arguments:|Options:)", done.out, maxsplit=3)
    if name in ("train", "sweep"):  # whose texts have two paragraphs
        about, arguments, options = f"{about}\n\n{arguments}", *re.split(r"\n\n(?=Options:)", options)
    assert (done.code, done.err) == (0, "")
    assert usage.startswith(f"Usage: mnist-{name} [OPTIONS] ")
    assert f"{about}\n\n{options}" == HELP[name]
    # how arguments are shown differs from one version of typer to the next
    words = {"eval": ["CHECKPOINT", "KEY=VALUE"], "predict": ["IMAGE", "FOLDER"], "runs": ["DIR"], "sweep": ["SWEEP"]}
    for word in words.get(name, ["KEY=VALUE"]):
        assert word in usage
        assert word in arguments


def test_a_list_of_configs_with_a_phrase_each(light: Light) -> None:
    done = light("train")
    head, blank, *lines = done.out.splitlines()
    assert (done.code, done.err, blank) == (0, "", "")
    assert head == "Configs that come with mnist-train; train one with: mnist-train --config NAME"
    assert [line.split(maxsplit=1) for line in lines] == [[name, phrase] for name, phrase in shipped().items()]
    assert "quickstart" in shipped()


def test_mistakes_in_a_config_are_told_whole_with_their_places(light: Light, here: Path) -> None:
    (here / "wrong.yaml").write_text("model:\n  architecture: mlp\n  hiden: [64]\n  dropout: 2\nname: off\n")
    overrides = ["optimizer.lr=-1", "trainig.epochs=1"]
    done = light("train", "--config", "wrong.yaml", *overrides, "--device", "tpu", "--seed", "x")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "wrong.yaml:3:3  model.hiden: unknown key; did you mean 'hidden'?",
        "wrong.yaml:4:12  model.dropout: must be less than 1, got 2",
        "wrong.yaml:5:7  name: programs disagree whether off is false or text; write false, or quote it; "
        "null switches a part off",
        "override 1  optimizer.lr: must be greater than 0, got -1",
        "override 2  trainig: unknown key; did you mean 'training'?",
        "--device  device: 'tpu' is not possible here (cpu, cuda, cuda:1, mps; auto takes a GPU where there is one)",
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
        (["mlp"], "No config is named. Did you mean: mnist-train --config mlp?"),
        (["a.yaml", "seed=1"], "No config is named. Did you mean: mnist-train --config a.yaml?"),
        (["seed=1"], "No config is named. Name one: mnist-train --config FILE seed=1"),
    ],
)
def test_without_a_config_it_says_how_to_name_one(command: Any, arguments: list[str], message: str) -> None:
    assert command("train", *arguments) == (2, "", f"{message}\n")


def test_an_unknown_option_is_a_wrong_usage(light: Light) -> None:
    done = light("train", "--confg", "mlp")
    assert (done.code, done.out) == (2, "")
    assert "No such option: --confg" in done.err


@pytest.mark.parametrize("name", sorted(HELP))
def test_the_version(name: str, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"1.2.3 of {package}")
    assert command(name, "--version") == (0, "mnist-trainer 1.2.3 of mnist-trainer\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--csv"], "--json and --csv print the same answers in two forms: leave one out."),
        (["--json", "--top", "3"], "--show and --top are for people to look at: leave them out, or --json and --csv."),
        (["--csv", "--show"], "--show and --top are for people to look at: leave them out, or --json and --csv."),
        (["--min-confidence", "90"], "--min-confidence must be from 0 to 1, got 90; 90 % is 0.9."),
        (["--min-confidence", "nan"], "--min-confidence must be from 0 to 1, got nan; 90 % is 0.9."),
    ],
)
def test_wrong_options_are_told_before_a_picture_is_opened(light: Light, options: list[str], message: str) -> None:
    assert light("predict", "7.png", *options) == (2, "", f"{message}\n")


@pytest.mark.parametrize("options", [["--expect", "word"], ["--top", "0"], ["--min-confidence", "much"], []])
def test_a_wrong_usage_names_the_option(light: Light, options: list[str]) -> None:
    done = light("predict", *(["7.png", *options] if options else []))
    assert (done.code, done.out) == (2, "")
    assert f"'{options[0]}'" in done.err if options else "IMAGE" in done.err


WATCHED = """
import sys
sys.argv[:2] = ["mnist-predict"]
from mnist_trainer.cli.predict import main
try:
    main()
finally:
    slow = ("torchvision", "matplotlib", "rich", "cv2", "pandas", "scipy", "tensorboard", "optuna", "torch._dynamo")
    print("loaded:", *(name for name in slow if name in sys.modules), file=sys.stderr)
"""


def test_one_digit_is_read_without_what_is_slow_to_load(completed: Any, here: Path) -> None:
    """An image as MNIST has it needs nothing but torch, numpy and Pillow."""
    from PIL import Image

    from mnist_trainer.data.bundled import load_digits

    Image.fromarray(load_digits("test").images[0].numpy()).save(here / "digit.png")
    for options in (["--show", "--top", "3"], ["--json", "--save-steps", "steps"]):
        done = completed("predict", "digit.png", *options, script=WATCHED)
        assert (done.code, done.err.splitlines()[-1]) == (0, "loaded:"), done.err
