"""`ppmproxy doctor`: checks, each with its fix.

To add a check to those that are run, open this file. What is checked is in `local_checkup` (the daemon, its port,
files), `upstream_checkup` (the network, certificates, tokens) and `client_habits` (what clients are told elsewhere);
what a finding is, in `checkup`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ppmproxy import event_loop
from ppmproxy.canary import fly
from ppmproxy.checkup import Finding, Outcome, failed, of_error, ok, proxy_finding
from ppmproxy.chosen_index import DEFAULT_REPO, Index, add_index_flags, chosen_index
from ppmproxy.client_files import Machine
from ppmproxy.client_habits import Places, findings
from ppmproxy.client_survey import survey
from ppmproxy.command import Around, current_folder, effective
from ppmproxy.credential_sources import Surroundings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError
from ppmproxy.local_checkup import Surveyed, local_findings
from ppmproxy.logs import Mask, set_up_logs
from ppmproxy.origin import Origin
from ppmproxy.runtime_folder import runtime_folders
from ppmproxy.settings import DEFAULT_PORT, LogFormat, LogLevel, Settings, TcpAddress
from ppmproxy.upstream_checkup import Examined, upstream_findings

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
SPARED_HOSTS = ("localhost", "127.0.0.1")  # what NO_PROXY has to name: pip and uv are pointed at one of them
CANARY_DEADLINE = 300.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which check, and for whom."""
    parser.add_argument(
        "--canary",
        action="store_true",
        help="send a made-up token through this set-up, too, and look for it everywhere it must not be",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON: a list of check, outcome, what, fix")
    add_index_flags(parser)


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Print what was found; exit code 1 when a check failed."""
    mask = Mask()
    everything = list(_findings(arguments, around, mask))  # all of it, before anything is masked: secrets turn up late
    found = [finding.without_secrets(mask.text) for finding in everything]
    if arguments.json:
        around.say(json.dumps([finding.document() for finding in found], indent=2))
    else:
        around.say("\n".join(line for finding in found for line in finding.lines()))
    return EXIT_CHECK_FAILED if any(one.outcome is Outcome.FAILED for one in found) else EXIT_OK


def _findings(arguments: argparse.Namespace, around: Around, mask: Mask) -> Iterator[Finding]:
    """Everything, from the inside out; without settings there is nothing else to say."""
    try:
        settings = effective(arguments, around).settings
        index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    except ConfigError as error:
        yield of_error("settings", error)
        return
    yield ok("settings", "they can be used; `ppmproxy config show` tells where each is from")
    set_up_logs(mask, LogLevel.ERROR, LogFormat.JSON, io.StringIO())  # what is wrong is told as findings
    folders = runtime_folders(around.environ, around.home)
    yield from local_findings(Surveyed(settings, folders, around.environ, around.home, current_folder()))
    examined = Examined(settings.upstreams, index, Surroundings(around.environ, around.home), mask)
    yield from event_loop.run(upstream_findings(examined))
    yield from _clients(settings, index, around)
    if arguments.canary:
        yield _canary(settings, around)


def _clients(settings: Settings, index: Index, around: Around) -> Iterator[Finding]:
    hosts = dict.fromkeys([*SPARED_HOSTS, index.origin.host])
    yield proxy_finding(around.environ, list(hosts))
    seen = survey(Machine(around.environ, around.home, current_folder(), sys.platform, _exists))
    yield from seen.broken
    yield from findings(seen.told, seen.netrc_hosts, _places(settings))


def _places(settings: Settings) -> Places:
    """Every spelling of where clients may find the proxy, and where the Package Managers are."""
    tcp = [address for address in settings.listen if isinstance(address, TcpAddress)]
    ports = {DEFAULT_PORT, *(address.port for address in tcp)}
    ours = {Origin("http", host, port) for port in ports for host in LOCAL_HOSTS}
    ours |= {Origin("http", address.host, address.port) for address in tcp}
    return Places(frozenset(ours), frozenset(upstream.origin for upstream in settings.upstreams))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that may not be looked into
        return False


# --- the canary -------------------------------------------------------------------------------------------------------


def _canary(settings: Settings, around: Around) -> Finding:
    try:
        outcome = event_loop.run(asyncio.wait_for(fly(settings, around.environ), CANARY_DEADLINE))
    except PpmProxyError as error:
        return of_error("canary", error)
    except asyncio.TimeoutError:
        return failed("canary", f"it was not back within {CANARY_DEADLINE:g} s", "see what `ppmproxy demo` says")
    if not outcome.arrived:
        return failed("canary", "the made-up token did not arrive at the stand-in", "see what `ppmproxy demo` says")
    if outcome.leaks:
        seen = "; ".join(outcome.leaks)
        fix = "stop using this set-up, and report it as SECURITY.md says"
        return failed("canary", f"the made-up token LEAKED, seen in: {seen}", fix)
    places = len(outcome.looked_at)
    return ok("canary", f"the made-up token reached the Package Manager and was seen in none of {places} other places")
