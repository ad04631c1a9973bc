"""Claims about `listeners`: both families or none, one port, and nothing left open when it fails."""

import asyncio
import contextlib
import errno
import socket

import pytest
import structlog
from free_ports import free_port

from ppmproxy.access.listeners import AcceptErrorHandler, Acceptor, open_listeners, url_of
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.errors import CannotListenError

V4, V6 = "127.0.0.1", "::1"


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind((V6, 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def opened():
    """Opens listeners, and closes them at the end."""
    everything = []

    def open_them(*addresses):
        listeners = open_listeners([TcpAddress(host, port) for host, port in addresses])
        everything.extend(listeners)
        return listeners

    yield open_them
    for listener in everything:
        listener.close()


@contextlib.contextmanager
def taken(host, port=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has ended is in nobody's way
        other.bind((host, port))
        other.listen()
        yield other.getsockname()[1]


def ports_of(listeners):
    return [listener.getsockname()[1] for listener in listeners]


@needs_ipv6
def test_both_families_get_the_same_free_port(opened):
    listeners = opened((V4, 0), (V6, 0))

    assert [listener.family for listener in listeners] == [socket.AF_INET, socket.AF_INET6]
    assert len(set(ports_of(listeners))) == 1


@needs_ipv6
@pytest.mark.parametrize(("host", "url"), [(V4, "http://127.0.0.1:{}"), (V6, "http://[::1]:{}")])
def test_the_url_is_written_as_clients_write_it(opened, host, url):
    [listener] = opened((host, 0))

    assert url_of(listener) == url.format(ports_of([listener])[0])


@needs_ipv6
@pytest.mark.parametrize("family", [V4, V6])
def test_a_port_taken_on_one_family_is_taken(opened, family):
    other, port = V6 if family == V4 else V4, free_port()
    opened((family, port))

    with pytest.raises(CannotListenError) as caught:
        opened((V4, port), (V6, port))

    with taken(other, port):
        pass  # nothing of ours was left open there
    shown = f"[{family}]:{port}" if family == V6 else f"{family}:{port}"
    assert str(caught.value).startswith(f"{shown} is taken by ")
    assert caught.value.exit_code == 4


@needs_ipv6
def test_the_wildcard_of_one_family_does_not_take_the_other(opened):
    port = free_port()
    opened((V6, port))

    with taken(V4, port):
        pass


def test_a_port_in_use_is_not_shared(opened):
    [listener] = opened((V4, 0))

    with pytest.raises(CannotListenError):
        opened((V4, ports_of([listener])[0]))


def test_a_port_whose_connections_have_just_ended_is_free(opened):
    port = free_port()
    [listener] = opened((V4, port))
    listener.setblocking(True)
    with socket.create_connection((V4, port)):
        there, _ = listener.accept()
        there.close()  # our side ends first, and is left in TIME_WAIT
    listener.close()

    assert ports_of(opened((V4, port))) == [port]


@pytest.mark.parametrize("port", [0, 7760])
@pytest.mark.parametrize("second", [V6, "127.0.0.1"])
@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid"])
def test_an_address_that_is_not_here_is_an_error_of_ours(opened, host, second, port):
    with pytest.raises(CannotListenError) as caught:
        opened((host, port), (second, port))

    assert caught.value.exit_code == 4
    assert host in str(caught.value)


def test_localhost_is_an_address(opened):
    [listener] = opened(("localhost", 0))

    assert url_of(listener).startswith(("http://127.0.0.1:", "http://[::1]:"))


def test_nothing_to_listen_on_is_an_error_of_ours():
    with pytest.raises(CannotListenError, match="this machine has none of the addresses"):
        open_listeners([])


# --- when nobody more can be let in ---


async def test_a_process_with_no_file_left_says_so_in_one_line_and_what_to_do(logs):
    loop = asyncio.get_running_loop()
    shortage = AcceptErrorHandler(structlog.get_logger("ppmproxy"))

    for _ in range(3):
        no_file_left = OSError(errno.EMFILE, "Too many open files")
        shortage(loop, {"message": "socket.accept() out of system resource", "exception": no_file_left, "socket": 1})

    (line,) = logs.events("accept_failed")
    assert line["level"] == "error"
    assert line["why"] == "too many open files"
    assert "ulimit -n" in line["hint"]
    assert "exception" not in line


@pytest.mark.parametrize("number", [errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_a_machine_that_is_short_of_something_is_not_told_to_raise_the_limit_of_a_process(logs, number):
    shortage = AcceptErrorHandler(structlog.get_logger("ppmproxy"))
    shortage(asyncio.get_running_loop(), {"message": "out", "exception": OSError(number, "none left"), "socket": 1})

    (line,) = logs.events("accept_failed")
    assert "ulimit" not in line["hint"]
    assert "the whole machine" in line["hint"]


async def test_every_other_error_of_the_loop_is_logged_as_before(logs):
    AcceptErrorHandler(structlog.get_logger("ppmproxy"))(asyncio.get_running_loop(), {"message": "something else"})

    assert "something else" in logs.text


# --- pauses ---


@pytest.fixture
async def accepting():
    """An acceptor that takes a round's worth of four, its listener, and the connections that it has accepted."""
    listener = socket.create_server((V4, 0), backlog=64)
    listener.setblocking(False)
    accepted = []

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.append(transport)

    acceptor = Acceptor([listener], Connection, at_once=4)
    await acceptor.open()
    yield acceptor, listener, accepted
    acceptor.close()
    for transport in accepted:
        transport.abort()


async def until(true):
    async def poll():
        while not true():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 60)


async def test_connections_of_a_pause_are_accepted_after_it(accepting):
    acceptor, listener, accepted = accepting
    acceptor.pause()

    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        for _ in range(20):
            await asyncio.sleep(0)
        during = len(accepted)
        acceptor.resume()
        await until(lambda: len(accepted) == 20)

    assert during == 0


async def test_no_connection_is_lost_when_pauses_begin_and_end_at_any_time(accepting):
    acceptor, listener, accepted = accepting

    with contextlib.ExitStack() as stack:
        for number in range(60):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            (acceptor.pause if number % 3 else acceptor.resume)()
            for _ in range(number % 5):
                await asyncio.sleep(0)
        acceptor.resume()
        await until(lambda: len(accepted) == 60)

        assert not any(transport.is_closing() for transport in accepted)


async def test_a_listener_is_closed_with_its_acceptor(accepting):
    acceptor, listener, _ = accepting
    address = listener.getsockname()

    acceptor.close()
    await asyncio.sleep(0)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address).close()
