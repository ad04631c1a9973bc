"""Admission control for client connections: which user may connect, and how many connections there may be.

The user at the other end is looked up once, when a connection is accepted. A user who may not use the proxy still gets
a response that says so, over one of a few connections reserved for that, so that no other user can crowd out this one.
Which users may use the proxy is decided in `policy`.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, replace
from typing import Protocol

from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.access.peer_credentials import Connection, PeerUids, is_supported
from ppmproxy.access.policy import Users, check_user, may_use
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and how many seconds a client may take.

    uv opens 66 connections, more than any other client.
    """

    per_user: int = 512
    total: int = 1024
    refused: int = 64  # with a response that says why
    head: float = 20.0  # from the first byte of a request to the end of its headers
    body: float = 60.0  # between two pieces of a body
    idle: float = 75.0  # between two requests

    def within(self, shares: DescriptorShares) -> Limits:
        """The same with no more connections than descriptors."""
        total, refused = min(self.total, shares.clients), min(self.refused, shares.refused)
        return replace(self, per_user=min(self.per_user, total), total=total, refused=refused)


class TooManyConnectionsError(RefusedError):
    """The limit of connections is reached. It passes: pip and uv retry for some seconds after a 503."""

    code = "too-many-connections"
    status = 503
    title = "too many connections"


class Verdict(enum.Enum):
    """The decision on a connection."""

    ADMITTED = enum.auto()
    FORBIDDEN = enum.auto()  # with a response that says so
    TOO_MANY = enum.auto()  # with a response that says so
    DROPPED = enum.auto()  # closed: too many get such a response already, or the client has left


@dataclass(frozen=True, slots=True)
class ConnectionTicket:
    """The decision on one connection, made when it was accepted."""

    verdict: Verdict
    counted_as: object  # the uid; the address where every user is admitted
    uid: int | None = None


class Holder(Protocol):
    """What holds a ticket: a connection that can be closed while it is idle."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, nor the beginning of one."""

    def close_idle(self) -> None:
        """Close it; its ticket is released already."""


class Admission:
    """Decides on connections and counts them. At the limit, idle ones are closed first."""

    def __init__(self, users: Users, peers: PeerUids, limits: Limits) -> None:
        self.limits = limits
        self._users = users
        self._peers = peers
        self._admitted: Counter[object] = Counter()
        self._refused = 0
        self._holders: dict[Holder, ConnectionTicket] = {}  # the one that was used last at the end

    @property
    def connections(self) -> int:
        """How many connections are admitted and open."""
        return self._admitted.total()

    def admit(self, connection: Connection, holder: Holder | None = None) -> ConnectionTicket:
        """Decide on a connection that was just accepted; each ticket needs its `release`."""
        if self._users.listed is None or not is_supported(connection.family):
            ticket = ConnectionTicket(Verdict.ADMITTED, _remote_host(connection))
        else:
            uid = self._peers.uid_of(connection)
            if uid is None and self._peers.has_left(connection):  # of no user that could be refused
                self._refused += 1
                return ConnectionTicket(Verdict.DROPPED, None)
            ticket = ConnectionTicket(Verdict.ADMITTED if may_use(uid, self._users) else Verdict.FORBIDDEN, uid, uid)
        if ticket.verdict is Verdict.ADMITTED and not (self._has_room_for(ticket) or self._close_idle_for(ticket)):
            ticket = ConnectionTicket(Verdict.TOO_MANY, ticket.counted_as, ticket.uid)
        if ticket.verdict is Verdict.ADMITTED:
            self._admitted[ticket.counted_as] += 1
            if holder is not None:
                self._holders[holder] = ticket
            return ticket
        self._refused += 1
        if self._refused > self.limits.refused:
            return ConnectionTicket(Verdict.DROPPED, ticket.counted_as, ticket.uid)
        return ticket

    def record_use(self, holder: Holder) -> None:
        """A connection has been used; others are idle for longer."""
        if (ticket := self._holders.pop(holder, None)) is not None:
            self._holders[holder] = ticket

    def release(self, ticket: ConnectionTicket, holder: Holder | None = None) -> None:
        """A connection has ended, or is about to."""
        if holder is not None:
            self._holders.pop(holder, None)
        if ticket.verdict is not Verdict.ADMITTED:
            self._refused -= 1
            return
        self._admitted[ticket.counted_as] -= 1
        if not self._admitted[ticket.counted_as]:
            del self._admitted[ticket.counted_as]

    def check(self, ticket: ConnectionTicket) -> None:
        """Admit a request, or raise the error for its client; looks nothing up."""
        if ticket.verdict is Verdict.ADMITTED:
            return
        if ticket.verdict is not Verdict.TOO_MANY:
            check_user(ticket.uid, self._users)
        here = self._admitted[ticket.counted_as]
        raise TooManyConnectionsError(
            f"this proxy has {self._admitted.total()} connections, {here} of them from here",
            "try again when other programs have finished",
        )

    def is_own(self, ticket: ConnectionTicket, connection: Connection) -> bool:
        """Whether the proxy's own user is at the other end; False when that is unknown.

        Where every user is admitted, nobody was looked up when the connection was accepted.
        """
        uid = ticket.uid
        if uid is None and is_supported(connection.family):
            uid = self._peers.uid_of(connection)
        return uid is not None and uid == self._users.own

    def _close_idle_for(self, ticket: ConnectionTicket) -> bool:
        """Close the connection that is idle for longest and whose place this one could take; whether there is one."""
        is_full = self._admitted.total() >= self.limits.total
        for holder, other in self._holders.items():
            if holder.is_idle and (is_full or other.counted_as == ticket.counted_as):
                self.release(other, holder)
                holder.close_idle()
                return self._has_room_for(ticket)
        return False

    def _has_room_for(self, ticket: ConnectionTicket) -> bool:
        if self._admitted.total() >= self.limits.total:
            return False
        return ticket.counted_as is None or self._admitted[ticket.counted_as] < self.limits.per_user


def _remote_host(connection: Connection) -> str | None:
    """The other machine; None for this one, where an address identifies nobody."""
    try:
        name = connection.getpeername()
    except OSError:
        return None
    host = str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""
    return None if not host or is_loopback_host(host) else host
