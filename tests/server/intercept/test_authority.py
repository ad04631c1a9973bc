"""Claims about the certificate authority of one run: it vouches for the given hosts, and clients check that."""

import datetime as dt
import socket
import ssl
import threading

import pytest
from cryptography import x509

from ppmproxy.server.intercept.authority import LIFETIME, RunAuthority


def handshake(context, trusted, name):
    """The client's end of a TLS handshake over a socket pair; `ssl.SSLError` when it fails."""
    ours, theirs = socket.socketpair()

    def serve():
        try:
            context.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cadata=trusted)
        with client.wrap_socket(ours, server_hostname=name) as secured:
            return secured.getpeercert(), secured.selected_alpn_protocol()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("host", ["packagemanager.example.com", "127.0.0.1", "::1", "pm-1.internal"])
def test_a_client_that_trusts_it_believes_it_for_a_host_of_the_run(host):
    authority = RunAuthority([host])

    certificate, protocol = handshake(authority.context_for(host), authority.pem, host)

    assert certificate["subjectAltName"]
    assert protocol is None  # HTTP/1.1 without negotiation


def test_it_issues_nothing_for_another_host():
    with pytest.raises(KeyError):
        RunAuthority(["packagemanager.example.com"]).context_for("example.com")


@pytest.mark.parametrize(
    ("permitted", "other"),
    [
        ("packagemanager.example.com", "pypi.example.org"),
        ("packagemanager.example.com", "10.1.2.3"),
        ("10.1.2.3", "pypi.example.org"),
        ("10.1.2.3", "10.1.2.4"),
    ],
)
def test_a_client_rejects_its_certificates_for_other_hosts(permitted, other, monkeypatch):
    authority = RunAuthority([permitted])
    monkeypatch.setattr(authority, "_hosts", frozenset({other}))  # as if the key had been taken

    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        handshake(authority.context_for(other), authority.pem, other)


def test_a_client_that_names_another_server_is_turned_away():
    authority = RunAuthority(["packagemanager.example.com"])

    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name|alert"):
        handshake(authority.context_for("packagemanager.example.com"), authority.pem, "pypi.example.org")


def test_its_constraints_are_critical_and_it_may_sign_no_other_authority():
    certificate = x509.load_pem_x509_certificate(RunAuthority(["packagemanager.example.com"]).pem.encode())

    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)


def test_it_is_valid_for_thirty_days():
    now = dt.datetime(2026, 11, 26, tzinfo=dt.timezone.utc)

    certificate = x509.load_pem_x509_certificate(RunAuthority(["pm.example.com"], now).pem.encode())

    assert certificate.not_valid_after_utc == now + LIFETIME
    assert dt.timedelta(days=30) == LIFETIME


@pytest.mark.parametrize(
    ("hosts", "permitted", "excluded"),
    [
        (["b.example", "a.example"], ["a.example", "b.example"], ["0.0.0.0/0", "::/0"]),
        (["10.1.2.3"], ["10.1.2.3/32"], [""]),
        (["a.example", "::1"], ["a.example", "::1/128"], []),
    ],
)
def test_every_kind_of_name_is_constrained(hosts, permitted, excluded):
    certificate = x509.load_pem_x509_certificate(RunAuthority(hosts).pem.encode())

    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    assert [str(name.value) for name in constraints.permitted_subtrees] == permitted
    assert [str(name.value) for name in constraints.excluded_subtrees or ()] == excluded


def test_neither_key_nor_host_is_in_its_representation_beyond_the_names():
    authority = RunAuthority(["pm.example.com"])

    assert repr(authority) == "RunAuthority(['pm.example.com'])"
