"""What all commands share: environment, output streams, and the flags for settings."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError, UsageError

if TYPE_CHECKING:
    from ppmproxy.config.load import LoadedConfig

_PREFIX = "setting_"


class OutputError(PpmProxyError):
    """The output cannot be written: a full disk, or an encoding without these characters."""


@dataclass(frozen=True, slots=True)
class Context:
    """The context of a command: environment variables, home directory and output streams."""

    environment: Environment
    out: TextIO = field(repr=False)
    err: TextIO = field(repr=False)

    @classmethod
    def of_process(cls) -> Context:
        """The context of this process; a stream that is closed is replaced by one that nobody reads."""
        out, err = (stream or io.StringIO() for stream in (sys.stdout, sys.stderr))
        return cls(Environment(os.environ, _home()), out, err)

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables."""
        return self.environment.environ

    @property
    def home(self) -> Path:
        """The home directory."""
        return self.environment.home

    def print(self, text: str) -> None:
        """Write lines to stdout; `OutputError`."""
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
            raise OutputError(f"the output is not complete: {reason}", "send it to another file or disk") from error

    def print_err(self, text: str) -> None:
        """Write lines to stderr; errors are ignored, because there is no other stream to report them on."""
        if self.err.encoding and self.err.encoding.lower().replace("-", "") != "utf8":
            text = text.replace("\N{HORIZONTAL ELLIPSIS}", "...")
        with contextlib.suppress(OSError, UnicodeEncodeError):
            self.err.write(text + "\n")
            self.err.flush()

    def print_error(self, error: PpmProxyError) -> None:
        """Write an error to stderr: one line what happened, one line what to do."""
        self.print_err(f"ppmproxy: {error}")
        if error.hint:
            self.print_err(f"  {error.hint}")


def current_folder() -> Path:
    """The current folder; `UsageError` when it has been removed."""
    try:
        return Path.cwd()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"the current folder cannot be used: {reason}", "change to another folder: cd") from error


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and no entry for the user either: a container with a made-up uid
        return Path("/nonexistent")


def add_settings_flags(parser: argparse.ArgumentParser, *, with_help: bool = True) -> None:
    """Add a flag for each setting that may be one, and ``--config``."""
    from ppmproxy.config.load import flags  # noqa: PLC0415 - only for the commands that take settings

    title = "settings, each also a variable PPMPROXY_<NAME>; `ppmproxy config example` explains them"
    names = None
    if with_help:
        import textwrap  # noqa: PLC0415 - takes a fiftieth of the time of `ppmproxy env`

        names = textwrap.fill(", ".join(["--config", *(flag.name for flag in flags())]), 76, break_on_hyphens=False)
    group = parser.add_argument_group(title, names)
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


def is_setting(action: argparse.Action) -> bool:
    """Whether an argument is the flag of a setting."""
    return action.dest.startswith(_PREFIX)


def settings_given(arguments: argparse.Namespace) -> dict[str, str | None]:
    """The settings among the parsed arguments by key, None for those not given; repeated flags become one list."""
    given = {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}
    return {key: ",".join(value) if isinstance(value, list) else value for key, value in given.items()}


def load_config(arguments: argparse.Namespace, context: Context) -> LoadedConfig:
    """The effective settings of a command; `ConfigError`."""
    from ppmproxy.config.local_address import AutoListen  # noqa: PLC0415 - only for the commands that take settings
    from ppmproxy.config.read import read_settings  # noqa: PLC0415

    loaded = read_settings(context.environment, settings_given(arguments))
    if not isinstance(loaded.settings.listen, AutoListen):
        return loaded
    from ppmproxy.access.auto_port import with_chosen_port  # noqa: PLC0415 - only where it is wanted

    settings = with_chosen_port(loaded.settings, context.environment)
    addresses = ", ".join(map(str, settings.listen))
    entries = tuple(
        replace(one, source=f"{one.source}: {addresses}") if one.key == "listen" else one for one in loaded.entries
    )
    return replace(loaded, settings=settings, entries=entries)
