"""`lictor config print`: every setting, as a settings file that says what each one is for."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from lictor.cli.parser import add_settings_flags, read_settings
from lictor.config.load import camel

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers


def add_parser(subparsers: "Subparsers") -> None:
    """Add `config` with its subcommands."""
    parser = subparsers.add_parser("config", help="show the settings")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown = commands.add_parser(
        "print",
        help="print every setting",
        description="Print every setting as YAML that is itself a settings file: value, then unit, "
        "default and the reason for the default as a comment. "
        "Exit codes: 0, or 2 where a setting is wrong (all faults are named).",
    )
    add_settings_flags(shown)
    shown.set_defaults(run=run_print)


def run_print(arguments: argparse.Namespace) -> int:
    """Print the settings that `--config` and `--set` give.

    Raises:
        SettingsError: they are wrong.
    """
    print("\n".join(section_lines(read_settings(arguments))))
    return 0


def section_lines(section: object, *, indent: str = "") -> Iterator[str]:
    """Yield the YAML lines of one section."""
    for item in fields(section):  # type: ignore[arg-type]  # a dataclass of lictor.config.settings
        value = getattr(section, item.name)
        key = f"{indent}{camel(item.name)}:"
        if is_dataclass(value):
            yield key
            yield from section_lines(value, indent=f"{indent}  ")
        else:
            yield f"{key} {_yaml(value)}  # {_comment(item)}"


def _comment(item: Field[Any]) -> str:
    unit = f"{item.metadata['unit']}; " if item.metadata["unit"] else ""
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return f"{unit}default {_yaml(default)}: {item.metadata['reason']}"


def _yaml(value: object) -> str:
    # JSON is YAML, in one line; no setting holds a secret, only paths to them.
    return json.dumps(value, default=_plain)


def _plain(value: object) -> dict[str, object]:
    return {camel(item.name): getattr(value, item.name) for item in fields(value)}  # type: ignore[arg-type]  # a dataclass
