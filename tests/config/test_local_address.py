"""Claims about addresses: how they are written, which are loopback, and where a client of this machine connects to."""

from pathlib import Path

import pytest

from ppmproxy.config.local_address import (
    LOOPBACK_HOSTS,
    TcpAddress,
    UnixAddress,
    address_of_socket,
    address_of_url,
    is_loopback_host,
)


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (TcpAddress("127.0.0.1", 7760), "127.0.0.1:7760"),
        (TcpAddress("::1", 7760), "[::1]:7760"),
        (TcpAddress("localhost", 0), "localhost:0"),
        (UnixAddress(Path("/run/user/1000/ppmproxy.sock")), "unix:/run/user/1000/ppmproxy.sock"),
    ],
)
def test_an_address_prints_as_the_settings_write_it(address, written):
    assert str(address) == written


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.200.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.1", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_can_reach(host, expected):
    assert is_loopback_host(host) is expected
    assert TcpAddress(host, 7760).is_loopback is expected


def test_a_unix_socket_is_local():
    assert UnixAddress(Path("/run/x.sock")).is_loopback


def test_every_loopback_name_is_loopback():
    assert all(map(is_loopback_host, LOOPBACK_HOSTS))


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        (TcpAddress("0.0.0.0", 1), TcpAddress("127.0.0.1", 1)),
        (TcpAddress("::", 1), TcpAddress("::1", 1)),
        (TcpAddress("localhost", 1), TcpAddress("localhost", 1)),
        (TcpAddress("10.0.0.5", 1), TcpAddress("10.0.0.5", 1)),
    ],
)
def test_a_client_connects_to_loopback_where_the_daemon_listens_everywhere(listen, connect):
    assert listen.for_clients == connect


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("127.0.0.1", 7760), TcpAddress("127.0.0.1", 7760)),
        (("::1", 7760, 0, 0), TcpAddress("::1", 7760)),
        ("/run/x.sock", UnixAddress(Path("/run/x.sock"))),
        (b"\0ppmproxy", UnixAddress(Path("@ppmproxy"))),
    ],
)
def test_the_name_of_a_socket_is_an_address_and_its_url_leads_back_to_it(name, address):
    assert address_of_socket(name) == address
    assert address_of_url(address.url) == address


@pytest.mark.parametrize("url", ["http://host:port", "http://[::1:7760"])
def test_what_is_no_url_is_a_value_error(url):
    with pytest.raises(ValueError, match=r".+"):
        address_of_url(url)
