"""A report on one run or several, as one HTML file: what was trained on what, the results, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import changed_keys, differences, dump_config, load_config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.errors import TrainerError, shell_quote
from mnist_trainer.reports.curves import TrainingSummary, curves, overlaid_curves
from mnist_trainer.reports.html import Html, commands, element, facts, figure, join, page, table
from mnist_trainer.reports.results import SIGNIFICANT
from mnist_trainer.reports.text import STOP_REASONS, interval, loss_text, percent, plural
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies import run_table
from mnist_trainer.studies.run_summary import KILLED, DataFacts, RunRecord, RunSummary, Session, read_record, read_run
from mnist_trainer.studies.run_table import MEMBERS, format_problems, format_value

MAX_PICTURE_BYTES = 20_000_000
"""Larger files in `plots/` are no plots of this program."""

CURVES = (
    "Loss and accuracy after each epoch. The training values are means over an epoch in which the model still learned, "
    "with dropout and augmentation; the validation values were measured after it, without them."
)
PREDICTED = {
    "confusion": "Confusion matrix. A row holds the images of one true class, a column what the model answered; the "
    "numbers beside the diagonal are mistakes.",
    "mistakes": "The mistakes with the highest output for the wrong class: true class → the model's answer.",
}
"""The plots of predictions in a finished run's folder, and their captions."""

WEIGHTS = "Weights of the first layer, a picture for each unit: ink on red raises its output, ink on blue lowers it."

UNFINISHED = {
    "running": "This training is still running",
    KILLED: "The process of this training was killed before its end",
    "interrupted": "This training was interrupted before its end",
    "failed": "This training failed with an error",
}
"""What to say about a run that is not finished."""


KINDS = {"run": "Report on a training", "seeds": "Report on a series of trainings", "sweep": "Report on a sweep"}


def report_html(runs: Sequence[RunSummary]) -> str:
    """Return a page on at least one run: one file with its pictures inside, without scripts, for screens and paper.

    All is read from the folders of the runs, but for McNemar's p-values of several runs: the models predict the test
    images again. What is missing or damaged is named in the page, not raised.
    """
    kind = KINDS.get(runs[0].kind, KINDS["run"]) if len(runs) == 1 else "Report on several runs"
    made = f"{kind}, made by mnist-trainer {package_version()}, {_time(datetime.now().astimezone())}"
    head = element("p", made, class_="soft")
    if len(runs) == 1:
        return page(runs[0].name, head, *_run(runs[0], runs[0].name))
    title = f"{len(runs)} runs"
    names = [f"{_letter(index)}: {label}" for index, label in enumerate(run_table.labels(runs))]
    parts = [element("div", *_run(run, name), class_="next-page") for run, name in zip(runs, names, strict=True)]
    return page(title, head, element("h1", title), *_comparison(runs, names), *parts)


def _time(time: datetime | None) -> str:
    return "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M %Z}"


def _letter(index: int) -> str:
    """Return A to Z, then A1, B1, …"""
    return chr(ord("A") + index % 26) + (str(index // 26) if index >= 26 else "")


# --- one run ---


def _run(run: RunSummary, title: str) -> Iterator[Html]:
    """Yield the sections on a run, a series or a sweep."""
    record = read_record(run.path / "run.json", [])
    yield element("h1", title)
    yield element("p", f"{run.model or 'unknown model'} on {run.task or 'unknown data'}", class_="soft")
    if run.problems:
        yield _note(f"This folder is damaged: {format_problems(run)}.", "warn")
    yield from _result(run, record)
    yield from _diagnosis(record)
    yield element("h2", "What was trained on what")
    yield facts(_trained(run, record))
    yield element("h2", "Learning curves")
    yield _curves(run, record)
    yield from _pictures(run)
    yield from _members(run)
    yield from _config(run)
    yield from _sessions(run, record)
    yield from _repeat(run, record)


def _note(text: str, kind: str = "") -> Html:
    return element("p", text, class_=f"note {kind}".rstrip())


def _result(run: RunSummary, record: RunRecord) -> Iterator[Html]:
    """Yield the accuracy with its interval, and what it means."""
    yield element("h2", "Result")
    if run.status in UNFINISHED:
        reason = f" ({run.stop_reason})" if run.status == "failed" and run.stop_reason else ""
        done = f"{run.epochs or 0} of {run.planned_epochs or '?'} epochs are complete"
        shown = "" if run.val_accuracy is None else " The figures are those of the epoch that is kept."
        yield _note(f"{UNFINISHED[run.status]}{reason}; {done}.{shown}", "warn")
    part = "validation" if run.test_accuracy is None else "test"
    accuracy, loss = (run.val_accuracy, run.val_loss) if part == "validation" else (run.test_accuracy, run.test_loss)
    if accuracy is None:
        yield element("p", "There is no accuracy: no epoch with validation images is complete, and there was no test.")
        return
    metrics = record.test if part == "test" else record.validation
    bounds = metrics.interval if metrics and run.kind == "run" else run.test_interval
    about = [f"95 % interval {interval(bounds)}"] if bounds else []
    about += [f"{part} loss {loss_text(loss)} ({run.loss or 'unknown'})"] if loss is not None else []
    number = join(element("b", percent(accuracy)), f" {part} accuracy", element("p", "; ".join(about), class_="soft"))
    meaning = _meaning(run, accuracy, metrics.count if metrics else None, bounds, part)
    yield element("div", number, *meaning, class_="result")


def _meaning(
    run: RunSummary, accuracy: float, count: int | None, bounds: tuple[float, float] | None, part: str
) -> Iterator[Html]:
    """Yield what an accuracy means, in plain sentences."""
    if run.kind == "seeds":
        text = "It is the mean over the runs of the series, which differ only in their seed."
        more = " The interval is that of the mean: it shows how much the result depends on the seed."
        yield element("p", text + (more if bounds else ""))
    elif run.kind == "sweep":
        yield element("p", "It is that of the best of many trials, and so a little too high: test its model once.")
    elif count:
        wrong = round(count * (1 - accuracy))
        rate = f"about 1 image in {round(count / wrong):,} is wrong" if wrong else "none is wrong"
        rate = f"{wrong:,} are wrong" if wrong > count / 2 else rate
        yield element("p", f"Of {plural(count, f'{part} image')} it classifies {count - wrong:,} correctly: {rate}.")
    if part == "validation" and run.kind == "run":
        unused = "Epoch and settings are chosen by validation images, so this may be a little too high: it is no test."
        yield element("p", unused)
    elif bounds and run.kind == "run":
        low_high = interval(bounds).replace(" to ", " and ")
        text = f"On all images of this kind the accuracy is between {low_high}, with 95 % confidence:"
        images = f"{count:,} images" if count else "so few images"
        limit = f"{images} can't tell it more exactly. Another seed, or other handwriting, may give another result."
        yield element("p", f"{text} {limit}")


def _trained(run: RunSummary, record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield names and values of the data, the model and the training."""
    data, tested = record.data or DataFacts(name=""), record.test.count if record.test else None
    counts = ((data.train_count, "training"), (data.validation_count, "validation"), (tested, "test"))
    yield "Data set", run.task or ""
    yield "Images", ", ".join(f"{count:,} {part}" for count, part in counts if count is not None)
    drawn = f"data.fold {data.fold} of those" if data.fold else "validation images"
    drawn += f" drawn by data.split_seed {data.split_seed}{', writer by writer' if data.split == 'writers' else ''}"
    yield "Split", "" if data.split_seed is None else drawn
    yield "Hash of the images", data.fingerprint or ""
    yield "Model", run.model or ""
    yield "Parameters", format_value("parameters", run.parameters).strip("-")
    yield "Loss", run.loss or ""
    yield ("Seeds", ", ".join(map(str, record.seeds))) if record.seeds else ("Seed", format_value("", run.seed))
    epochs = "" if run.epochs is None else f"{run.epochs} of {run.planned_epochs or '?'}"
    yield "Epochs", f"{epochs}; epoch {run.best_epoch} is kept" if epochs and run.best_epoch else epochs
    yield "End", STOP_REASONS.get(run.stop_reason or "", "") if run.status == "finished" else ""
    yield "Time", "" if run.seconds is None else f"{run.seconds:,.1f} s of training"
    yield "Own parts", ", ".join(f"{key}: {name}" for key, name in (record.custom or {}).items())
    yield "Folder", run.folder


def _curves(run: RunSummary, record: RunRecord) -> Html:
    """Return the stored curves of a finished run; those of another one are drawn from its metrics."""
    alt = f"Curves of loss, accuracy and learning rate over {plural(len(run.rows), 'epoch')} of {run.name}"
    if run.kind != "run":
        drawn, _ = run_table.curves([run])
        return figure(overlaid_curves(drawn, run.name), alt, "A curve for each run.") if drawn else _no_curves()
    stored = _picture(run.path, "curves") if run.status == "finished" else None
    if stored is None and not run.rows:
        return _no_curves()
    training = run.config.get("training") or {}
    rule = (training.get("early_stopping") or {}).get("monitor", "val_loss") if training.get("keep") != "last" else None
    loss = (record.custom or {}).get("loss") or (run.config.get("loss") or {}).get("name") or "loss"
    summary = TrainingSummary(run.best_epoch, rule, loss=f"{loss}, mean per image")
    return figure(stored or curves(run.rows, summary, run.name, "svg"), alt, CURVES, shape="flat")


def _no_curves() -> Html:
    return element("p", "There are no curves: no epoch is complete.")


def _picture(folder: Path, name: str) -> bytes | None:
    """Return the plot `name` in a run's folder, a PNG or an SVG, or None if there is none."""
    for path in (RunFolder(folder).plots / f"{name}.{ending}" for ending in ("png", "svg")):
        try:
            if path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES:
                content = path.read_bytes()
                if content.startswith((b"\x89PNG", b"<?xml", b"<svg")):
                    return content
        except OSError:
            continue
    return None


def _diagnosis(record: RunRecord) -> Iterator[Html]:
    """Yield the diagnosis in words."""
    if found := record.diagnosis:
        yield element("h2", "Diagnosis")
        for finding in found.findings:
            yield _note(finding.text, "good" if found.healthy else "warn")
        if found.suggestion:
            yield element("p", "To try next: ", element("code", found.suggestion))


def _config(run: RunSummary) -> Iterator[Html]:
    """Yield the keys that differ from the defaults, and the whole config, folded."""
    yield element("h2", "Config")
    if not run.config:
        yield element("p", "The config is not known.")
        return
    changed = dump_config(changed_keys(load_config(run.config)))
    lead = "What differs from the defaults; the training can be repeated with this alone:"
    yield element("p", lead, class_="lead")
    yield element("pre", changed)
    whole = element("pre", dump_config(run.config))
    yield element("details", element("summary", "The whole config, with all defaults"), whole)


def _pictures(run: RunSummary) -> Iterator[Html]:
    """Yield the plots of the predictions and weights of a finished run, and what is missing; all plots of a study."""
    if run.kind != "run":
        stems = sorted({path.stem for path in RunFolder(run.path).plots.glob("*.*")})
        found = {name: each for name in stems if (each := _picture(run.path, name))}
        yield from (figure(each, f"Plot {name} of {run.name}", name) for name, each in found.items())
        return
    if run.status != "finished":
        return
    part = "validation" if run.test_accuracy is None else "test"
    yield element("h2", f"Where it is wrong ({part} images)")
    missing = []
    for name, caption in PREDICTED.items():
        if (image := _picture(run.path, name)) is None:
            missing.append(name)
        else:
            yield figure(image, f"{caption.split('.')[0].split(':')[0]}, {part} images of {run.task}", caption)
    if missing:
        names = " and ".join(f"{name}.png" for name in missing)
        text = f"Not in the run's folder: {names}. This command writes the pictures to the folder report:"
        yield element("p", text, class_="lead")
        yield commands(("mnist-eval", shell_quote(run.path), "--split", part, "--out", "report"))
    if (image := _picture(run.path, "weights")) is not None:
        yield element("h2", "What the first layer looks for")
        yield figure(image, f"Weights of the first layer of {run.name}", WEIGHTS, shape="flat")


def _members(run: RunSummary) -> Iterator[Html]:
    """Yield the runs of a series."""
    if run.kind == "seeds":
        yield element("h2", "Runs of the series")
        members = [read_run(path) for path in sorted(run.path.glob("seed-*"))]
        yield table(HEADS, [_row(member.folder, member) for member in members], NUMBERS)


def _sessions(run: RunSummary, record: RunRecord) -> Iterator[Html]:
    """Yield the machine, the versions, and when the training was resumed."""
    yield element("h2", "Machine, versions and sessions")
    device = record.device_name if record.device_name and record.device != "cpu" else ""
    machine = [record.device or "", device, record.precision or ""]  # empty ones are left out
    machine += [] if record.threads is None else [plural(record.threads, "thread")]
    versions = ", ".join(f"{name} {version}" for name, version in (record.versions or {}).items())
    began, ended = _time(run.started_at), _time(run.finished_at)
    lines = [("Device", ", ".join(filter(None, machine))), ("Platform", record.platform or ""), ("Versions", versions)]
    yield facts([*lines, ("Commit", record.git_commit or ""), ("Started", began), ("Ended", ended)])
    if len(sessions := record.sessions or []) > 1:
        yield element("p", f"The training ran in {len(sessions)} sessions: it was resumed {_times(len(sessions) - 1)}.")
        yield table(("session", "from", "to", "epochs", "ended"), map(_session, range(1, len(sessions) + 1), sessions))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _session(number: int, session: Session) -> tuple[str, ...]:
    """Return the row of a session; epochs are those that were complete at its begin and end."""
    epochs = [str(each.epochs) if each else "?" for each in (session.began, session.ended)]
    return str(number), _time(session.started_at), _time(session.finished_at), " to ".join(epochs), session.status


def _repeat(run: RunSummary, record: RunRecord) -> Iterator[Html]:
    """Yield the commands that repeat the training and its evaluation, with the number of threads."""
    if run.kind == "sweep" or not run.config:
        return
    yield element("h2", "How to repeat it")
    if record.custom:
        yield element("p", "This training has parts of its own, written in Python: the commands below leave them out.")
    threads = [f"threads={record.threads}"] if record.threads and not run.config.get("threads") else []
    seeds = ["--seeds", _seeds(record.seeds or [])] if run.kind == "seeds" else []
    path = run.path if run.path.name.strip(".") else run.path.resolve()  # . and .. have no names
    again = path.with_name(f"{path.name}-again")
    train = ("mnist-train", "--config", path / "config.yaml", *threads, *seeds, "--run-dir", again)
    show = ("mnist-eval" if run.kind == "run" else "mnist-runs", again)
    yield commands(*(list(map(shell_quote, words)) for words in (train, show)))
    same = "With the same images, versions and machine the result is the same, bit by bit."
    advice = "Without the run's folder: save the config above as a file, and name it instead."
    yield element("p", f"{f'{same} ' if record.deterministic else ''}{advice}", class_="soft")


def _seeds(seeds: Sequence[int]) -> str:
    """Return the value of `--seeds`."""
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


# --- several runs ---

HEADS = ("run", "seed", "epochs", "kept", "validation", "test", "95 % interval", "status")
NUMBERS = (1, 2, 3, 4, 5, 6)
"""The positions of numbers in a row."""


def _row(name: str, run: RunSummary) -> tuple[str, ...]:
    """Return the cells of a run below `HEADS`."""
    keys = ("epochs", "best_epoch", "val_accuracy", "test_accuracy", "test_interval")
    cells = [format_value(key, getattr(run, key)) for key in keys]
    seed = format_value("", run.seed) if run.kind == "run" else f"{run.members or '?'} {MEMBERS.get(run.kind, 'runs')}"
    about = element("p", f"{run.model or 'unknown model'} on {run.task or 'unknown data'}")
    return join(name, about), seed, *cells, run.status or "-"


def _comparison(runs: Sequence[RunSummary], names: Sequence[str]) -> Iterator[Html]:
    """Yield the table of the runs, their curves, whether the differences are significant, and what differs."""
    yield table(HEADS, map(_row, names, runs), NUMBERS)
    choose = "A run that is chosen by its test accuracy looks better than it is: choose by the validation accuracy."
    yield element("p", choose, class_="soft")
    pairs = zip(names, runs, strict=True)
    drawn = [replace(each, label=name) for name, run in pairs for each in run_table.curves([run])[0]]
    if drawn:
        alt = f"Validation loss and accuracy over the epochs of {len(runs)} runs"
        kinds = {(each.task, each.loss_kind) for each in drawn}
        caption = "The curves of all runs." if len(kinds) == 1 else "Runs with the same data set and loss share axes."
        yield figure(overlaid_curves(drawn, "Learning curves"), alt, caption, "tall")
    yield from _significance(runs, names)
    yield element("h2", "What differs between them")
    parts = [{**run.config, "name": None} for run in runs], [run.made_with for run in runs]
    keys = [dict.fromkeys(each.key for other in part for each in differences(part[0], other)) for part in parts]
    rows = [(key, *(format_value(key, _value_at(run.config, key)) for run in runs)) for key in keys[0]]
    rows += [(key, *(format_value(key, run.made_with.get(key)) for run in runs)) for key in keys[1]]
    same = element("p", "Neither the configs nor the versions and devices differ.")
    yield table(("key", *map(_letter, range(len(runs)))), rows) if rows else same


def _value_at(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key such as `optimizer.lr`, or None."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _significance(runs: Sequence[RunSummary], names: Sequence[str]) -> Iterator[Html]:
    """Yield whether tested runs differ significantly from the first of those with the same data, by McNemar's test."""
    yield element("h2", "Are the differences significant?")
    tested = [index for index, run in enumerate(runs) if run.kind == "run" and run.test_accuracy is not None]
    groups = [[index for index in tested if runs[index].task == task] for task in dict.fromkeys(r.task for r in runs)]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        yield element("p", "This needs two single runs with a test result on the same data.")
        return
    for group in groups:
        yield from _mcnemar([runs[index] for index in group], [names[index] for index in group])
    text = (
        "The models answered the same test images. p is the probability that two equally good models differ at least "
    )
    text += f"as much by chance (McNemar's exact test); below {SIGNIFICANT} a difference is called significant."
    many = sum(len(group) - 1 for group in groups) > 2
    chance = " Of 20 tests of equally good models, one is significant by chance on average." if many else ""
    yield element("p", text + chance)


def _mcnemar(runs: Sequence[RunSummary], names: Sequence[str]) -> Iterator[Html]:
    """Yield the comparisons of each run with the first one, and why others could not be compared."""
    from mnist_trainer.pipeline.evaluate import compare_with_first

    first, lines, errors = names[0].split(":")[0], [], []
    for name, found in zip(names[1:], compare_with_first([run.path for run in runs]), strict=True):
        if isinstance(found, TrainerError):
            errors.append(f"{name} can't be compared with {first}. {found}")
            continue
        better = "better" if found.only_second > found.only_first else "worse"
        verdict = f"significantly {better} than {first}" if found.p < SIGNIFICANT else "not significant"
        p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
        lines.append((name, f"{found.only_second:,}", f"{found.only_first:,}", p, verdict))
    heads = ("run", f"right where {first} is wrong", f"wrong where {first} is right", "p", "difference")
    if lines:
        yield table(heads, lines, (1, 2, 3))
    yield from (_note(error, "warn") for error in errors)
