"""Admission control for client connections: which user may connect, and how many connections there may be.

The user at the other end is looked up once, when a connection is accepted. A user who may not use the proxy still gets
a response that says so, over one of a few connections reserved for that, so that no other user can crowd out this one.
Which users may use the proxy is decided in `policy`.

At the limit, a connection takes the place of one that is idle. Where none is idle, its first request waits for a place
for some seconds, and gets a response that says so after that. When as many connections wait as may, the listeners are
paused: new connections wait in the system's queue, where they cost no descriptor, and none is closed without a word.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ppmproxy.access.limits import Limits
from ppmproxy.access.peer_credentials import Connection, PeerUids, is_supported
from ppmproxy.access.policy import Users, check_user, may_use
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import RefusedError


class TooManyConnectionsError(RefusedError):
    """The limit of connections is reached. It passes: pip and uv retry for some seconds after a 503."""

    code = "too-many-connections"
    status = 503
    title = "too many connections"


class Verdict(enum.Enum):
    """The decision on a connection."""

    ADMITTED = enum.auto()
    FORBIDDEN = enum.auto()  # with a response that says so
    TOO_MANY = enum.auto()  # waits for a place with its first request, then with a response that says so
    DROPPED = enum.auto()  # closed: too many get such a response already, or the client has left


@dataclass(slots=True, eq=False)
class ConnectionTicket:
    """The decision on one connection, made when it was accepted; `TOO_MANY` may become `ADMITTED`."""

    verdict: Verdict
    counted_as: object  # the uid; the address where every user is admitted
    uid: int | None = None


class Holder(Protocol):
    """What holds a ticket: a connection that can be closed while it is idle."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, nor the beginning of one, nor is the first one to be expected yet."""

    def close_idle(self) -> None:
        """Close it; its ticket is released already."""


class Gate(Protocol):
    """What accepts connections."""

    def pause(self) -> None:
        """Leave new connections in the system's queue; without effect when they are left there already."""

    def resume(self) -> None:
        """Accept them again."""


TICK = 0.25  # seconds between two searches for idle connections while others wait


class Admission:
    """Decides on connections and counts them. At the limit, idle ones are closed first."""

    def __init__(
        self, users: Users, peers: PeerUids, limits: Limits, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self.gate: Gate | None = None  # set by who listens
        self._users = users
        self._peers = peers
        self._now = now
        self._admitted: Counter[object] = Counter()
        self._refused = 0
        self._without_place = 0  # `TOO_MANY`
        self._place_given_at = float("-inf")
        self._holders: dict[Holder, ConnectionTicket] = {}  # the one that was used last at the end
        self._turns: dict[ConnectionTicket, asyncio.Future[None]] = {}  # of requests that wait, in their order
        self._tick: asyncio.TimerHandle | None = None

    @property
    def is_short(self) -> bool:
        """Whether others wait for a place, so that none is to be kept for a next request."""
        return bool(self._turns) or self._without_place >= self.limits.refused

    @property
    def connections(self) -> int:
        """How many connections are admitted and open."""
        return self._admitted.total()

    def admit(self, connection: Connection, holder: Holder | None = None) -> ConnectionTicket:
        """Decide on a connection that was just accepted; each ticket needs its `release`."""
        ticket = self._decision_on(connection)
        if ticket.verdict is Verdict.ADMITTED and not self._take_place(ticket):
            ticket.verdict = self._verdict_without_place()
        if ticket.verdict is Verdict.FORBIDDEN and self._refused >= self.limits.refused:
            ticket.verdict = Verdict.DROPPED
        if ticket.verdict in {Verdict.FORBIDDEN, Verdict.DROPPED}:
            self._refused += 1
        elif holder is not None:
            self._holders[holder] = ticket
        return ticket

    def _verdict_without_place(self) -> Verdict:
        if self._without_place >= self.limits.refused and not self._may_pause():
            return Verdict.DROPPED
        self._without_place += 1
        self._open_or_close_gate()
        return Verdict.TOO_MANY

    def _decision_on(self, connection: Connection) -> ConnectionTicket:
        if self._users.listed is None or not is_supported(connection.family):
            return ConnectionTicket(Verdict.ADMITTED, _remote_host(connection))
        uid = self._peers.uid_of(connection)
        if uid is None and self._peers.has_left(connection):  # of no user that could be refused
            return ConnectionTicket(Verdict.DROPPED, None)
        return ConnectionTicket(Verdict.ADMITTED if may_use(uid, self._users) else Verdict.FORBIDDEN, uid, uid)

    async def wait_for_place(self, ticket: ConnectionTicket) -> None:
        """Give a request of a connection without a place as long as one may become free soon."""
        if ticket.verdict is not Verdict.TOO_MANY:
            return
        loop = asyncio.get_running_loop()
        turn = self._turns[ticket] = loop.create_future()
        patience = min(self.limits.place, max(0.0, self._place_given_at + self.limits.place - self._now()))
        timer = loop.call_later(patience, _end, turn)
        self._give_places()
        self._start_ticking()
        try:
            await turn
        finally:
            timer.cancel()
            self._turns.pop(ticket, None)

    def record_use(self, holder: Holder) -> None:
        """A connection has been used; others are idle for longer."""
        if (ticket := self._holders.pop(holder, None)) is not None:
            self._holders[holder] = ticket

    def release(self, ticket: ConnectionTicket, holder: Holder | None = None) -> None:
        """A connection has ended, or is about to."""
        if holder is not None:
            self._holders.pop(holder, None)
        if ticket.verdict is Verdict.ADMITTED:
            self._leave_place(ticket)
            self._give_places()
        elif ticket.verdict is Verdict.TOO_MANY:
            self._without_place -= 1
            self._open_or_close_gate()
        else:
            self._refused -= 1

    def check(self, ticket: ConnectionTicket) -> None:
        """Admit a request, or raise the error for its client; looks nothing up."""
        if ticket.verdict is Verdict.ADMITTED:
            return
        if ticket.verdict is not Verdict.TOO_MANY:
            check_user(ticket.uid, self._users)
        here = self._admitted[ticket.counted_as]
        raise TooManyConnectionsError(
            f"ppmproxy has {self._admitted.total()} connections, {here} of them from this client's user",
            "try again when other installs have finished",
        )

    def is_own(self, ticket: ConnectionTicket, connection: Connection) -> bool:
        """Whether the proxy's own user is at the other end; False when that is unknown.

        Where every user is admitted, nobody was looked up when the connection was accepted.
        """
        uid = ticket.uid
        if uid is None and is_supported(connection.family):
            uid = self._peers.uid_of(connection)
        return uid is not None and uid == self._users.own

    # --- places ---

    def _take_place(self, ticket: ConnectionTicket) -> bool:
        """Count a connection as admitted, if there is room or one that is idle; whether it is."""
        if not (self._has_room_for(ticket) or self._close_idle_for(ticket)):
            return False
        self._admitted[ticket.counted_as] += 1
        self._place_given_at = self._now()
        return True

    def _leave_place(self, ticket: ConnectionTicket) -> None:
        self._admitted[ticket.counted_as] -= 1
        if not self._admitted[ticket.counted_as]:
            del self._admitted[ticket.counted_as]

    def _give_places(self) -> None:
        """Admit the connections whose requests wait, as far as there are places."""
        for ticket, turn in list(self._turns.items()):
            if not turn.done() and self._take_place(ticket):
                ticket.verdict = Verdict.ADMITTED
                self._without_place -= 1
                turn.set_result(None)
        self._open_or_close_gate()

    def _close_idle_for(self, ticket: ConnectionTicket) -> bool:
        """Close the connection that is idle for longest and whose place this one could take; whether there is one."""
        is_full = self._admitted.total() >= self.limits.total
        for holder, other in self._holders.items():
            is_apt = other.verdict is Verdict.ADMITTED and (is_full or other.counted_as == ticket.counted_as)
            if is_apt and holder.is_idle:
                del self._holders[holder]
                self._leave_place(other)
                holder.close_idle()
                return self._has_room_for(ticket)
        return False

    def _has_room_for(self, ticket: ConnectionTicket) -> bool:
        if self._admitted.total() >= self.limits.total:
            return False
        return ticket.counted_as is None or self._admitted[ticket.counted_as] < self.limits.per_user

    # --- the listeners ---

    def _may_pause(self) -> bool:
        """Whether nobody else is kept waiting when connections stay in the queue, or is so in any case."""
        is_for_one_user = self._users.listed == frozenset()
        return self.gate is not None and (is_for_one_user or self._admitted.total() >= self.limits.total)

    def _open_or_close_gate(self) -> None:
        if self.gate is None:
            return
        if self._without_place >= self.limits.refused and self._may_pause():
            self.gate.pause()
            self._start_ticking()
        else:
            self.gate.resume()

    def _start_ticking(self) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK, self._look_for_idle_ones)

    def _look_for_idle_ones(self) -> None:
        """Nothing reports that a connection has become idle; and silent ones are not to keep others from waiting."""
        self._tick = None
        for holder, ticket in list(self._holders.items()):
            if ticket.verdict is Verdict.TOO_MANY and holder.is_idle:
                self.release(ticket, holder)
                holder.close_idle()
        self._give_places()
        if self.is_short:
            self._start_ticking()

    def close(self) -> None:
        """Look for idle connections no longer."""
        self.gate = None
        if self._tick is not None:
            self._tick.cancel()


def _end(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _remote_host(connection: Connection) -> str | None:
    """The other machine; None for this one, where an address identifies nobody."""
    try:
        name = connection.getpeername()
    except OSError:
        return None
    host = str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""
    return None if not host or is_loopback_host(host) else host
