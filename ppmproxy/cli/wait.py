"""`ppmproxy wait`: return when the daemon, proved to be this user's, is ready, has started, or is alive."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import daemon_urls, get_page, holder_at, verify_within_deadline
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context, load_config
from ppmproxy.config.local_address import TcpAddress, address_of_url
from ppmproxy.config.values import MAX_DURATION, seconds_of
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError, one_line, shortened

POLL_INTERVAL = 0.1  # seconds
STATES = {"ready": "ready", "live": "alive", "startup": "started"}  # by health page
LONGEST_REASON = 300  # characters


class NotReadyError(PpmProxyError):
    """The daemon was not ready in time."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which state, and the time limit."""
    what = "ready (default): it takes requests; startup: it listens; live: it answers"
    parser.add_argument("--for", dest="page", choices=STATES, default="ready", help=what)
    unproven = "accept a ppmproxy without a proof that it is yours, as one in another container"
    parser.add_argument("--unproven", action="store_true", help=unproven)
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="S", help="seconds to wait (default: 30)")


def _seconds(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds > MAX_DURATION:
        raise argparse.ArgumentTypeError('it takes a number of seconds, or a time like "500ms" or "2m", up to 24h')
    return seconds


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Exit code 0 as soon as the daemon is ready, 1 when it is not in time."""
    urls = daemon_urls(load_config(arguments, context).settings)
    if not urls:
        raise ConfigError("the settings name no port of the daemon", "set listen, as in 127.0.0.1:7760")
    folders = runtime_folders(context.environment)
    trusted = {ListenerIdentity.OURS, ListenerIdentity.UNPROVEN} if arguments.unproven else {ListenerIdentity.OURS}
    deadline = time.monotonic() + arguments.timeout
    while True:
        identity = verify_within_deadline(urls[0], folders)
        why, remedy = (
            _unready_reason(urls[0], arguments.page) if identity in trusted else _distrust(urls[0], identity, folders)
        )
        if not why:
            return EXIT_OK
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{urls[0]} is not {STATES[arguments.page]}: {why}", remedy)
        time.sleep(POLL_INTERVAL)


def _unready_reason(url: str, page: str) -> tuple[str, str]:
    """Why the daemon at a URL is not in the expected state, and what to do; "" when it is."""
    code, said = get_page(url, f"/-/{page}")
    why = "" if code == HTTPStatus.OK else shortened(one_line(said), LONGEST_REASON) or "it does not say why"
    return why, "see `ppmproxy status`, and look at its log"


def _distrust(url: str, identity: ListenerIdentity, folders: Sequence[Path]) -> tuple[str, str]:
    """Who listens at a URL in the daemon's place, and what to do."""
    if identity is ListenerIdentity.NOBODY or not isinstance(address_of_url(url), TcpAddress):
        return identity.value, identity.remedy
    return f"{identity.value}; the port is held by {holder_at(url, folders)}", identity.remedy
