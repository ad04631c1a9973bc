"""`ppmproxy exec`: a proxy for the length of one command.

The user's running daemon is used when it serves the same upstreams and proves that it is this user's, unless it ends
with another command (the daemon of another `exec`). Otherwise one is started in this process, on the fixed port, or on
a free one when that is taken. The command gets the variables of `ppmproxy env`, and none that holds a token.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ppmproxy.access.discovery import ENCLOSING_PID, DaemonInfo, find_daemon
from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.child_env import child_environment
from ppmproxy.cli.child_command import SignalForwarder, run_child
from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.cli.shared_daemon import Serving, prompt_on, shared_daemon
from ppmproxy.clients.index_settings import origin_shown
from ppmproxy.clients.index_url import add_index_flags, add_r_flag, chosen_index, chosen_r_index, is_named
from ppmproxy.clients.leftovers import leftovers, with_leftovers_cleared
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.lock_urls import canonical_rewriting
from ppmproxy.clients.pip_indexes import extra_indexes, pip_variables, second_indexes
from ppmproxy.clients.r_variables import intercepted_r_variables, r_variables
from ppmproxy.clients.upload_variables import upload_variables
from ppmproxy.clients.uv_indexes import uv_variables
from ppmproxy.clients.variables import client_variables
from ppmproxy.config.local_address import TcpAddress, address_of_url
from ppmproxy.config.model import DEFAULT_REPO, LogLevel, Settings
from ppmproxy.errors import CannotListenError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppmproxy.config.load import LoadedConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command and its index."""
    add_index_flags(parser)
    add_r_flag(parser)
    parser.add_argument(
        "--keep-token", action="store_true", help="keep the variables with a token in the command's environment"
    )
    parser.add_argument(
        "--canonical-lock",
        action="store_true",
        help="rewrite the project's lock files to the proxy for the command, and back afterwards",
    )
    parser.add_argument(
        "--intercept",
        action="store_true",
        help="intercept the Package Manager's https URLs, so that no file of the project changes",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the command to run")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run the command; its exit code, or 128 + n when signal n ended it."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("exec: no command was given", "for instance: ppmproxy exec -- pip install six")
    if arguments.intercept and arguments.canonical_lock:
        what = "exec: --canonical-lock and --intercept exclude each other, because --intercept keeps the real URLs"
        raise UsageError(what, "remove --canonical-lock")
    gc.disable()  # until the command runs: nearly all that is made by then stays
    try:
        return _run(command, arguments, context)
    finally:
        gc.enable()


def _run(command: list[str], arguments: argparse.Namespace, context: Context) -> int:
    if arguments.intercept:  # imported while the daemon is waited for
        threading.Thread(target=importlib.import_module, args=("ppmproxy.cli.intercept",), daemon=True).start()
    loaded = load_config(arguments, context)
    folders = runtime_folders(context.environment)
    found = find_daemon(loaded.settings, folders, context.environ.get(ENCLOSING_PID, ""))
    quiet = _without_request_log(loaded)
    own = _on_free_port(quiet) if arguments.intercept else quiet  # whose port is not shown anywhere then
    serving: AbstractContextManager[Serving] = (
        _running_daemon(found, quiet, context) if found else _own_daemon(own, context)
    )
    with serving as daemon, SignalForwarder() as signals:
        if arguments.intercept:
            return _run_intercepted(command, daemon, arguments, context, signals)
        environment = _environment(daemon.settings, arguments, context)

        def run_command() -> int:
            return run_child(command, environment, signals)

        return _run_beside_project_files(run_command, loaded.settings, daemon.settings, arguments, context)


def _run_beside_project_files(
    run_command: Callable[[], int],
    loaded: Settings,
    settings: Settings,
    arguments: argparse.Namespace,
    context: Context,
) -> int:
    """Run the command, and have the project's files name the Package Manager afterwards, or say that they do not."""
    from ppmproxy.cli.local_files_note import local_files_note  # noqa: PLC0415 - --intercept starts without them
    from ppmproxy.cli.lock_round_trip import Project, with_local_locks  # noqa: PLC0415
    from ppmproxy.clients.project_files import project_owners  # noqa: PLC0415

    project = Project(current_folder(), project_owners(context.environ, own_uid()))
    if arguments.canonical_lock:
        return with_local_locks(settings, project, run_command, context.print_error)
    began = time.time_ns()
    code = run_command()
    if note := local_files_note(loaded, settings, project, began):
        context.print_err(f"ppmproxy: {note}")
    return code


def _run_intercepted(
    command: list[str], daemon: Serving, arguments: argparse.Namespace, context: Context, signals: SignalForwarder
) -> int:
    from ppmproxy.cli.intercept import intercepting  # noqa: PLC0415 - TLS and a second server, seldom asked for

    settings = daemon.settings
    index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    here = replace(context.environment, cwd=current_folder())

    def canonical(text: str) -> str:  # whose pattern takes its time: for who has such a variable
        return canonical_rewriting(settings).of(text)

    own = _own_environment(settings, arguments, context)
    own |= intercepted_r_variables(context.environ, index.origin, chosen_r_index(settings, arguments), canonical)
    own |= upload_variables(here, LocalUrls.intercepted(settings), command)
    with intercepting(daemon, index, context) as variables:
        return run_child(command, own | variables, signals)


def _environment(settings: Settings, arguments: argparse.Namespace, context: Context) -> dict[str, str]:
    index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    r_index = chosen_r_index(settings, arguments)
    urls = LocalUrls.of_settings(settings)
    cleared = list(leftovers(context.environ, urls))
    if dropped := [str(one) for one in cleared if one.dropped or not one.value]:
        context.print_err(
            f"ppmproxy: the command goes without {', '.join(dropped)}, so that packages come from the proxy"
        )
    here = with_leftovers_cleared(replace(context.environment, cwd=current_folder()), cleared)
    pip = extra_indexes(here)
    own = _own_environment(settings, arguments, context) | {one.variable: one.value for one in cleared}
    own |= client_variables(index, r_index, here.environ)
    for one in second_indexes(pip, urls):
        what = f"{one.where} names a second index, {origin_shown(one.value)}: pip takes packages from there, too"
        context.print_err(f"ppmproxy: {what}")
    own |= pip_variables(pip, urls) | uv_variables(here, urls, is_named=is_named(arguments))
    own |= r_variables(here, urls, index.origin, r_index) | upload_variables(here, urls, arguments.command)
    emptied = {one.variable for one in cleared}
    return {name: value for name, value in own.items() if value or name not in emptied}


def _own_environment(settings: Settings, arguments: argparse.Namespace, context: Context) -> dict[str, str]:
    """The person's environment without tokens, and with the mark by which an enclosed `exec` knows this one."""
    own = child_environment(context.environ, settings.upstreams, settings.cache_url, keeps_tokens=arguments.keep_token)
    return own | {ENCLOSING_PID: str(os.getpid())}


# --- the daemon ---


@contextmanager
def _running_daemon(found: DaemonInfo, settings: Settings, context: Context) -> Iterator[Serving]:
    """A daemon that is running already."""
    with shared_daemon(found, settings, context):
        yield Serving(replace(settings, listen=(address_of_url(found.url),)), found.key)


@contextmanager
def _own_daemon(settings: Settings, context: Context) -> Iterator[Serving]:
    """Start a daemon in a thread of this process; it ends with the command."""
    from ppmproxy.cli.already_running import already_running  # noqa: PLC0415 - only when none can be used
    from ppmproxy.cli.daemon_thread import DaemonThread  # noqa: PLC0415 - a whole server, when none is running

    try:
        thread = DaemonThread.start(settings, context, prompt_on(context))
    except CannotListenError as error:
        error = already_running(settings, context.environment) or error
        context.print_err(f"ppmproxy: {error}; using a free port, which must not be recorded in lock files")
        thread = DaemonThread.start(_on_free_port(settings), context, prompt_on(context))
    try:
        yield Serving(replace(settings, listen=thread.addresses), thread.daemon.key, thread)
    finally:
        thread.stop()


def _without_request_log(loaded: LoadedConfig) -> Settings:
    """The settings with a log of errors only, unless a log level is set: the output is the command's."""
    is_wanted = any(entry.key == "log_level" and entry.source != "default" for entry in loaded.entries)
    return loaded.settings if is_wanted else replace(loaded.settings, log_level=LogLevel.ERROR)


def _on_free_port(settings: Settings) -> Settings:
    tcp = [address for address in settings.listen if isinstance(address, TcpAddress)]
    return replace(settings, listen=tuple(TcpAddress(address.host, 0) for address in tcp))
