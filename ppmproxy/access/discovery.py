"""Discovery of the user's running daemon, by the other commands.

It uses the standard library alone, because these commands must start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ppmproxy.access.daemon_identity import TIMEOUT as PROOF_TIMEOUT
from ppmproxy.access.daemon_identity import ListenerIdentity, connect, verify_daemon
from ppmproxy.access.daemon_record import RESTART, DaemonRecord, is_alive, list_daemons
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.access.local_request import LocalConnection, NotUnderstoodError
from ppmproxy.config.local_address import ListenAddress, TcpAddress, UnixAddress, address_of_url
from ppmproxy.config.model import Settings

TIMEOUT = 3.0  # seconds for each step
DEADLINE = 6.0  # seconds for a proof
PATIENCE = 5.0  # seconds for each step, where a daemon of this user is known to listen: its machine may be busy
LARGEST_PAGE = 1 << 20  # bytes
ENCLOSING_PID = "_PPMPROXY_EXEC_PID"  # a variable by which commands within `exec` know that its process outlives them


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """Who listens at one address, and its status."""

    url: str  # without a slash at the end
    identity: ListenerIdentity
    status: Mapping[str, object] = field(default_factory=dict)  # of /-/status; empty unless it is ours
    record: DaemonRecord | None = None  # of our own daemon
    holder: str = ""  # the process of another one, in words
    key: IdentityKey | None = field(default=None, repr=False)  # by which our own daemon has proved itself

    @property
    def restart_command(self) -> str:
        """The command, or two, that starts it anew."""
        return self.record.restart_command if self.record else RESTART

    def serves(self, settings: Settings) -> bool:
        """Whether it leads to the same upstreams, under the same mounts, and takes uploads where they are wanted."""
        served = {(one.get("mount"), one.get("url")): one for one in self.upstreams()}
        for upstream in settings.upstreams:
            one = served.get((upstream.mount, upstream.url))
            if one is None or (upstream.uploads and not one.get("uploads", True)):  # older ones do not say
                return False
        return True

    def sign_ins(self) -> Iterator[tuple[str, str]]:
        """Page and code of each pending sign-in."""
        for one in self.upstreams():
            if one.get("sign_in"):
                yield one["sign_in"]["page"], one["sign_in"]["code"]

    def upstreams(self) -> list[Mapping[str, Any]]:
        """Its status of each upstream."""
        listed = self.status.get("upstreams")
        return listed if isinstance(listed, list) else []


def local_urls(settings: Settings) -> list[str]:
    """The URLs at which clients on this machine find a daemon with these settings."""
    tcp = (address for address in settings.listen if isinstance(address, TcpAddress))
    return [address.for_clients.url for address in tcp if address.port]


def daemon_urls(settings: Settings) -> list[str]:
    """Where this user's other commands find a daemon with these settings: ``unix:PATH`` where it has no port."""
    return local_urls(settings) or [one.url for one in settings.listen if isinstance(one, UnixAddress)]


def tcp_addresses(urls: Iterable[str]) -> tuple[TcpAddress, ...]:
    """The addresses with a port behind a daemon's URLs."""
    return tuple(one for one in map(address_of_url, urls) if isinstance(one, TcpAddress))


def record_at(url: str, records: Iterable[DaemonRecord]) -> DaemonRecord | None:
    """The record of the daemon at a URL; the last one, where one that was killed has left its own."""
    place = _as_clients_write(address_of_url(url))
    at = [one for one in records if place in (_as_clients_write(address_of_url(other)) for other in one.urls)]
    return next((one for one in reversed(at) if is_alive(one.pid)), None)


def holder_at(url: str, folders: Sequence[Path]) -> str:
    """The process that listens at a URL, in words, as far as this user may know."""
    from ppmproxy.access.port_owner import holder_of  # noqa: PLC0415 - seldom asked for

    address = address_of_url(url)
    if not isinstance(address, TcpAddress):
        return "another program"
    holder = holder_of(address.host, address.port)
    record = record_at(url, list_daemons(folders)) if holder and holder.is_own and holder.pid is None else None
    return f"process {record.pid} (ppmproxy)" if record else str(holder or "another program")


def _as_clients_write(address: ListenAddress) -> ListenAddress:
    return address.for_clients if isinstance(address, TcpAddress) else address


def verify_within_deadline(url: str, folders: Sequence[Path], timeout: float = PROOF_TIMEOUT) -> ListenerIdentity:
    """Who listens at a URL; never raises. A response without an end is another program's."""
    return _proved_within(url, folders, timeout)[0]


def patience_with(url: str, folders: Sequence[Path]) -> float:
    """The seconds that whoever listens at a URL has for each step of its proof."""
    return PATIENCE if record_at(url, list_daemons(folders)) is not None else PROOF_TIMEOUT


def _proved_within(url: str, folders: Sequence[Path], timeout: float) -> tuple[ListenerIdentity, IdentityKey | None]:
    """Who listens at a URL, and the key by which this user's daemon has proved itself."""
    answers: SimpleQueue[tuple[ListenerIdentity, IdentityKey | None]] = SimpleQueue()

    def ask() -> None:
        with verify_daemon(url, folders, timeout) as found:
            answers.put((found.identity, found.record.key if found.record else None))

    Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=DEADLINE)
    except Empty:
        return ListenerIdentity.OTHER_PROGRAM, None


def probe_daemon(url: str, folders: Sequence[Path]) -> DaemonInfo:
    """Who listens at a URL, and its status; never raises."""
    identity, key = _proved_within(url, folders, patience_with(url, folders))
    if identity is ListenerIdentity.OURS:
        status = status_of(url, PATIENCE)
        return DaemonInfo(url, identity, status, record_at(url, list_daemons(folders)), key=key)
    holder = "" if identity is ListenerIdentity.NOBODY else holder_at(url, folders)
    is_own = identity is ListenerIdentity.USERS_UNKNOWN
    return DaemonInfo(url, identity, record=record_at(url, list_daemons(folders)) if is_own else None, holder=holder)


def find_daemon(settings: Settings, folders: Sequence[Path], enclosing_pid: str = "") -> DaemonInfo | None:
    """The user's own daemon that serves the same upstreams: where the settings say, or wherever one is running.

    A daemon that ends with another command is skipped, unless `enclosing_pid` names it: that command runs this one.
    """
    records = list(list_daemons(folders))
    passing = {
        address.port
        for record in records
        if record.is_ephemeral and str(record.pid) != enclosing_pid
        for address in tcp_addresses(record.urls)
    }
    elsewhere = [address.url for record in records for address in tcp_addresses(record.urls)]
    for url in dict.fromkeys([*local_urls(settings)[:1], *elsewhere]):
        if tcp_addresses([url])[0].port in passing:
            continue
        found = probe_daemon(url, folders)
        if found.identity is ListenerIdentity.OURS and found.serves(settings) and not found.status.get("draining"):
            return found
    return None


def status_of(url: str, timeout: float = TIMEOUT) -> Mapping[str, object]:
    """The status that a daemon reports, whoever's it is; empty when it reports none to this user."""
    code, body = get_page(url, "/-/status", timeout)
    try:
        document = json.loads(body) if code == 200 else {}  # noqa: PLR2004
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def get_page(url: str, path: str, timeout: float = TIMEOUT) -> tuple[int, str]:
    """Status and text of one of the daemon's own pages; status 0 when nobody answers."""
    try:
        with connect(url, timeout) as opened:
            status, body = LocalConnection(opened).ask("GET", path, {}, LARGEST_PAGE)
    except (OSError, NotUnderstoodError):
        return 0, ""
    return status, body.decode("utf-8", "replace")
