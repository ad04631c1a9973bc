"""The command line: the table of commands, parsing, errors and exit codes.

A command is a line in `COMMANDS` and a module with `add_arguments` and `run`. The module is imported only for its own
command, so that `ppmproxy env` starts without the server's imports. An error becomes one line what, one line what to
do, on stderr, and the exit code that its type carries.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ppmproxy.cli import interrupts
from ppmproxy.cli.context import Context, OutputError, add_settings_flags, is_setting
from ppmproxy.cli.near_misses import VERSION, VERSION_FLAG, asks_for_version, meant_command
from ppmproxy.cli.rich_terminal import hide_rich
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED, PpmProxyError, UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its purpose, an example that works as pasted, and its module."""

    name: str
    purpose: str
    example: str
    module: str
    takes_settings: bool = True


COMMANDS = (
    Command(
        "run", "run the proxy in the foreground", "ppmproxy run --upstream https://packagemanager.example.com", "run"
    ),
    Command("exec", "run one command through a proxy", "ppmproxy exec -- pip install six", "exec"),
    Command("status", "show whether the daemon runs, its upstreams and credentials", "ppmproxy status", "status"),
    Command("wait", "wait until the daemon is ready", "ppmproxy wait --timeout 30", "wait"),
    Command("shutdown", "end the daemon after its open requests", "ppmproxy shutdown", "shutdown"),
    Command("doctor", "check this set-up and show how to fix it", "ppmproxy doctor", "doctor.command"),
    Command(
        "login", "sign in through the browser", "ppmproxy login --upstream https://packagemanager.example.com", "login"
    ),
    Command(
        "logout",
        "remove the token of a sign-in",
        "ppmproxy logout --upstream https://packagemanager.example.com",
        "logout",
    ),
    Command("cache", "show, empty, verify or fill the cache", "ppmproxy cache info", "cache"),
    Command("config", "show, check or explain the settings", "ppmproxy config show", "config"),
    Command("env", "print the variables that point clients at the proxy", 'eval "$(ppmproxy env)"', "env"),
    Command(
        "configure", "point a client at the proxy in its own file", "ppmproxy configure pip --dry-run", "configure"
    ),
    Command(
        "service",
        "run the proxy in the background, from login on",
        "ppmproxy service install --dry-run",
        "service.command",
    ),
    Command("lock", "rewrite or check the URLs of lock files", "ppmproxy lock check .", "lock"),
    Command(
        "completion",
        "print a script that completes commands and options",
        'eval "$(ppmproxy completion bash)"',
        "completion",
        takes_settings=False,
    ),
    Command("demo", "install a package through the proxy, offline", "ppmproxy demo", "demo", takes_settings=False),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    hide_rich()
    context = Context.of_process()
    arguments = list(sys.argv[1:] if argv is None else argv)
    _exit_on_sigterm(EXIT_OK if arguments[:1] == ["run"] else EXIT_TERMINATED)
    try:
        code = _dispatch(arguments, context)
    except PpmProxyError as error:
        context.print_error(error)
        if isinstance(error, OutputError):
            _discard_output()
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in a class body of an import, before Python 3.12
            return EXIT_INTERRUPTED
        raise
    except SystemExit as end:  # of a signal, or of the parser; `main` of the process ends without waiting for threads
        if isinstance(end.code, str):
            context.print_err(end.code)
        return end.code if isinstance(end.code, int) else EXIT_CHECK_FAILED if end.code else EXIT_OK
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _discard_output()
        return EXIT_OK
    try:
        context.out.flush()
    except OSError:  # the log could not be written, which was reported
        _discard_output()
    return code


def _discard_output() -> None:
    """Redirect stdout to nowhere, so that Python does not complain about a failing flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_on_sigterm(code: int) -> None:
    """Exit on SIGTERM as process 1 of a container, to which the kernel sends no signal without a handler."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(code))


def _dispatch(argv: list[str], context: Context) -> int:
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in {"-h", "--help", "help"}:
        context.print(overview())
        return EXIT_OK
    if argv[0] in {"-V", "--version"}:
        context.print(f"ppmproxy {_version()}")
        return EXIT_OK
    command = _command(argv[0])
    if argv[1:] and asks_for_version(argv[1]):
        raise UsageError(f"{command.name} has no flag {argv[1]}", f"did you mean `{VERSION}`?")
    module = importlib.import_module(f"ppmproxy.cli.{command.module}")
    parser = _parser(command, with_help=not {"-h", "--help"}.isdisjoint(argv))
    parsed = _parsed(parser, argv[1:])
    with interrupts.Raised():
        code: int = module.run(parsed, context)
    return code


def _parsed(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The arguments, with options anywhere among the words, unless the rest of the line is another program's."""
    if any(action.nargs == argparse.REMAINDER for action in parser._actions):  # noqa: SLF001 - argparse cannot say it
        return parser.parse_args(argv)
    return parser.parse_intermixed_args(argv)


def parsers() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Each command's name, purpose and argument parser."""
    for command in COMMANDS:
        yield command.name, command.purpose, _parser(command)


def _parser(command: Command, *, with_help: bool = True) -> argparse.ArgumentParser:
    parser = _CommandParser(
        prog=f"ppmproxy {command.name}",
        description=f"{command.purpose[0].upper()}{command.purpose[1:]}.",
        epilog=f"example:\n  {command.example}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    importlib.import_module(f"ppmproxy.cli.{command.module}").add_arguments(parser)
    if command.takes_settings:
        # Without any, argparse would make one of all flags before it parses.
        parser.usage = _usage_without_settings(parser) if with_help else parser.prog
        add_settings_flags(parser, with_help=with_help)
    return parser


def _usage_without_settings(parser: argparse.ArgumentParser) -> str:
    """The usage without the flags of the settings, which are listed further down and would hide the command's own."""
    usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("[-h]", "[-h] [SETTINGS]", 1)
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if action.nargs == argparse.REMAINDER and action.metavar:
            usage = f"{usage.removesuffix('...')}{action.metavar}"  # argparse shows the dots alone
    return usage.replace("%", "%%")


_INVALID_CHOICE = re.compile(r"argument [^-:][^:]*: invalid choice: '([^']*)'")  # argparse's words


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of a command: its own flags with their meaning, and those of the settings by name alone."""

    def add_argument(self, action: argparse.Action) -> None:
        if not is_setting(action):
            super().add_argument(action)


class _CommandParser(argparse.ArgumentParser):
    """A parser that raises `UsageError` instead of exiting."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help like all output; `OutputError`."""
        if file is None:
            Context.of_process().print(self.format_help().rstrip("\n"))
        else:
            super().print_help(file)

    def error(self, message: str) -> NoReturn:
        name, see = self.prog.removeprefix("ppmproxy "), f"see `{self.prog} --help`"
        words = [*next((one.choices for one in self._actions if one.choices and not one.option_strings), ())]
        if words and message.startswith("the following arguments are required"):
            raise UsageError(f"{name} needs one of these words: {', '.join(words)}", see)
        if words and (wrong := _INVALID_CHOICE.match(message)):
            near = _nearest(wrong[1], words)
            what = f"{name}: {wrong[1][:40]!r} is none of {', '.join(words)}"
            raise UsageError(what, f"did you mean `{self.prog} {near[0]}`?" if near else see)
        flags = self._nearest_flags(message)
        if flags == [VERSION_FLAG]:
            raise UsageError(f"{name}: {message}", f"did you mean `{VERSION}`?")
        raise UsageError(f"{name}: {message}", f"did you mean {flags[0]}? See `{self.prog} --help`" if flags else see)

    def _nearest_flags(self, message: str) -> list[str]:
        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.partition(" ")[0].partition("=")[0]
        known = [*self._option_string_actions, VERSION_FLAG]
        return _nearest(flag, known, cutoff=0.8) if flag.startswith("--") else []


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The known name that is most similar, if there is one."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    return get_close_matches(name, list(known), n=1, cutoff=cutoff)


def _command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    if asks_for_version(name):
        raise UsageError(f"the flag {name} does not exist", f"did you mean `{VERSION}`?")
    if name.startswith("-"):
        raise UsageError(
            f"{name.partition('=')[0][:40]} is in front of the command",
            "write the command first, as in `ppmproxy COMMAND --flag`",
        )
    meant = meant_command(name, [command.name for command in COMMANDS])
    raise UsageError(
        f"the command {name[:40]!r} does not exist",
        f"did you mean `{meant}`?" if meant else "see `ppmproxy --help`",
    )


def overview() -> str:
    """The text of `ppmproxy --help`."""
    width = max(len(command.name) for command in COMMANDS) + 2
    lines = [f"  {command.name:{width}}{command.purpose}" for command in COMMANDS]
    return "\n".join(
        [
            "ppmproxy: a local proxy that adds your token to requests of pip, uv and R to Posit Package Manager",
            "",
            "usage: ppmproxy COMMAND [--help]",
            f"       {VERSION}",
            "",
            *lines,
            "",
            "example:",
            "  PPMPROXY_UPSTREAM=https://packagemanager.example.com ppmproxy run",
        ]
    )


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - slow to import, and seldom needed

    return version("ppmproxy")
