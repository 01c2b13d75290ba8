"""Shell completion: a static script with the options of all commands and the names of all configs.

Tab does not start Python, which would take a second.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple

import typer

from mnist_trainer.cli.start import COMMANDS

Shell = Literal["bash", "zsh", "fish"]


class _Option(NamedTuple):
    """An option of a command. `values` are the words that may follow it: None for a flag, empty for a file."""

    names: list[str]
    values: list[str] | None
    text: str


def _options(name: str) -> tuple[list[_Option], list[str]]:
    """Return the options of a command, and the words that may be its arguments."""
    from mnist_trainer.cli.mnist_eval import SplitName
    from mnist_trainer.cli.mnist_predict import Expected
    from mnist_trainer.config.shipped import shipped, sweeps

    configs = [*(sweeps() if name == "sweep" else shipped())]
    values = {
        **dict.fromkeys(("--config", "--copy-config"), configs),
        "--device": ["cpu", "cuda", "mps", "auto"],
        "--resume": ["latest"],
        "--checkpoint": ["bundled", "latest"],
        "--split": [*SplitName],
        "--expect": [*Expected],
        "--on-interrupt": ["stop", "finish"],
        "--completion": ["bash", "zsh", "fish"],
    }
    command = typer.main.get_command(import_module(f"mnist_trainer.cli.mnist_{name}").app)
    found: list[Any] = [each for each in command.get_params(typer.Context(command)) if each.opts[0].startswith("-")]
    options = []
    for each in found:
        after = next((values[option] for option in each.opts if option in values), [])
        options.append(_Option(each.opts, None if each.is_flag else after, each.help))
    return options, {"train": configs, "sweep": configs, "eval": ["latest"]}.get(name, [])


def _bash() -> Iterator[str]:
    yield "_mnist_trainer() {"
    yield "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=''"
    yield '  case "${COMP_WORDS[0]##*/} $before" in'
    for name in COMMANDS:
        options, arguments = _options(name)
        for option in options:
            if option.values is not None:
                cases = "|".join(f"'mnist-{name} {each}'" for each in option.names)
                yield f"    {cases}) words='{' '.join(option.values)}' ;;"
        flags = [each for option in options for each in option.names]
        yield f"    'mnist-{name} '*) words='{' '.join([*arguments, *flags])}' ;;"
    yield "  esac"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield f"complete -o default -F _mnist_trainer {' '.join(f'mnist-{name}' for name in COMMANDS)}"


def _zsh() -> Iterator[str]:
    yield "(( $+functions[compdef] )) || { autoload -U compinit && compinit }"
    yield "autoload -U bashcompinit && bashcompinit"
    yield from _bash()


def _fish() -> Iterator[str]:
    for name in COMMANDS:
        options, arguments = _options(name)
        if arguments:
            yield f"complete -c mnist-{name} -a '{' '.join(arguments)}'"
        for option in options:
            names = " ".join(f"-l {each[2:]}" if each[:2] == "--" else f"-s {each[1:]}" for each in option.names)
            values = "" if option.values is None else " -r" + (f" -a '{' '.join(option.values)}'" * bool(option.values))
            yield f"complete -c mnist-{name} {names}{values} -d {shlex.quote(option.text)}"


def _print_completion(shell: Shell | None) -> None:
    if shell is not None:
        print("\n".join({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()))
        raise typer.Exit


Completion = Annotated[
    Shell | None,
    typer.Option(
        "--completion",
        metavar="SHELL",
        callback=_print_completion,
        is_eager=True,
        help="Print a script that completes all mnist-* commands in bash, zsh or fish.",
    ),
]
