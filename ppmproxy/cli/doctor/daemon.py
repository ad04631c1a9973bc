"""Checks of the daemon itself: whether it runs, at which addresses, in which version, and what it reports."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ppmproxy.access.daemon_identity import ANY_USER, OWN_PORT, ListenerIdentity
from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.access.port_owner import PortHolder, holder_of, is_taken
from ppmproxy.cli.doctor.checks import CheckResult, failed, ok, warning
from ppmproxy.cli.doctor.subject import Subject, is_held_by_this_user
from ppmproxy.config.local_address import TcpAddress, UnixAddress, address_of_url
from ppmproxy.environment import Environment
from ppmproxy.server.admin.findings import RETRIED

START = "ppmproxy run"
SERVICE_START = "ppmproxy service install"  # keeps what it was given, and says why the service does not start
_STRANGERS = {
    ListenerIdentity.OTHER_PROGRAM,
    ListenerIdentity.UNPROVEN,
    ListenerIdentity.SILENT,
    ListenerIdentity.OTHER_USERS,
}


def daemon_checks(subject: Subject, environment: Environment, *, is_expected: bool) -> Iterator[CheckResult]:
    """Whether the daemon runs, and what it reports; `is_expected` where a client's settings lead to it."""
    daemon = subject.daemon
    if daemon is None and any(one.identity is ListenerIdentity.USERS_UNKNOWN for one in subject.found):
        return  # `access` says it
    if daemon is None:
        yield _not_running(subject, environment, is_expected=is_expected)
    elif subject.is_proved:
        pid = f" (pid {subject.record.pid})" if subject.record else ""
        yield ok("daemon", f"it is running at {daemon.url}{pid}, and proved to be this user's")
        yield from _reported(daemon, subject)
    else:
        yield _unproved(daemon)
        yield from _reported(daemon, subject)


def _not_running(subject: Subject, environment: Environment, *, is_expected: bool) -> CheckResult:
    places = " nor ".join(one.url for one in subject.found) or "any known address"
    if is_expected:
        return failed("daemon", f"it is not running at {places}, and clients here are pointed at it", START)
    if environment.exists(environment.config_home() / "systemd" / "user" / "ppmproxy.socket"):
        return failed("daemon", f"it is not running at {places}, although its service is installed", SERVICE_START)
    return ok("daemon", f"none is running; `ppmproxy exec` starts its own for a command, `{START}` one that stays")


def _unproved(daemon: DaemonInfo) -> CheckResult:
    if is_held_by_this_user(daemon.url):
        return ok("daemon", f"it is running at {daemon.url}, as this user; it has no folder in which to prove more")
    what = f"a ppmproxy at {daemon.url} answers this user, and cannot prove whose it is"
    fix = "right where you run it in another container; else start one of your own: PPMPROXY_LISTEN=auto ppmproxy run"
    return warning("daemon", what, fix)


def _reported(daemon: DaemonInfo, subject: Subject) -> Iterator[CheckResult]:
    """What the daemon's status says: its version, who may use it, and what it got no answer to."""
    restart = daemon.restart_command if subject.is_proved else "start it anew"
    running, here = daemon.status.get("version"), version("ppmproxy")
    if running and running != here:
        what = f"it runs version {running}, and this command is version {here}"
        yield warning("daemon", what, restart)
    access: Any = daemon.status.get("access")
    if isinstance(access, dict) and not access.get("kept", True):
        what = f"other users cannot be told apart: {access.get('why_not')}"
        end = subject.record.stop_command if subject.record else "end it"
        yield warning("access", what, f"{end}, then {ANY_USER}")
    for upstream in daemon.upstreams():
        yield from _reported_of(upstream, restart)


def _reported_of(upstream: Mapping[str, Any], restart: str) -> Iterator[CheckResult]:
    for trouble in upstream.get("troubles", ()):
        yield warning("token", f"{upstream.get('url')}: {trouble}", RETRIED)
    if since := upstream.get("silent_since"):
        who, asked, why = upstream.get("url"), upstream.get("silent_until"), upstream.get("silent_why")
        what = f"it has had no good answer from {who} since {since}, last asked {asked}: {why}"
        fix = f"where `upstream` and `certificate` are ok below, try again; if it fails, start it anew: {restart}"
        yield warning("daemon", what, fix)


# --- addresses --------------------------------------------------------------------------------------------------------


def port_checks(subject: Subject) -> Iterator[CheckResult]:
    """Who listens at each address: the daemon, nobody, or somebody else."""
    restart = subject.record.restart_command if subject.record else START
    for one in subject.found:
        if one.identity is ListenerIdentity.OURS:
            yield ok("port", f"{one.url} is ours")
        elif one.identity is ListenerIdentity.USERS_UNKNOWN:
            yield _refusing(one)
        elif one.identity in _STRANGERS:
            yield from _held(one, subject)
        elif subject.daemon is None:
            yield ok("port", f"{one.url} is free")
        elif subject.is_proved and _exists(one.url):
            what = f"nobody listens at {one.url}, so another user's program may"
            yield warning("port", what, f"restart the daemon ({restart}), with both 127.0.0.1 and [::1] in listen")


def _held(one: DaemonInfo, subject: Subject) -> Iterator[CheckResult]:
    address = address_of_url(one.url)
    holder = holder_of(address.host, address.port) if isinstance(address, TcpAddress) else None
    if subject.daemon and one.identity is ListenerIdentity.UNPROVEN and not subject.is_proved:
        return  # `daemon` says it
    if holder is None and isinstance(address, TcpAddress) and not is_taken(address.host, address.port):
        yield ok("port", f"{one.url} is free")  # by now: systemd has given up a service that does not start
        return
    what = f"{one.url} is held by {one.holder or 'another program'}: {one.identity.value}"
    yield failed("port", what, _remedy(one.identity, holder))


def _refusing(one: DaemonInfo) -> CheckResult:
    """The own daemon, where the system does not report to it who connects, as in some sandboxes."""
    record = one.record
    end = "end it" if record is None else record.stop_command if record.manager else f"kill {record.pid}"
    return failed("access", f"{one.url} is {one.identity.value}", f"{end}, then {ANY_USER}")


def _remedy(identity: ListenerIdentity, holder: PortHolder | None) -> str:
    if identity is ListenerIdentity.OTHER_USERS or (holder and not holder.is_own):
        return f"{OWN_PORT}, then have clients use that: ppmproxy env"
    if holder and holder.is_systemd:
        return SERVICE_START
    if holder and holder.pid:
        return f"stop that program (kill {holder.pid}); until then clients may send their requests to it"
    return "stop that program; until then clients may send their requests to it"


def _exists(url: str) -> bool:
    """Whether this machine has the address: not every one has IPv6."""
    address = address_of_url(url)
    if isinstance(address, UnixAddress):
        return True
    with contextlib.suppress(OSError):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((address.host, 0))
            return True
    return False


# --- the checks that the daemon runs ----------------------------------------------------------------------------------


def reported_upstreams(daemon: DaemonInfo) -> Sequence[CheckResult]:
    """The state of the Package Managers as the daemon's status has it, where it does not run the checks for us."""
    return [result for upstream in daemon.upstreams() for result in _state_of(upstream)]


def _state_of(upstream: Mapping[str, Any]) -> Iterator[CheckResult]:
    url = upstream.get("url")
    if upstream.get("silent_since"):
        yield failed("upstream", f"{url}: {upstream.get('silent_why')}", "check the network, the VPN and its url")
    elif answered := upstream.get("last_answer_at"):
        yield ok("upstream", f"{url} answered at {answered}")
    else:
        yield ok("upstream", f"{url} has not been asked for anything yet")
    credential: Any = upstream.get("credential")
    if isinstance(credential, dict):
        until = f", until {credential['expires_at']}" if credential.get("expires_at") else ""
        yield ok("token", f"{url}: from {credential.get('source')}{until}")
    elif passed_over := upstream.get("passed_over"):
        said = "; ".join(f"{source}: {why}" for source, why in dict(passed_over).items())
        yield warning("token", f"{url}: none found (looked at: {said})", "ppmproxy login")
