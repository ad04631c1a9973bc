"""`ppmproxy completion`: the script with which a shell completes commands, options and their values.

shtab makes the script from the commands' own parsers, so it is as good as the version that printed it, and it starts no
program when somebody presses Tab. Only the command line behind ``exec --`` is completed by rules of our own.
"""

from __future__ import annotations

import argparse

from ppmproxy.cli.context import Context
from ppmproxy.errors import EXIT_OK

SHELLS = ("bash", "zsh", "fish")

# The command line of another program: its name first, then what that program's own completion offers.
_COMMAND_LINE = {
    "bash": "_ppmproxy_command_line",
    "zsh": "_ppmproxy_command_line",
    "fish": "(__fish_complete_subcommand --fcs-skip=2)",
    "preamble": {
        "bash": '_ppmproxy_command_line() {\n  compgen -c -f -- "$1"\n}\n',
        "zsh": "_ppmproxy_command_line() {\n  [[ ${words[1]} == -- ]] && shift words && ((CURRENT--))\n  _normal\n}\n",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=SHELLS, help="shell that reads the script")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - needed for this one command

    from ppmproxy.cli.main import parsers  # noqa: PLC0415 - which imports this module by its name

    root = argparse.ArgumentParser(prog="ppmproxy")
    commands = root.add_subparsers()
    for name, purpose, parser in parsers():
        command = commands.add_parser(name, help=purpose, description=purpose, parents=[parser], add_help=False)
        _complete_files(command)
    context.print(shtab.complete(root, arguments.shell))
    return EXIT_OK


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Complete file names wherever an argument has no fixed values."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if action.nargs == argparse.REMAINDER:
            action.complete = _COMMAND_LINE  # type: ignore[attr-defined]
        elif not action.choices and action.nargs != 0:
            action.complete = "file"  # type: ignore[attr-defined]
