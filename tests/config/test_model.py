from pathlib import Path

import pytest

from ppmproxy.config.model import (
    PUBLIC_URL,
    CredentialSpec,
    Settings,
    TcpAddress,
    UnixAddress,
    Upstream,
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


def test_without_any_configuration_the_upstream_is_the_public_one_and_not_configured():
    (upstream,) = Settings().upstreams

    assert (upstream.url, upstream.mount, upstream.configured) == (PUBLIC_URL, "/", False)


def test_no_repr_shows_what_may_be_a_secret():
    upstream = Upstream(
        headers=(("X-Key", "s3cret"),),
        proxy="http://user:s3cret@proxy:3128",
        credentials=(CredentialSpec("command", argv=("vault", "s3cret")),),
    )

    assert "s3cret" not in repr(Settings(upstreams=(upstream,)))


def test_the_origin_of_an_upstream_leaves_its_path_out():
    assert str(Upstream(url="https://pm.example.com:8443/rspm").origin) == "https://pm.example.com:8443"
