"""What `ppmproxy exec --intercept` adds to a command: a CONNECT proxy beside it, and the variables that lead there.

A command needs no more for its start than the port, the password and the certificate of the run's authority. So the
server's modules are imported and its loop is started while the command starts; until then its connections wait.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.cli.context import Context, current_folder
from ppmproxy.cli.intercept_run import InterceptRun
from ppmproxy.cli.shared_daemon import Serving
from ppmproxy.clients.index_url import Index
from ppmproxy.clients.intercepting import Interception, intercept_variables
from ppmproxy.clients.overruling import overruling_settings
from ppmproxy.clients.survey import python_survey
from ppmproxy.clients.trust_bundle import trust_files
from ppmproxy.errors import CannotListenError, ConfigError, PpmProxyError, UsageError
from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.connect_request import authority_of_upstream

if TYPE_CHECKING:
    from ppmproxy.cli.daemon_thread import DaemonThread

STOP_TIMEOUT = 10.0  # seconds
PASSWORD_BYTES = 24
BACKLOG = 512  # connections that wait for the server's start


@contextlib.contextmanager
def intercepting(daemon: Serving, index: Index, context: Context) -> Iterator[dict[str, str]]:
    """The variables for a command, whose https requests to the upstreams are answered while this lasts."""
    environment = replace(context.environment, cwd=current_folder())
    for setting in overruling_settings(environment):
        context.print_err(f"ppmproxy: {setting}, so its requests may bypass ppmproxy")
    with contextlib.ExitStack() as stack:
        run = _prepared(daemon, index, context)
        stack.callback(run.listener.close)
        bundle, wgetrc = stack.enter_context(_files(run))
        hosts = frozenset(authority_of_upstream(upstream).host for upstream in run.upstreams)
        interception = Interception(run.proxy_url, bundle, wgetrc, hosts, index.real_url)
        found = python_survey(environment)
        variables = intercept_variables(interception, found.settings, context.environ, str(index.origin))
        thread = threading.Thread(target=_serve, args=(run, daemon.own), name="ppmproxy-intercept", daemon=True)
        thread.start()
        stack.callback(thread.join, STOP_TIMEOUT)
        stack.callback(run.ended.set)
        yield variables
        _note_what_was_not_asked(run)


def _prepared(daemon: Serving, index: Index, context: Context) -> InterceptRun:
    settings = daemon.settings
    upstreams = [upstream for upstream in settings.upstreams if upstream.url.startswith("https:")]
    if not upstreams:
        raise UsageError("exec: --intercept needs an https upstream, and the settings have none", "remove --intercept")
    url = str(index.origin)
    if daemon.key is None:
        raise ConfigError(f"{url} is not held by your ppmproxy", "run `ppmproxy doctor`")
    authority = RunAuthority({authority_of_upstream(upstream).host for upstream in upstreams})
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    return InterceptRun(settings, upstreams, context, url, daemon.key, _listener(), authority, password)


def _listener() -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    except OSError as error:
        raise CannotListenError(f"no port is free: {(error.strerror or str(error)).lower()}", "try again") from error


def _serve(run: InterceptRun, own: DaemonThread | None) -> None:
    """In a thread: until the command has ended; connections are refused when the server cannot start."""
    from ppmproxy.cli.intercept_server import serve, serve_with  # noqa: PLC0415 - a server

    try:
        if own is not None:
            own.submit(serve_with(run, own.daemon)).result()
        else:
            serve(run)
    except PpmProxyError as error:
        run.context.print_error(error)
    except CancelledError:
        pass  # the daemon has ended before the command, as `shutdown` has it
    finally:
        run.listener.close()


@contextlib.contextmanager
def _files(run: InterceptRun) -> Iterator[tuple[Path, Path]]:
    further = [upstream.ca_file for upstream in run.upstreams if upstream.ca_file is not None]
    with contextlib.ExitStack() as stack:
        try:
            files = stack.enter_context(trust_files(run.authority.pem, run.context.environ, further))
        except OSError as error:
            what = f"the certificates for the command cannot be written: {(error.strerror or str(error)).lower()}"
            raise ConfigError(what, "set TMPDIR to a folder that can be written") from error
        yield files.bundle, files.wgetrc


def _note_what_was_not_asked(run: InterceptRun) -> None:
    missed = {str(upstream.origin) for upstream in run.upstreams if authority_of_upstream(upstream) not in run.asked}
    if missed:
        run.context.print_err(f"ppmproxy: the command sent no request to {', '.join(sorted(missed))}")
