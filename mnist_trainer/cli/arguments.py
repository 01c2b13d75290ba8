"""Command-line arguments: patterns of files, unknown options, and which argument names the config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from glob import glob
from typing import Any

import typer
from typer.core import TyperCommand

from mnist_trainer.cli.common import print_error
from mnist_trainer.errors import shell_quote

_OPTIONS = {
    **dict.fromkeys(("gpu", "cuda"), "--device cuda"),
    **dict.fromkeys(("model", "weights"), "--checkpoint FILE"),
    **dict.fromkeys(("o", "out", "output", "output_dir", "save_dir", "log_dir"), "--run-dir DIR"),
}
_KEYS = {
    **dict.fromkeys(("e", "num_epochs"), "training.epochs"),
    **dict.fromkeys(("b", "bs", "batch"), "data.batch_size"),
    **dict.fromkeys(("l", "learning_rate"), "optimizer.lr"),
    **dict.fromkeys(("data_dir", "data_path"), "data.root"),
    "dataset": "data.name",
    "wd": "optimizer.weight_decay",
}
"""Options of other programs, and the corresponding option or config key of this one."""


class Command(TyperCommand):
    """A command that expands patterns such as `seed-*`, and suggests the right option for an unknown one.

    Shells on Windows do not expand patterns, and no shell expands a quoted one.
    """

    keys: str | None = None
    """Prefix of the config keys that arguments `KEY=VALUE` may change; None if the command takes none."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Accept `-h` as `--help`."""
        return ["-h", "--help"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Leave out the Python types, such as `<list[str]>`, that typer shows after the arguments."""
        arguments: list[Any] = [param for param in self.params if not param.opts[0].startswith("-")]
        for argument in arguments:
            argument.display_type_rich = lambda ctx: None
        super().format_options(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Expand patterns and parse the arguments. Exits with code 2 if an option is unknown."""
        if ctx.resilient_parsing:  # for completion
            return super().parse_args(ctx, args)
        options = {name: option for option in self.get_params(ctx) for name in (*option.opts, *option.secondary_opts)}
        words, unknown = _split(list(args), options)
        if unknown:
            names = [name for name in options if name.startswith("-")]
            suggestions = [self._suggest(ctx.info_name, option, value, names) for option, value in unknown]
            if any("=" in suggestion for suggestion in suggestions):
                suggestions.append("Keys of the config are written as key=value, without dashes.")
            print_error("\n".join(suggestions))
            raise typer.Exit(2)
        return super().parse_args(ctx, words)

    def _suggest(self, command: str, option: str, value: str | None, names: Sequence[str]) -> str:
        """Return a message that suggests the option or key that an unknown option probably stands for."""
        from mnist_trainer.config.messages import nearest

        start, plain = f"{command} has no option {option}.", option.lstrip("-").replace("-", "_")
        known = _OPTIONS.get(plain, "")
        if known.partition(" ")[0] in names:
            return f"{start} Write {known}."
        if plain.endswith("completion"):
            return f"{start} mnist-train --completion SHELL prints the script for all commands."
        is_typo = nearest(option, names, cutoff=0.8)
        if paths := [] if is_typo else self._paths(plain):
            shown = " or ".join(shell_quote(f"{path}={'VALUE' if value is None else value}") for path in paths)
            return f"{start} Write {shown}"
        similar = [name for name in names if len(plain) == 1 and name.startswith(f"--{plain}")]
        if near := nearest(option, names, cutoff=0.7):
            similar = [near]
        return f"{start} " + (
            f"Did you mean {' or '.join(similar)}?" if similar else f"{command} --help lists all options."
        )

    def _paths(self, plain: str) -> list[str]:
        """Return the config keys that an option called `plain` probably stands for."""
        from mnist_trainer.config.messages import all_keys, nearest, paths_of

        if self.keys is None:
            return []
        last = plain.rpartition(".")[2]
        paths = [_KEYS[plain]] if plain in _KEYS else paths_of(last) or paths_of(nearest(last, all_keys(), 0.7) or "")
        return [plain] if plain in paths else [path for path in paths if path.startswith(self.keys)]


class ConfigCommand(Command):
    """A command whose arguments may change any key of a config."""

    keys = ""


class DataCommand(Command):
    """A command whose arguments may change the keys of `data`."""

    keys = "data."


def _split(args: list[str], options: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Return the arguments with patterns expanded, and the unknown options with their values."""
    words: list[str] = []
    unknown: list[tuple[str, str | None]] = []
    while args:
        word = args.pop(0)
        name, equals, value = word.partition("=")
        known = options.get(name) or (options.get(word[:2]) if word[:2] != "--" else None)
        if word == "--":
            return [*words, word, *args], unknown
        if word in ("", "-") or not word.startswith("-"):
            words += expand_pattern(word)
        elif known is not None:
            count = 0 if equals or known.is_flag or name not in options else known.nargs
            words += [word, *args[:count]]
            del args[:count]
        elif word[1] != "-" and os.path.lexists(word):  # a file such as `-7.png`, from `*.png`
            words.append(f"./{word}")
        else:
            has_value = args and not equals and not args[0].startswith("-") and "=" not in args[0]
            unknown.append((name, value if equals else args.pop(0) if has_value else None))
    return words, unknown


def expand_pattern(word: str) -> list[str]:
    """Return the files that match the pattern `word`, sorted; `word` itself if it is no pattern or matches nothing."""
    if not any(char in word for char in "*?[") or os.path.lexists(word):  # Path.exists raises on long texts
        return [word]
    found = sorted(glob(word))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [f"./{name}" if name.startswith("-") else name for name in found] or [word]


def find_config(arguments: Sequence[str] | None, option: str | None) -> tuple[str | None, list[str]]:
    """Return the config (or sweep) and the other arguments.

    The config is what the option names, else the first argument that is no `KEY=VALUE`, else None.
    """
    others = list(arguments or [])
    if option is None:
        for argument in others:
            if "=" not in argument or os.path.isfile(argument):  # noqa: PTH113 - Path.is_file raises on long texts
                others.remove(argument)
                return argument, others
    return option, others
