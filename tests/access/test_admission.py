"""Claims about admission: which verdict each connection gets, and that no other user crowds out the user."""

import asyncio
import contextlib
import socket

import pytest

from ppmproxy.access.admission import Admission, TooManyConnectionsError, Verdict
from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.access.limits import Limits
from ppmproxy.access.peer_credentials import PeerUids
from ppmproxy.access.policy import Users
from ppmproxy.errors import ForbiddenClientError

OWN, FORBIDDEN = 1000, 2000
LIMITS = Limits(per_user=3, total=5, refused=2)


class Peers(PeerUids):
    """Tells the uid that a connection was made with, and counts how often it is asked."""

    asked = 0

    def has_left(self, connection):
        return connection.has_left

    def uid_of(self, connection):
        self.asked += 1
        return connection.uid


class Connection:
    def __init__(self, uid=OWN, host="127.0.0.1", family=socket.AF_INET, has_left=False):
        self.uid, self.host, self.family, self.has_left = uid, host, family, has_left

    def getpeername(self):
        return (self.host, 40000) if self.host else ""


@pytest.fixture
def peers():
    return Peers()


def admission(peers, listed=frozenset(), limits=LIMITS):
    return Admission(Users(OWN, listed), peers, limits)


def entered(by, count, **connection):
    return [by.admit(Connection(**connection)).verdict for _ in range(count)]


def test_the_user_is_admitted_up_to_the_limit(peers):
    by = admission(peers)

    assert entered(by, 5) == [Verdict.ADMITTED] * 3 + [Verdict.TOO_MANY] * 2


@pytest.mark.parametrize("uid", [FORBIDDEN, None])
def test_a_refused_user_gets_a_response_up_to_a_limit_and_is_dropped_then(peers, uid):
    by = admission(peers)

    assert entered(by, 4, uid=uid) == [Verdict.FORBIDDEN] * 2 + [Verdict.DROPPED] * 2


def test_an_unknown_user_who_has_left_is_dropped_and_not_refused(peers):
    by = admission(peers)

    assert entered(by, 2, uid=None, has_left=True) == [Verdict.DROPPED] * 2
    assert entered(by, 1, uid=OWN, has_left=True) == [Verdict.ADMITTED]


def test_refused_connections_do_not_count_for_the_user(peers):
    by = admission(peers)
    entered(by, 100, uid=FORBIDDEN)

    assert entered(by, 3) == [Verdict.ADMITTED] * 3


def test_all_users_together_have_a_limit_too(peers):
    by = admission(peers, listed=frozenset({1, 2, 3}))

    verdicts = [*entered(by, 3, uid=1), *entered(by, 2, uid=2), *entered(by, 1, uid=3)]

    assert verdicts == [Verdict.ADMITTED] * 5 + [Verdict.TOO_MANY]


def test_a_released_connection_no_longer_counts(peers):
    by = admission(peers)
    tickets = [by.admit(Connection()) for _ in range(4)]
    assert tickets[3].verdict is Verdict.TOO_MANY

    for ticket in tickets:
        by.release(ticket)

    assert entered(by, 3) == [Verdict.ADMITTED] * 3
    assert entered(by, 2, uid=FORBIDDEN) == [Verdict.FORBIDDEN] * 2


def test_a_released_dropped_connection_no_longer_counts(peers):
    by = admission(peers)
    tickets = [by.admit(Connection(uid=FORBIDDEN)) for _ in range(10)]

    for ticket in tickets:
        by.release(ticket)

    assert entered(by, 1, uid=FORBIDDEN) == [Verdict.FORBIDDEN]


def test_each_verdict_has_its_error(peers):
    by = admission(peers)
    admitted = by.admit(Connection())
    refused = by.admit(Connection(uid=FORBIDDEN))
    by.release(refused)
    entered(by, 2)
    too_many = by.admit(Connection())

    by.check(admitted)
    with pytest.raises(ForbiddenClientError, match="user 2000 may not use it"):
        by.check(refused)
    with pytest.raises(TooManyConnectionsError, match="has 3 connections, 3 of them from this client's user"):
        by.check(too_many)


def test_a_check_looks_nothing_up(peers):
    by = admission(peers)
    ticket = by.admit(Connection())

    for _ in range(10):
        by.check(ticket)

    assert peers.asked == 1


def test_where_everybody_is_admitted_nothing_is_looked_up(peers):
    by = admission(peers, listed=None)

    assert entered(by, 5, uid=None) == [Verdict.ADMITTED] * 5
    assert entered(by, 1) == [Verdict.TOO_MANY]
    assert peers.asked == 0


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0"])
def test_another_machine_has_the_limit_of_a_user(peers, host):
    by = admission(peers, listed=None)

    assert entered(by, 4, host=host) == [Verdict.ADMITTED] * 3 + [Verdict.TOO_MANY]
    assert entered(by, 1, host="192.0.2.8") == [Verdict.ADMITTED]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""])
def test_connections_from_this_machine_have_no_limit_by_address(peers, host):
    by = admission(peers, listed=None)

    assert entered(by, 5, host=host) == [Verdict.ADMITTED] * 5


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")
def test_where_peers_cannot_be_looked_up_everybody_is_admitted(peers, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    by = admission(peers)

    assert entered(by, 1, uid=None) == [Verdict.ADMITTED]
    assert entered(by, 1, uid=FORBIDDEN, family=socket.AF_UNIX) == [Verdict.FORBIDDEN]


@pytest.mark.parametrize(("files", "total", "per_user"), [(4096, 1024, 512), (1024, 440, 440), (256, 104, 104)])
def test_there_are_no_more_connections_than_descriptors(files, total, per_user):
    limits = Limits().within(DescriptorShares.of(files))

    assert (limits.total, limits.per_user) == (total, per_user)


# --- no room ---


class Holder:
    """A connection; those that are closed have no ticket any more."""

    def __init__(self, by, idle=True):
        self.is_idle = idle
        self.is_closed = False
        self.ticket = by.admit(Connection(), self)

    def close_idle(self):
        self.is_closed = True


def test_where_there_is_no_room_the_connection_that_is_idle_for_longest_is_closed(peers):
    by = admission(peers)
    busy, first, second = Holder(by, idle=False), Holder(by), Holder(by)
    by.record_use(first)

    fourth = Holder(by)

    assert fourth.ticket.verdict is Verdict.ADMITTED
    assert [one.is_closed for one in (busy, first, second)] == [False, False, True]
    assert entered(by, 1) == [Verdict.ADMITTED]
    assert first.is_closed
    assert not busy.is_closed


def test_a_busy_connection_is_never_closed_for_another(peers):
    by = admission(peers)
    busy = [Holder(by, idle=False) for _ in range(3)]

    assert entered(by, 1) == [Verdict.TOO_MANY]
    assert not any(one.is_closed for one in busy)


def test_a_user_without_room_takes_no_place_of_another_user(peers):
    by = admission(peers, listed=frozenset({1}))
    idle = Holder(by)

    assert entered(by, 4, uid=1) == [Verdict.ADMITTED] * 3 + [Verdict.TOO_MANY]
    assert not idle.is_closed


def test_an_idle_connection_that_ended_by_itself_is_released_once(peers):
    by = admission(peers)
    holders = [Holder(by) for _ in range(3)]
    by.release(holders[0].ticket, holders[0])

    assert entered(by, 1) == [Verdict.ADMITTED]
    assert not any(one.is_closed for one in holders)


# --- waiting for a place ---


class Gate:
    is_open = True

    def pause(self):
        self.is_open = False

    def resume(self):
        self.is_open = True


@pytest.fixture
def gated(peers):
    """Makes an admission with a gate, and closes it in the end."""
    with contextlib.ExitStack() as stack:

        def make(listed=frozenset(), limits=LIMITS):
            by = admission(peers, listed, limits)
            by.gate = Gate()
            stack.callback(by.close)
            return by

        yield make


async def test_a_request_without_a_place_waits_for_the_next_one_that_is_free_in_its_order(peers):
    by = admission(peers)
    admitted = [by.admit(Connection()) for _ in range(3)]
    first, second = (by.admit(Connection()) for _ in range(2))
    waiting = [asyncio.create_task(by.wait_for_place(ticket)) for ticket in (first, second)]
    await asyncio.sleep(0)

    by.release(admitted[0])
    await waiting[0]

    assert (first.verdict, second.verdict) == (Verdict.ADMITTED, Verdict.TOO_MANY)
    by.release(first)
    await waiting[1]
    assert second.verdict is Verdict.ADMITTED


async def test_a_request_without_a_place_takes_that_of_a_connection_that_becomes_idle(peers):
    by = admission(peers)
    holders = [Holder(by, idle=False) for _ in range(3)]
    ticket = by.admit(Connection())
    waiting = asyncio.create_task(by.wait_for_place(ticket))
    await asyncio.sleep(0)

    holders[1].is_idle = True
    await waiting

    assert ticket.verdict is Verdict.ADMITTED
    assert [holder.is_closed for holder in holders] == [False, True, False]


@pytest.mark.parametrize("seconds_without_a_free_place", [0.0, 60.0])
async def test_who_waits_in_vain_is_told_and_at_once_where_places_have_been_short_for_long(
    peers, seconds_without_a_free_place
):
    now = 1000.0
    limits = Limits(per_user=1, total=1, refused=2, place=60.0 if seconds_without_a_free_place else 0.2)
    by = Admission(Users(OWN, frozenset()), peers, limits, lambda: now)
    by.admit(Connection())
    now += seconds_without_a_free_place
    ticket = by.admit(Connection())
    started = asyncio.get_running_loop().time()

    await by.wait_for_place(ticket)

    waited = asyncio.get_running_loop().time() - started
    assert (waited >= limits.place / 2) is (seconds_without_a_free_place == 0)
    with pytest.raises(TooManyConnectionsError):
        by.check(ticket)


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(peers):
    by = admission(peers)
    admitted = [by.admit(Connection()) for _ in range(3)]
    left, stays = (by.admit(Connection()) for _ in range(2))
    waiting = [asyncio.create_task(by.wait_for_place(ticket)) for ticket in (left, stays)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    await asyncio.sleep(0)
    by.release(left)
    by.release(admitted[0])
    await waiting[1]

    assert stays.verdict is Verdict.ADMITTED
    assert not by.is_short


async def test_when_as_many_wait_as_may_the_others_stay_in_the_queue_and_none_is_dropped(gated):
    by = gated()

    tickets = [by.admit(Connection()) for _ in range(8)]  # as when several are accepted in one round

    assert not by.gate.is_open
    assert [ticket.verdict for ticket in tickets] == [Verdict.ADMITTED] * 3 + [Verdict.TOO_MANY] * 5
    for ticket in tickets[3:7]:
        by.release(ticket)
    assert by.gate.is_open


@pytest.mark.parametrize(("users", "is_open"), [((1,), True), ((1, 2), False)])
async def test_a_user_without_room_keeps_others_waiting_only_where_they_had_no_room_either(gated, users, is_open):
    by = gated(frozenset(users), Limits(per_user=3, total=6, refused=2))

    for uid in users:
        entered(by, 3, uid=uid)
    verdicts = entered(by, 4, uid=1)

    assert by.gate.is_open is is_open
    assert verdicts == [Verdict.TOO_MANY] * 2 + [Verdict.DROPPED if is_open else Verdict.TOO_MANY] * 2


async def test_refused_users_keep_nobody_waiting(gated):
    by = gated()

    entered(by, 10, uid=FORBIDDEN)

    assert by.gate.is_open
    assert entered(by, 1) == [Verdict.ADMITTED]


async def test_a_silent_connection_without_a_place_is_closed_so_that_others_are_accepted(gated):
    by = gated()
    busy = [Holder(by, idle=False) for _ in range(3)]
    silent = [Holder(by) for _ in range(2)]
    assert not by.gate.is_open

    async def opened():
        while not by.gate.is_open:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(opened(), 60)

    assert [holder.is_closed for holder in (*busy, *silent)] == [False] * 3 + [True] * 2
