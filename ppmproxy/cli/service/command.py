"""`ppmproxy service`: a background service of this user, under the platform's own service manager."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ppmproxy.cli.context import Context, settings_given
from ppmproxy.cli.service import install, launchd
from ppmproxy.cli.service.service_command import ServiceCommand
from ppmproxy.errors import ConfigError

_EPHEMERAL = ("archive-v0", "builds-v0", "environments-v2")  # folders of uv's cache: `uvx ppmproxy`
_ACTIONS: Mapping[str, Mapping[str, Callable[[ServiceCommand], int]]] = {
    "linux": {"install": install.install, "uninstall": install.uninstall, "status": install.status},
    "darwin": {"install": launchd.install, "uninstall": launchd.uninstall, "status": launchd.status},
}
_WITHOUT_SERVICE = "use `ppmproxy exec -- COMMAND`, or have the system start `ppmproxy run` when you log in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and how carefully."""
    parser.add_argument("action", choices=("install", "uninstall", "status"), help="what to do with the service")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, as diffs, and change nothing")
    parser.add_argument("--force", action="store_true", help="overwrite or remove units that were edited by hand")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Install or remove the service, or report its state; exit code 1 when the service has failed."""
    action = action_for(arguments.action, sys.platform)
    if arguments.action == "install" and any(folder in Path(sys.executable).parts for folder in _EPHEMERAL):
        context.print_err(
            "note: this ppmproxy is in uv's cache, which may be emptied; install it by `uv tool install` (see README)"
        )
    flags = settings_given(arguments)
    return action(ServiceCommand(context, flags, Path.cwd(), dry_run=arguments.dry_run, force=arguments.force))


def action_for(action: str, platform: str) -> Callable[[ServiceCommand], int]:
    """The function for an action on a platform (as `sys.platform` has it); `ConfigError` where there is no service."""
    actions = _ACTIONS.get(platform)
    if actions is None:
        name = {"win32": "Windows"}.get(platform, platform)
        raise ConfigError(f"ppmproxy service is not supported on {name}", _WITHOUT_SERVICE)
    return actions[action]
