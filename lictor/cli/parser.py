"""The parser of the command line, and the flags that commands share."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from typing_extensions import override

from lictor.cli import exits
from lictor.config.load import load_settings
from lictor.config.settings import Settings

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

Run: TypeAlias = Callable[[argparse.Namespace], int]


class _Paragraphs(argparse.HelpFormatter):
    """Wraps prose paragraph by paragraph, and leaves lists as they are."""

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            part
            if any(line.startswith(" ") for line in part.splitlines())
            else super(_Paragraphs, self)._fill_text(part, width, indent)
            for part in text.strip("\n").split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """One look for all commands.

    Exits with 3 on a wrong command line: 2 says that the configuration is wrong.
    """

    @override
    def format_help(self) -> str:
        self.formatter_class = _Paragraphs
        return super().format_help()

    @override
    def error(self, message: str) -> NoReturn:
        self.print_usage()
        self.exit(exits.USAGE, f"{self.prog}: {message}\n")


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE` and `--set KEY=VALUE` to a command that reads the settings."""
    parser.add_argument("--config", metavar="FILE", help="settings, as YAML; without it: defaults")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="flags",
        help="one setting, over the file: --set gate.port=0 (may be repeated)",
    )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings that the flags of `add_settings_flags` name.

    Raises:
        SettingsError: the file or a flag is wrong.
    """
    flags = {}
    for flag in arguments.flags:
        key, _, value = flag.partition("=")
        flags[key.strip()] = value
    return load_settings(arguments.config, flags)
