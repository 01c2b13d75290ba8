"""`mnist-runs`: list the runs in a folder as a table."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_safe, require, terminal_width
from mnist_trainer.cli.options import Debug, Version, flag, new_app, option
from mnist_trainer.errors import shell_quote

if TYPE_CHECKING:
    from mnist_trainer.studies.run_summary import RunSummary

app = new_app()

FOLDER = "The folder that contains the runs, or the folder of a series; default: runs. With --report also single runs."
SORT = "Sort by a column or a key of the config, lowest first. Without it the newest is last."
FILTER = "List only runs with this value: status=finished, name=mlp*, optimizer=adam. May be repeated."
DIFF = "Compare two runs, by folder, name or latest: which keys and results differ."
REPORT = "Write a report on the listed runs as one HTML file, pictures included."
JSON = "Print a list of JSON objects; accuracies are fractions from 0 to 1."


@app.command(cls=Command)
def runs(  # noqa: PLR0913, PLR0917 - one for each option
    folders: Annotated[list[Path] | None, typer.Argument(metavar="DIR", help=FOLDER)] = None,
    sort: Annotated[str | None, option("--sort", "KEY", SORT)] = None,
    reverse: Annotated[bool, flag("--reverse", "Reverse the order.")] = False,
    filters: Annotated[list[str] | None, option("--filter", "KEY=VALUE", FILTER)] = None,
    diff: Annotated[tuple[str, str] | None, option("--diff", "A B", DIFF)] = None,
    as_json: Annotated[bool, flag("--json", JSON)] = False,
    plot: Annotated[Path | None, option("--plot", "FILE", "Draw the listed runs' curves as a PNG.")] = None,
    report: Annotated[Path | None, option("--report", "FILE", REPORT)] = None,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """List the runs in a folder: what was trained, how it ended, validation and test metrics."""
    with handle_errors(debug):
        folder, *others = folders or [Path("runs")]
        alone = f"Name one folder, the one that holds the runs: mnist-runs {shell_quote(folder.parent)}"
        require({alone: not others or (report is not None and diff is None)})
        require({f"--plot writes a PNG; {plot} does not end in .png.": plot is None or plot.suffix.lower() == ".png"})
        is_html = report is None or report.suffix.lower() in (".html", ".htm")
        require({f"--report writes HTML; {report} does not end in .html.": is_html})
        if diff is not None:
            alone = "--diff already names its two runs: leave --filter, --sort and --reverse out."
            require({alone: not (filters or reverse or sort)})
            listed = _show_difference(folder, diff, as_json)
        else:
            found = _find_runs([folder, *others], any_name=report is not None)
            listed = _show_list(found, folder, filters or [], sort, reverse, as_json)
        if plot is not None:
            print_safe(_draw_curves(listed, plot, folder), err=as_json)
        if report is not None:
            print_safe(_write_report(listed, report, folder), err=as_json)


def _find_runs(folders: Sequence[Path], any_name: bool) -> list[RunSummary]:
    """Return the runs in folders; with `any_name` also runs by their folder or name, each once."""
    from mnist_trainer.files import is_folder
    from mnist_trainer.storage.run_folder import find_path, holds_run
    from mnist_trainer.studies.run_diff import find_summary
    from mnist_trainer.studies.run_summary import read_runs

    found = {}
    for folder in folders:
        path = find_path(str(folder))
        is_run = any_name and (holds_run(path) or not is_folder(path))
        for run in [find_summary(str(folder), Path("runs"))] if is_run else read_runs(folder):
            found[os.path.realpath(run.path)] = run
    return list(found.values())


def _show_list(
    found: Sequence[RunSummary], folder: Path, filters: Sequence[str], sort: str | None, reverse: bool, as_json: bool
) -> Sequence[RunSummary]:
    """Print the runs of `found` that match, as a table or as JSON, and return them."""
    from mnist_trainer.studies.run_table import filtered, order_notes, ordered, table

    listed = ordered(filtered(found, filters), sort, reverse)
    if as_json:
        print(json.dumps([run.to_json() for run in listed]))
    elif not found:
        print_safe(f"There are no runs in {folder} yet. Train one: mnist-train --config quickstart")
    elif not listed:
        print_safe(f"None of the {len(found)} runs in {folder} has {' and '.join(filters)}.")
    else:
        _print_table(*table(listed, terminal_width()))
    for note in order_notes(listed, sort):
        print_safe(note, err=True)
    return listed


def _show_difference(folder: Path, names: tuple[str, str], as_json: bool) -> Sequence[RunSummary]:
    """Print the differences of two runs, and return both."""
    from mnist_trainer.studies.run_diff import compare, difference_table, find_summary

    first, second = (find_summary(name, folder) for name in names)
    found = compare(first, second)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        _print_table(*difference_table(found, terminal_width()))
    return [first, second]


def _print_table(lines: Sequence[str], notes: Sequence[str]) -> None:
    head, *rows = lines
    typer.secho(head, bold=True)
    print_safe("\n".join([*rows, "", *notes] if notes else rows))


def _draw_curves(listed: Sequence[RunSummary], file: Path, folder: Path) -> str:
    """Plot the learning curves of the runs to `file`. Return the message to print."""
    from mnist_trainer.files import write_bytes
    from mnist_trainer.reports.curves import overlaid_curves
    from mnist_trainer.reports.text import plural
    from mnist_trainer.studies.run_table import curves

    drawn, others = curves(listed)
    require({f"Nothing to draw: no run listed of {folder} has completed an epoch.": drawn})
    write_bytes(file, overlaid_curves(drawn, f"{folder}: {plural(len(drawn), 'run')}"))
    left_out = f"; left out, without an epoch: {', '.join(others)}" if others else ""
    return f"Written to {file}{left_out}"


def _write_report(listed: Sequence[RunSummary], file: Path, folder: Path) -> str:
    """Write the report on the runs to `file`. Return the message to print."""
    from mnist_trainer.files import write_text
    from mnist_trainer.studies.html_report import report_html

    require({f"Nothing to report: no run of {folder} is listed.": listed})
    write_text(file, report_html(listed))
    return f"Written to {file}"
