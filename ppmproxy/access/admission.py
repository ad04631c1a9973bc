"""Who may come in over a connection, and how many connections there may be.

To change how many connections a user, a stranger or everybody may have, open this file; which users may use the proxy
is decided in `local_access`.

Who is at the other end is looked up once, when a connection is accepted. Whoever may not use the proxy still gets an
answer that says so, over one of a few connections kept for such answers, so that no stranger can crowd out the user.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from ppmproxy.access.peer_credentials import Connection, PeerUids, can_be_known
from ppmproxy.access.policy import Users, check_user, may_use
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and how many seconds a client may take.

    uv opens 66 connections, more than any other client.
    """

    per_user: int = 512
    altogether: int = 1024
    turned_away: int = 64  # being told why
    head: float = 20.0  # from the first byte of a request to the end of its headers
    body: float = 60.0  # between two pieces of a body
    idle: float = 75.0  # between two requests

    def within(self, files: int) -> Limits:
        """The same for a process that may open no more than so many files: each request may need two connections."""
        altogether = min(self.altogether, max(self.turned_away, (files - 2 * self.turned_away) // 2))
        return Limits(min(self.per_user, altogether), altogether, self.turned_away, self.head, self.body, self.idle)


class TooManyConnectionsError(RefusedError):
    """As many connections as there may be. It passes by itself: pip and uv come again for some seconds after a 503."""

    code = "too-many-connections"
    status = 503
    title = "too many connections"


class Verdict(enum.Enum):
    """What becomes of a connection."""

    ADMITTED = enum.auto()
    FORBIDDEN = enum.auto()  # told so
    TOO_MANY = enum.auto()  # told so
    DROPPED = enum.auto()  # closed: enough are being told


@dataclass(frozen=True, slots=True)
class ConnectionTicket:
    """A connection as it was judged when it was accepted."""

    verdict: Verdict
    counts_for: object  # a uid, or an address where the uid does not matter
    uid: int | None = None


class Admission:
    """Judges connections and counts them."""

    def __init__(self, users: Users, peers: PeerUids, limits: Limits) -> None:
        self.limits = limits
        self._users = users
        self._peers = peers
        self._inside: Counter[object] = Counter()
        self._turned_away = 0

    def admit(self, connection: Connection) -> ConnectionTicket:
        """Judge a connection that was just accepted; each needs its `release`."""
        if self._users.listed is None or not can_be_known(connection.family):
            ticket = ConnectionTicket(Verdict.ADMITTED, _host_of(connection))
        else:
            uid = self._peers.uid_of(connection)
            ticket = ConnectionTicket(Verdict.ADMITTED if may_use(uid, self._users) else Verdict.FORBIDDEN, uid, uid)
        if ticket.verdict is Verdict.ADMITTED and not self._is_room_for(ticket):
            ticket = ConnectionTicket(Verdict.TOO_MANY, ticket.counts_for, ticket.uid)
        if ticket.verdict is Verdict.ADMITTED:
            self._inside[ticket.counts_for] += 1
            return ticket
        self._turned_away += 1
        if self._turned_away > self.limits.turned_away:
            return ConnectionTicket(Verdict.DROPPED, ticket.counts_for, ticket.uid)
        return ticket

    def release(self, ticket: ConnectionTicket) -> None:
        """A connection has ended."""
        if ticket.verdict is not Verdict.ADMITTED:
            self._turned_away -= 1
            return
        self._inside[ticket.counts_for] -= 1
        if not self._inside[ticket.counts_for]:
            del self._inside[ticket.counts_for]

    def check(self, ticket: ConnectionTicket) -> None:
        """Let a request in, or raise what its client is to be told; looks nothing up."""
        if ticket.verdict is Verdict.ADMITTED:
            return
        if ticket.verdict is not Verdict.TOO_MANY:
            check_user(ticket.uid, self._users)
        raise TooManyConnectionsError(
            f"this proxy has {self._inside.total()} connections, {self._inside[ticket.counts_for]} of them from here",
            "try again when other programs have finished",
        )

    def _is_room_for(self, ticket: ConnectionTicket) -> bool:
        if self._inside.total() >= self.limits.altogether:
            return False
        return ticket.counts_for is None or self._inside[ticket.counts_for] < self.limits.per_user


def _host_of(connection: Connection) -> str | None:
    """The other machine; None for this one, where an address tells nobody from anybody else."""
    try:
        name = connection.getpeername()
    except OSError:
        return None
    host = str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""
    return None if not host or is_loopback_host(host) else host
