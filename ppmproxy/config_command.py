"""`ppmproxy config`: show, check or explain the settings.

To change how the settings in force are shown, open this file.
"""

from __future__ import annotations

import argparse

from ppmproxy.command import Around, effective
from ppmproxy.config import Effective, Entry, example
from ppmproxy.errors import EXIT_OK, ConfigError


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
        _check_what_they_name(in_force)
        around.say("the settings are fine")
    return EXIT_OK


def _check_what_they_name(in_force: Effective) -> None:
    """What `ppmproxy run` would refuse: certificates that cannot be used, users that this machine does not have."""
    from ppmproxy.local_access import users_of  # noqa: PLC0415 - only for a check
    from ppmproxy.peer_uid import own_uid, uid_of_name  # noqa: PLC0415
    from ppmproxy.trust import Trust  # noqa: PLC0415

    settings = in_force.settings
    try:
        users_of(settings.access, own_uid(), uid_of_name)
        for upstream in settings.upstreams:
            Trust(upstream, with_client_certificate=True).context()
    except ConfigError as error:
        key = str(error).partition(" ")[0]
        givers = [entry.came_from for entry in in_force.entries if entry.key.rpartition(".")[2] == key]
        raise ConfigError(f"{givers[0]}: {error}" if len(givers) == 1 else str(error), error.hint) from error


def _shown(entries: tuple[Entry, ...]) -> list[str]:
    width = min(60, max(len(f"{entry.key} = {entry.value}") for entry in entries))
    return [f"{f'{entry.key} = {entry.value}':{width}}  # {entry.came_from}" for entry in entries]
