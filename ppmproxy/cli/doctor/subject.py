"""The daemon that `doctor` judges: the one that clients reach, with its own upstreams and addresses.

The settings of the shell count only where no daemon runs; where one does, what differs is one remark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.daemon_record import DaemonRecord, list_daemons
from ppmproxy.access.discovery import DaemonInfo, local_urls, probe_daemon, status_of
from ppmproxy.access.port_owner import holder_of
from ppmproxy.cli.doctor.checks import CheckResult, warning
from ppmproxy.config.local_address import ListenAddress, TcpAddress, UnixAddress, address_of_url
from ppmproxy.config.model import PUBLIC_URL, Settings, Upstream

_NAMED = 3  # upstreams named in a remark; of more, the number


@dataclass(frozen=True, slots=True)
class Subject:
    """The daemon that is judged, and the settings that hold for its clients."""

    settings: Settings  # the daemon's upstreams and addresses; those of the shell where none runs
    found: Sequence[DaemonInfo]  # who listens at each of the addresses
    daemon: DaemonInfo | None = None  # None: none runs
    has_shells_upstreams: bool = False  # so that what is checked here says something about the daemon

    @property
    def record(self) -> DaemonRecord | None:
        """The record of the daemon, where it is this user's."""
        return self.daemon.record if self.daemon else None

    @property
    def is_proved(self) -> bool:
        """Whether the daemon proved to be this user's."""
        return self.daemon is not None and self.daemon.identity is ListenerIdentity.OURS


def subject_of(shell: Settings, folders: Sequence[Path], enclosing_pid: str = "") -> Subject:
    """The daemon at the addresses of these settings, else another one of this user's, else none.

    A daemon that ends with another command is only judged where clients are pointed at it: at these addresses, or
    within that command, which `enclosing_pid` names.
    """
    found = [probe_daemon(url, folders) for url in _urls(shell.listen)]
    daemon = next((one for one in found if one.identity is ListenerIdentity.OURS), None)
    daemon = daemon or next(filter(None, map(_admitting, found)), None)
    if daemon is None:
        daemon = _elsewhere(list(list_daemons(folders)), folders, enclosing_pid)
    if daemon is None:
        return Subject(shell, found)
    listen = shell.listen
    if daemon.record and all(one.url != daemon.url for one in found):
        listen = tuple(address_of_url(url) for url in daemon.record.urls)
        found = [probe_daemon(url, folders) for url in _urls(listen)]
    upstreams = _upstreams(daemon, shell) or shell.upstreams
    shared = set(upstreams) == set(shell.upstreams) and any(one.configured for one in upstreams)
    return Subject(replace(shell, listen=listen, upstreams=upstreams), found, daemon, shared)


def _urls(listen: Sequence[ListenAddress]) -> list[str]:
    return [*local_urls(Settings(listen=tuple(listen))), *(one.url for one in listen if isinstance(one, UnixAddress))]


def _as_clients_write(urls: Sequence[str]) -> list[str]:
    addresses = [address_of_url(url) for url in urls]
    return [one.for_clients.url if isinstance(one, TcpAddress) else one.url for one in addresses]


def _admitting(one: DaemonInfo) -> DaemonInfo | None:
    """A ppmproxy that cannot prove whose it is, and that lets this user read its status, as a sidecar does."""
    if one.identity is not ListenerIdentity.UNPROVEN:
        return None
    status = status_of(one.url)
    return replace(one, status=status) if status else None


def is_held_by_this_user(url: str) -> bool:
    """Whether the process that listens at a URL is one of this user's, as the kernel says."""
    address = address_of_url(url)
    holder = holder_of(address.host, address.port) if isinstance(address, TcpAddress) else None
    return holder is not None and holder.is_own


def _elsewhere(records: Sequence[DaemonRecord], folders: Sequence[Path], enclosing_pid: str) -> DaemonInfo | None:
    for record in records:
        if record.is_ephemeral and str(record.pid) != enclosing_pid:
            continue
        for url in _as_clients_write(record.urls):
            one = probe_daemon(url, folders)
            if one.identity is ListenerIdentity.OURS:
                return one
    return None


def _upstreams(daemon: DaemonInfo, shell: Settings) -> tuple[Upstream, ...]:
    """The daemon's upstreams, with the other settings of the shell for those that it has, too."""
    known = {(one.mount, one.url): one for one in shell.upstreams}
    served = [one for one in daemon.upstreams() if isinstance(one.get("url"), str)]
    return tuple(known.get((str(one.get("mount")), one["url"])) or _as_served(one) for one in served)


def _as_served(one: Mapping[str, Any]) -> Upstream:
    url = str(one["url"])
    return Upstream(
        name=str(one.get("name", Upstream().name)),
        url=url,
        mount=str(one.get("mount", "/")),
        uploads=one.get("uploads") is True,
        configured=url != PUBLIC_URL,
    )


# --- the shell's settings --------------------------------------------------------------------------------------------


def shell_remarks(shell: Settings, subject: Subject) -> Iterator[CheckResult]:
    """One remark where commands in this shell have other settings than the daemon; none where they are the same."""
    daemon = subject.daemon
    if daemon is None:
        return
    others = [*_other_upstreams(shell, daemon), *_other_addresses(shell, subject)]
    if others:
        what = f"commands in this shell have other settings than the daemon: {'; '.join(what for what, _ in others)}"
        yield warning(
            "shell-settings", what, f"export {' '.join(fix for _, fix in others)}{_or_restart(shell, subject)}"
        )


def _other_upstreams(shell: Settings, daemon: DaemonInfo) -> Iterator[tuple[str, str]]:
    served = daemon.upstreams()
    if not served or daemon.serves(shell):
        return
    theirs = _named([str(one.get("url")) for one in served])
    ours = _named([one.url for one in shell.upstreams])
    if max(len(served), len(shell.upstreams)) > 1:
        yield f"{ours} here, {theirs} there", "PPMPROXY_CONFIG=FILE, with the file that the daemon was started with"
    elif theirs == ours:
        uploads = str(any(one.get("uploads") is True for one in served)).lower()
        yield "mount or uploads", f"PPMPROXY_UPLOADS={uploads}"
    else:
        yield f"{ours} here, {theirs} there", f"PPMPROXY_UPSTREAM={served[0].get('url')}"


def _named(urls: Sequence[str]) -> str:
    return " and ".join(urls) if len(urls) <= _NAMED else f"{len(urls)} upstreams"


def _other_addresses(shell: Settings, subject: Subject) -> Iterator[tuple[str, str]]:
    if subject.record and subject.record.is_ephemeral:
        return  # that of `exec`, whose commands are given its address
    if subject.settings.listen != shell.listen:
        here, there = (",".join(map(str, listen)) for listen in (shell.listen, subject.settings.listen))
        yield f"{here} here, {there} there", f"PPMPROXY_LISTEN={there}"


def _or_restart(shell: Settings, subject: Subject) -> str:
    """The other way round, where the shell has settings of its own."""
    if subject.record is None or not any(one.configured for one in shell.upstreams):
        return ""
    restart = subject.record.restart_command
    if subject.settings.listen != shell.listen and not subject.record.manager:
        restart = f"kill {subject.record.pid}, then ppmproxy run"  # `ppmproxy shutdown` asks at the shell's addresses
    return f"; or have the daemon take those of this shell: {restart}"
