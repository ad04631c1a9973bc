"""What every command has: its surroundings, the flags of the settings, and how it speaks.

To change what all commands share, open this file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ppmproxy.errors import PpmProxyError, UsageError

if TYPE_CHECKING:
    from ppmproxy.config.load import LoadedConfig

_PREFIX = "setting_"


class OutputError(PpmProxyError):
    """What there is to say cannot be written: a full disk, an encoding that does not have its letters."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a command finds around it: environment, home, and where it speaks."""

    environ: Mapping[str, str] = field(repr=False)
    home: Path
    out: TextIO = field(repr=False)
    err: TextIO = field(repr=False)

    @classmethod
    def of_process(cls) -> Context:
        """The surroundings of this very process; one that was started with its output closed speaks to nobody."""
        out, err = (stream or io.StringIO() for stream in (sys.stdout, sys.stderr))
        return cls(os.environ, _home(), out, err)

    def say(self, text: str) -> None:
        """One or more lines for whoever called, or for the program that reads them; `OutputError`."""
        try:
            self.out.write(text + "\n")
            self.out.flush()
        except BrokenPipeError:
            raise
        except UnicodeEncodeError as error:
            what = f"{error.object[error.start : error.end]!r} cannot be written in the encoding {error.encoding}"
            raise OutputError(
                f"the output is not complete: {what}", "set PYTHONIOENCODING=utf-8 and try again"
            ) from None
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise OutputError(f"the output is not complete: {reason}", "send it to a place that takes it") from error

    def note(self, text: str) -> None:
        """A line for the person, beside the output; where that has no place either, there is nobody left to tell."""
        with contextlib.suppress(OSError, UnicodeEncodeError):
            self.err.write(text + "\n")
            self.err.flush()

    def say_error(self, error: PpmProxyError) -> None:
        """One line what, one line what to do."""
        self.note(f"ppmproxy: {error}")
        if error.hint:
            self.note(f"  {error.hint}")


def current_folder() -> Path:
    """Where the command was given; `UsageError` when that folder has been removed since."""
    try:
        return Path.cwd()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"the current folder cannot be used: {reason}", "change to one that is there: cd") from error


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and no entry for the user either: a container with a made-up uid
        return Path("/nonexistent")


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting that may be one, and ``--config`` for the file."""
    from ppmproxy.config.load import flags  # noqa: PLC0415 - only for the commands that take settings

    group = parser.add_argument_group("settings (the same names as in the file and, as PPMPROXY_<NAME>, environment)")
    group.add_argument("--config", dest=f"{_PREFIX}config", metavar="FILE", help="the settings file")
    for flag in flags():
        name = flag.name
        described: dict[str, Any] = {"dest": _PREFIX + flag.key, "metavar": flag.metavar, "help": flag.help}
        if flag.is_list:
            group.add_argument(name, action="append", **described)
        elif flag.bare_value is not None:
            group.add_argument(name, nargs="?", const=flag.bare_value, **described)
        else:
            group.add_argument(name, **described)


def settings_given(arguments: argparse.Namespace) -> dict[str, str | None]:
    """The settings among the parsed arguments, by key; None for those not given. A list's flag may be given again."""
    given = {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}
    return {key: ",".join(value) if isinstance(value, list) else value for key, value in given.items()}


def load_config(arguments: argparse.Namespace, context: Context) -> LoadedConfig:
    """The settings in force for a command; `ConfigError`."""
    from ppmproxy.config.read import read_settings  # noqa: PLC0415

    return read_settings(context.environ, context.home, settings_given(arguments))
