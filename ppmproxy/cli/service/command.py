"""`ppmproxy service`: run in the background, from login on, as the platform's own service manager does it.

To change which platform has which kind of service, or what this command takes, open this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ppmproxy.cli.context import Context, settings_given
from ppmproxy.cli.service import install, launchd
from ppmproxy.cli.service.environment import Caller
from ppmproxy.cli.service.service_command import ServiceCommand
from ppmproxy.errors import ConfigError

PLATFORMS = ("linux", "darwin", "win32")
_EPHEMERAL = ("archive-v0", "builds-v0", "environments-v2")  # folders of uv's cache: `uvx ppmproxy`
_ACTIONS: Mapping[tuple[bool, str], Callable[[ServiceCommand], int]] = {  # with systemd or without
    (True, "install"): install.install,
    (True, "uninstall"): install.uninstall,
    (True, "status"): install.status,
    (False, "install"): launchd.install,
    (False, "uninstall"): launchd.uninstall,
    (False, "status"): launchd.status,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and how carefully."""
    parser.add_argument("action", choices=("install", "uninstall", "status"), help="what to do with the service")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, as diffs, and change nothing")
    parser.add_argument("--force", action="store_true", help="overwrite or remove units that were edited by hand")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Install, remove or look; exit code 1 for a service that is not well, else as its errors say."""
    if sys.platform not in PLATFORMS:
        what = f"no kind of service is known for this system ({sys.platform})"
        raise ConfigError(what, "have its own service manager start `ppmproxy run`, as this user")
    command = _order(arguments, context)
    return _ACTIONS[sys.platform == "linux", arguments.action](command)


def _order(arguments: argparse.Namespace, context: Context) -> ServiceCommand:
    caller = Caller(context.environ, settings_given(arguments), context.home, Path.cwd())
    if arguments.action == "install" and any(folder in Path(sys.executable).parts for folder in _EPHEMERAL):
        context.note("note: this ppmproxy lies in uv's cache, which may be emptied; better: `uv tool install ppmproxy`")
    return ServiceCommand(context, caller, dry_run=arguments.dry_run, force=arguments.force)
