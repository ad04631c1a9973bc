"""`ppmproxy doctor`: runs all checks and prints each result with its fix.

The subject is the daemon that clients reach (`subject`). It runs the checks of the Package Managers itself, with its
own settings and credentials (`by_daemon`); where none runs, they are run here (`upstream`). The other checks are in
`daemon` (the daemon, its addresses), `local` (files) and `clients` (clients' own settings).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ppmproxy.access.discovery import ENCLOSING_PID
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli import event_loop
from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.cli.doctor.by_daemon import checks_by_daemon
from ppmproxy.cli.doctor.checks import (
    CheckResult,
    Outcome,
    crashed,
    failed,
    failed_by,
    guarded,
    ok,
    proxy_variables_check,
    warning,
)
from ppmproxy.cli.doctor.clients import KnownOrigins, client_checks
from ppmproxy.cli.doctor.daemon import daemon_checks, port_checks, reported_upstreams
from ppmproxy.cli.doctor.local import DoctorContext, local_checks
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.cli.doctor.subject import Subject, shell_remarks, subject_of
from ppmproxy.cli.doctor.uploads import upload_checks
from ppmproxy.cli.doctor.upstream import UpstreamCheckContext, index_to_try, upstream_checks
from ppmproxy.cli.unread_files import unread_files
from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT, Index, add_index_flags, chosen_index
from ppmproxy.clients.intercepting import is_intercepted
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.survey import Survey, survey
from ppmproxy.config.local_address import LOOPBACK_HOSTS
from ppmproxy.config.model import DEFAULT_REPO, LogFormat, LogLevel, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, PpmProxyError, UsageError
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
    set_up_logs(redactor, LogLevel.ERROR, LogFormat.JSON, io.StringIO())  # faults become results instead
    results = list(_Examination(arguments, context, redactor).results())  # before masking: the last may bring a secret
    found = [result.without_secrets(redactor.text) for result in results]
    if arguments.json:
        context.print(json.dumps([result.document() for result in found], indent=2))
    else:
        context.print("\n".join(line for result in found for line in result.lines()))
    return EXIT_CHECK_FAILED if any(one.outcome is Outcome.FAILED for one in found) else EXIT_OK


@dataclass(frozen=True, slots=True)
class _Examination:
    """One run of the command."""

    arguments: argparse.Namespace
    context: Context
    redactor: Redactor

    def results(self) -> Iterator[CheckResult]:
        """All checks, each guarded: one that cannot be made does not end the others."""
        preliminary: list[CheckResult] = []
        shell = self._shell_settings(preliminary)
        here = self._here(preliminary)
        subject = _subject(shell or Settings(), here, preliminary)
        yield from preliminary
        if shell is not None:
            yield from guarded("shell-settings", lambda: shell_remarks(shell, subject))
        clients = _Clients(here, subject.settings, is_running=subject.daemon is not None)
        is_expected = clients.lead_here()
        yield from guarded("daemon", lambda: daemon_checks(subject, here, is_expected=is_expected))
        yield from guarded("port", lambda: port_checks(subject))
        yield from local_checks(DoctorContext(subject.settings, here, subject.daemon))
        if subject.daemon is not None or shell is not None:
            yield from guarded("upstream", lambda: self._upstreams(subject, here))
        yield from clients.results()
        if self.arguments.canary and shell is not None:
            yield from guarded("canary", lambda: _canary(shell, self.context))

    def _shell_settings(self, results: list[CheckResult]) -> Settings | None:
        """The settings of this shell; None where they are broken. `UsageError` for an index that cannot be meant."""
        try:
            loaded = load_config(self.arguments, self.context)
            shell = loaded.settings
            index_to_try(shell, self.arguments.repo or DEFAULT_REPO, self.arguments.snapshot)
        except UsageError:
            raise
        except PpmProxyError as error:
            results.append(failed_by("settings", error))
        except Exception as error:  # noqa: BLE001 - the other checks go on
            results.append(crashed("settings", error))
        else:
            results.append(ok("settings", "they can be used; `ppmproxy config show` tells where each is from"))
            unread = unread_files(loaded, self.context.environment)
            results += [warning("settings-file", f"{path} is not read", command) for path, command in unread]
            return shell
        return None

    def _here(self, results: list[CheckResult]) -> Environment:
        environment = self.context.environment
        try:
            return replace(environment, cwd=current_folder())
        except UsageError as error:
            results.append(failed_by("folder", error))
            return replace(environment, cwd=environment.home)

    def _upstreams(self, subject: Subject, here: Environment) -> Iterator[CheckResult]:
        """The checks of the Package Managers: by the daemon that reaches them, or here where none runs."""
        repo, snapshot = self.arguments.repo or DEFAULT_REPO, self.arguments.snapshot
        if subject.daemon is None or (not subject.is_proved and subject.has_shells_upstreams):
            index = index_to_try(subject.settings, repo, snapshot)
            examined = UpstreamCheckContext(subject.settings, index, here, self.redactor)
            yield from event_loop.run(upstream_checks(examined))
            yield from event_loop.run(shared_cache_checks(subject.settings, here.environ))
            return
        by_daemon = None
        if subject.is_proved:
            by_daemon = checks_by_daemon(subject.daemon.url, runtime_folders(here), repo, snapshot)
        yield from reported_upstreams(subject.daemon) if by_daemon is None else by_daemon


def _subject(shell: Settings, here: Environment, results: list[CheckResult]) -> Subject:
    try:
        return subject_of(shell, runtime_folders(here), here.environ.get(ENCLOSING_PID, ""))
    except Exception as error:  # noqa: BLE001 - the other checks go on without a daemon
        results.append(crashed("daemon", error))
        return Subject(shell, ())


# --- the clients ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Clients:
    """The checks of clients' settings, which are read once."""

    here: Environment
    settings: Settings
    is_running: bool  # a daemon, at the addresses of the settings
    _seen: Survey | None = None

    def lead_here(self) -> bool:
        """Whether a client's variable or file leads to the proxy, so that it is to be running."""
        known = KnownOrigins.of_settings(self.settings)
        with contextlib.suppress(Exception):  # `results` reports it
            return any("${" not in one.value and known.leads_here(one.value) for one in self._survey().settings)
        return False

    def results(self) -> Iterator[CheckResult]:
        """All checks."""
        yield from guarded("proxy-variables", self._proxy_variables)
        yield from guarded("client-files", self._files)
        yield from guarded("direct-upload", self._uploads)

    def _survey(self) -> Survey:
        if self._seen is None:
            self._seen = survey(self.here)
        return self._seen

    def _proxy_variables(self) -> Iterator[CheckResult]:
        hosts = dict.fromkeys(
            [*LOOPBACK_HOSTS[:2], self._index().origin.host]
        )  # pip and uv are pointed at one of these
        yield proxy_variables_check(self.here.environ, list(hosts))

    def _index(self) -> Index:
        return chosen_index(self.settings, DEFAULT_REPO, DEFAULT_SNAPSHOT)

    def _files(self) -> Iterator[CheckResult]:
        seen = self._survey()
        known = KnownOrigins.of_settings(
            self.settings, is_running=self.is_running, is_intercepted=self._is_intercepted()
        )
        yield from (failed("client-files", one.what, one.fix) for one in seen.unreadable)
        yield from client_checks(seen.settings, seen.netrc_hosts, known)

    def _uploads(self) -> Iterator[CheckResult]:
        if not self._is_intercepted():
            yield from upload_checks(self.here, LocalUrls.of_settings(self.settings))

    def _is_intercepted(self) -> bool:
        return ENCLOSING_PID in self.here.environ and is_intercepted(self.here.environ)


def machine_checks(subject: Subject, environment: Environment) -> Iterator[CheckResult]:
    """The checks on this machine: the daemon, and the clients' settings."""
    yield from guarded("daemon", lambda: daemon_checks(subject, environment, is_expected=True))
    yield from guarded("port", lambda: port_checks(subject))
    yield from local_checks(DoctorContext(subject.settings, environment, subject.daemon))
    yield from _Clients(environment, subject.settings, is_running=True).results()


# --- the canary -------------------------------------------------------------------------------------------------------


def _canary(settings: Settings, context: Context) -> Iterator[CheckResult]:
    from ppmproxy.cli.doctor.canary import run_leak_test  # noqa: PLC0415 - it brings a fake Package Manager along

    try:
        outcome = event_loop.run(asyncio.wait_for(run_leak_test(settings, context.environ), CANARY_DEADLINE))
    except asyncio.TimeoutError:
        yield failed("canary", f"it was not back within {CANARY_DEADLINE:g} s", "see what `ppmproxy demo` says")
        return
    if not outcome.has_arrived:
        what = "the made-up token did not reach the fake Package Manager"
        yield failed("canary", what, "see what `ppmproxy demo` says")
        return
    if outcome.leaks:
        seen = "; ".join(outcome.leaks)
        fix = "stop using this set-up, and report it as SECURITY.md says"
        yield failed("canary", f"the made-up token LEAKED, seen in: {seen}", fix)
        return
    places = len(outcome.looked_at)
    yield ok("canary", f"the made-up token reached the Package Manager and was seen in none of {places} other places")
