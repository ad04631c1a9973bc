"""`ppmproxy doctor`: runs all checks and prints each result with its fix.

The checks are in `local` (daemon, port, files), `upstream` (network, certificates, tokens) and `clients` (clients' own
settings).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace

from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.cli.doctor.checks import CheckResult, Outcome, failed, failed_by, ok, proxy_variables_check
from ppmproxy.cli.doctor.clients import KnownOrigins, client_checks
from ppmproxy.cli.doctor.local import DoctorContext, local_checks
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.cli.doctor.uploads import upload_checks
from ppmproxy.cli.doctor.upstream import UpstreamCheckContext, upstream_checks
from ppmproxy.clients.index_url import Index, add_index_flags, chosen_index
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.survey import survey
from ppmproxy.config.local_address import LOOPBACK_HOSTS
from ppmproxy.config.model import DEFAULT_REPO, LogFormat, LogLevel, Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError
from ppmproxy.server.logs import set_up_logs

CANARY_DEADLINE = 300.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The leak test, the format, and the index."""
    parser.add_argument(
        "--canary",
        action="store_true",
        help="send a made-up token through this set-up, too, and look for it everywhere it must not be",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON: a list of check, outcome, what, fix")
    add_index_flags(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the results; exit code 1 when a check failed."""
    redactor = Redactor()
    results = list(_results(arguments, context, redactor))  # all of them before masking: the last may bring a secret
    found = [result.without_secrets(redactor.text) for result in results]
    if arguments.json:
        context.print(json.dumps([result.document() for result in found], indent=2))
    else:
        context.print("\n".join(line for result in found for line in result.lines()))
    return EXIT_CHECK_FAILED if any(one.outcome is Outcome.FAILED for one in found) else EXIT_OK


def _results(arguments: argparse.Namespace, context: Context, redactor: Redactor) -> Iterator[CheckResult]:
    """All checks; without valid settings only that one."""
    try:
        settings = load_config(arguments, context).settings
        index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    except ConfigError as error:
        yield failed_by("settings", error)
        return
    yield ok("settings", "they can be used; `ppmproxy config show` tells where each is from")
    set_up_logs(redactor, LogLevel.ERROR, LogFormat.JSON, io.StringIO())  # faults become results instead
    folders = runtime_folders(context.environment)
    local = DoctorContext(settings, folders, context.environment, current_folder())
    yield from local_checks(local)
    yield from event_loop.run(shared_cache_checks(settings, context.environ))
    examined = UpstreamCheckContext(settings, index, context.environment, redactor)
    yield from event_loop.run(upstream_checks(examined))
    yield from _clients(local, index)
    if arguments.canary:
        yield _canary(settings, context)


def machine_checks(local: DoctorContext, index: Index) -> Iterator[CheckResult]:
    """The checks on this machine: the daemon, and the clients' settings."""
    yield from local_checks(local)
    yield from _clients(local, index)


def _clients(local: DoctorContext, index: Index) -> Iterator[CheckResult]:
    hosts = dict.fromkeys([*LOOPBACK_HOSTS[:2], index.origin.host])  # pip and uv are pointed at one of these
    yield proxy_variables_check(local.environment.environ, list(hosts))
    here = replace(local.environment, cwd=local.folder)
    seen = survey(here)
    yield from (failed("client-files", one.what, one.fix) for one in seen.unreadable)
    yield from client_checks(seen.settings, seen.netrc_hosts, KnownOrigins.of_settings(local.settings))
    yield from upload_checks(here, LocalUrls.of_settings(local.settings))


# --- the canary -------------------------------------------------------------------------------------------------------


def _canary(settings: Settings, context: Context) -> CheckResult:
    from ppmproxy.cli.doctor.canary import run_leak_test  # noqa: PLC0415 - it brings a fake Package Manager along

    try:
        outcome = event_loop.run(asyncio.wait_for(run_leak_test(settings, context.environ), CANARY_DEADLINE))
    except PpmProxyError as error:
        return failed_by("canary", error)
    except asyncio.TimeoutError:
        return failed("canary", f"it was not back within {CANARY_DEADLINE:g} s", "see what `ppmproxy demo` says")
    if not outcome.arrived:
        return failed(
            "canary", "the made-up token did not reach the fake Package Manager", "see what `ppmproxy demo` says"
        )
    if outcome.leaks:
        seen = "; ".join(outcome.leaks)
        fix = "stop using this set-up, and report it as SECURITY.md says"
        return failed("canary", f"the made-up token LEAKED, seen in: {seen}", fix)
    places = len(outcome.looked_at)
    return ok("canary", f"the made-up token reached the Package Manager and was seen in none of {places} other places")
