"""A certificate authority for one run, which can vouch for the upstreams' hosts and for nothing else.

The key is made in memory and never leaves the process. The authority's certificate has critical name constraints
(RFC 5280 section 4.2.1.10): a client that trusts it believes nothing of it about any other host. A constraint on a DNS
name covers the names below it, too.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Collection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=30)  # `exec -- jupyter lab` may run for long
CLOCK_SKEW = dt.timedelta(hours=1)  # clients in a container or a virtual machine may be behind

_COMMON_NAME = "ppmproxy exec --intercept"
_ALL_ADDRESSES = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


class RunAuthority:
    """Issues certificates for the given hosts; the certificates and keys end with the process."""

    def __init__(self, hosts: Collection[str], now: dt.datetime | None = None) -> None:
        """`hosts` are DNS names or IP addresses, in lower case and without brackets."""
        self._hosts = frozenset(hosts)
        self._now = now or dt.datetime.now(dt.timezone.utc)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign_itself()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def __repr__(self) -> str:
        return f"RunAuthority({sorted(self._hosts)})"

    @property
    def pem(self) -> str:
        """The authority's certificate, for a bundle of trusted certificates."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context_for(self, host: str) -> ssl.SSLContext:
        """A server's TLS context for one of the hosts; `KeyError` for any other.

        HTTP/1.1 alone is spoken inside, so no protocol is negotiated (ALPN). A client that names another server (SNI,
        RFC 6066 section 3) than it asked to be connected to is turned away.
        """
        if host not in self._hosts:
            raise KeyError(host)
        if host not in self._contexts:
            self._contexts[host] = self._server_context(host)
        return self._contexts[host]

    def _server_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0  # clients open their connections all at once, and resume none of them
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._leaf(host, key).public_bytes(serialization.Encoding.PEM) + self.pem.encode()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _load_chain(context, secret + chain)

        def check_name(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            is_right = name is None or name.lower().rstrip(".") == host
            return None if is_right else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = check_name
        return context

    def _sign_itself(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            self._builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(name_constraints(self._hosts), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(self, host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        # No host in the subject: OpenSSL holds a common name that looks like one against the constraints on DNS names.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_COMMON_NAME}, server")])
        address = _address(host)
        name: x509.GeneralName = x509.DNSName(host) if address is None else x509.IPAddress(address)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(subject, self._certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - CLOCK_SKEW)
            .not_valid_after(self._now + LIFETIME)
        )


def name_constraints(hosts: Collection[str]) -> x509.NameConstraints:
    """Exactly these hosts and what lies below their names: of a kind that has none, everything is excluded."""
    addresses = {host: address for host in hosts if (address := _address(host)) is not None}
    names = sorted(set(hosts) - set(addresses))
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    permitted += [x509.IPAddress(ipaddress.ip_network(addresses[host])) for host in sorted(addresses)]
    excluded: list[x509.GeneralName] = [] if names else [x509.DNSName("")]
    excluded += [] if addresses else [x509.IPAddress(network) for network in _ALL_ADDRESSES]
    return x509.NameConstraints(permitted, excluded or None)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Python takes a key from a file only: one in a private folder, which is there for a moment."""
    with tempfile.TemporaryDirectory(prefix="ppmproxy-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)
