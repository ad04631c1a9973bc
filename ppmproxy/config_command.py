"""`ppmproxy config`: show, check or explain the settings.

To change how the settings in force are shown, open this file.
"""

from __future__ import annotations

import argparse

from ppmproxy.command import Around, effective
from ppmproxy.config import Entry, example
from ppmproxy.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three things to do with settings."""
    parser.add_argument(
        "action",
        choices=("show", "check", "example"),
        help="show: what is in force and who said so; check: say what is wrong; example: an annotated file",
    )


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Print what was asked for; `ConfigError` when the settings cannot be used."""
    if arguments.action == "example":
        around.say(example().rstrip("\n"))
        return EXIT_OK
    in_force = effective(arguments, around)
    if arguments.action == "show":
        around.say("\n".join(_shown(in_force.entries)))
    else:
        around.say("the settings are fine")
    return EXIT_OK


def _shown(entries: tuple[Entry, ...]) -> list[str]:
    width = min(60, max(len(f"{entry.key} = {entry.value}") for entry in entries))
    return [f"{f'{entry.key} = {entry.value}':{width}}  # {entry.came_from}" for entry in entries]
