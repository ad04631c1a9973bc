"""`ppmproxy service`: run in the background, from login on, as the platform's own service manager does it.

To change which platform has which kind of service, or what this command takes, open this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ppmproxy import service_elsewhere, service_systemd
from ppmproxy.carried_settings import Caller
from ppmproxy.command import Around, settings_given
from ppmproxy.errors import ConfigError
from ppmproxy.service_order import Order

PLATFORMS = ("linux", "darwin", "win32")
_EPHEMERAL = ("archive-v0", "builds-v0", "environments-v2")  # folders of uv's cache: `uvx ppmproxy`
_ACTIONS: Mapping[tuple[bool, str], Callable[[Order], int]] = {  # with systemd or without
    (True, "install"): service_systemd.install,
    (True, "uninstall"): service_systemd.uninstall,
    (True, "status"): service_systemd.status,
    (False, "install"): service_elsewhere.install,
    (False, "uninstall"): service_elsewhere.uninstall,
    (False, "status"): service_elsewhere.status,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and how carefully."""
    parser.add_argument("action", choices=("install", "uninstall", "status"), help="what to do with the service")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, as diffs, and change nothing")
    parser.add_argument("--force", action="store_true", help="overwrite or remove units that were edited by hand")


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Install, remove or look; exit code 1 for a service that is not well, else as its errors say."""
    if sys.platform not in PLATFORMS:
        what = f"no kind of service is known for this system ({sys.platform})"
        raise ConfigError(what, "have its own service manager start `ppmproxy run`, as this user")
    order = _order(arguments, around)
    return _ACTIONS[sys.platform == "linux", arguments.action](order)


def _order(arguments: argparse.Namespace, around: Around) -> Order:
    caller = Caller(around.environ, settings_given(arguments), around.home, Path.cwd())
    if arguments.action == "install" and any(folder in Path(sys.executable).parts for folder in _EPHEMERAL):
        around.note("note: this ppmproxy lies in uv's cache, which may be emptied; better: `uv tool install ppmproxy`")
    return Order(around, caller, dry_run=arguments.dry_run, force=arguments.force)
