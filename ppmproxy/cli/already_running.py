"""The error of whoever wants to listen where this user's own daemon does already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppmproxy.access.auto_port import port_file
from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import daemon_urls, probe_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.local_address import AutoListen
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import CannotListenError


class AlreadyRunningError(CannotListenError):
    """The address is taken by a daemon of this user."""


@contextmanager
def own_daemon_named(settings: Settings, environment: Environment) -> Iterator[None]:
    """While the block listens on these addresses, an own daemon there is named as that, and not as a process."""
    try:
        yield
    except CannotListenError as error:
        raise already_running(settings, environment) or _of_kept_port(error, settings, environment) from error


def _of_kept_port(error: CannotListenError, settings: Settings, environment: Environment) -> CannotListenError:
    """The error, with the way to another port where this one was chosen by ``listen = "auto"``."""
    if not isinstance(settings.listen, AutoListen):
        return error
    file = port_file(environment)
    return CannotListenError(str(error), f"to have a port chosen anew, remove {file}; clients then need it, too")


def already_running(settings: Settings, environment: Environment) -> AlreadyRunningError | None:
    """The error that names this user's daemon at one of these addresses; None where there is none."""
    folders = runtime_folders(environment)
    for url in daemon_urls(settings):
        found = probe_daemon(url, folders)
        if found.identity is not ListenerIdentity.OURS:
            continue
        record = found.record
        pid = f" (pid {record.pid})" if record else ""
        served = ", ".join(str(one.get("url")) for one in found.upstreams())
        what = f"ppmproxy is already running at {url}{pid}{f', serving {served}' if served else ''}"
        return AlreadyRunningError(what, f"use it, or end it: {record.stop_command if record else 'ppmproxy shutdown'}")
    return None
