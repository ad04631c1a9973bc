"""`ppmproxy shutdown`: end this user's daemon gracefully, from a script or another container."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from ppmproxy.access.daemon_identity import ListenerIdentity, verify_daemon
from ppmproxy.access.daemon_record import DaemonRecord, is_alive, list_daemons
from ppmproxy.access.discovery import PATIENCE, daemon_urls, holder_at, patience_with, verify_within_deadline
from ppmproxy.access.local_request import NotUnderstoodError
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context, load_config
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError

PAGE = "/-/shutdown"
TIMEOUT = 60.0  # seconds for open requests; the daemon's drain timeout is usually shorter
POLL_INTERVAL = 0.1  # seconds


class NotEndedError(PpmProxyError):
    """The daemon did not end."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No arguments but the settings, which name the address."""


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Exit code 0 once the daemon has ended, or when none ran; 1 when it is not this user's, or does not end."""
    urls = daemon_urls(load_config(arguments, context).settings)
    if not urls:
        raise ConfigError("the settings name no port of the daemon", "set listen, as in 127.0.0.1:7760")
    folders = runtime_folders(context.environment)
    record = _request_shutdown(urls[0], folders)
    if record is None:
        context.print_err(f"ppmproxy: nobody listens at {urls[0]}, so there is nothing to end")
        return EXIT_OK
    _wait_until_ended(record, urls[0], folders)
    return EXIT_OK


def _request_shutdown(url: str, folders: Sequence[Path]) -> DaemonRecord | None:
    """The record of the daemon that accepted the request; None when nobody listens there."""
    # First, because it has a time limit for everything.
    identity = verify_within_deadline(url, folders, patience_with(url, folders))
    if identity is ListenerIdentity.NOBODY:
        return None
    if identity is not ListenerIdentity.OURS:
        raise _not_ours(url, identity, folders)
    with verify_daemon(url, folders, PATIENCE) as made:
        if made.record is None:
            raise _not_ours(url, made.identity, folders)
        try:
            status = made.post(PAGE)
        except (OSError, NotUnderstoodError):
            raise NotEndedError(f"{url} did not answer", "end it with a signal: kill, docker stop") from None
        if status != HTTPStatus.ACCEPTED:
            raise NotEndedError(f"{url} answered {status}", "end it with a signal: kill, docker stop")
        return made.record


def _not_ours(url: str, identity: ListenerIdentity, folders: Sequence[Path]) -> NotEndedError:
    return NotEndedError(f"{url} is {identity.value}, held by {holder_at(url, folders)}", identity.remedy)


def _wait_until_ended(ending: DaemonRecord, url: str, folders: Sequence[Path]) -> None:
    """Wait until its record is removed; a connection to the port could start a new one through systemd's socket.

    One that is killed meanwhile leaves its record. That of another container has no process here from the beginning.
    """
    deadline = time.monotonic() + TIMEOUT
    is_visible = is_alive(ending.pid)
    while any(record.key == ending.key for record in list_daemons(folders)):
        if is_visible and not is_alive(ending.pid):
            return
        if time.monotonic() >= deadline:
            raise NotEndedError(f"{url} is still finishing requests", "wait, or end it with a signal")
        time.sleep(POLL_INTERVAL)
