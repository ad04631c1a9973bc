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

from ppmproxy.server.intercept.certificate import (
    BIT_STRING,
    OCTET_STRING,
    SEQUENCE,
    TRUE,
    Certificate,
    SigningKey,
    encoded,
    extension,
    integer,
    object_id,
    tagged,
)

LIFETIME = dt.timedelta(days=30)  # `exec -- jupyter lab` may run for long
CLOCK_SKEW = dt.timedelta(hours=1)  # clients in a container or a virtual machine may be behind

_COMMON_NAME = "ppmproxy exec --intercept"
_ALL_ADDRESSES = (bytes(8), bytes(32))  # of IPv4 and IPv6: an address and a mask of zeros

# Extensions (RFC 5280 section 4.2.1), and the tags of the names in them.
_KEY_IDENTIFIER, _AUTHORITY_KEY_IDENTIFIER = "2.5.29.14", "2.5.29.35"
_KEY_USAGE, _EXTENDED_KEY_USAGE, _SERVER_AUTH = "2.5.29.15", "2.5.29.37", "1.3.6.1.5.5.7.3.1"
_BASIC_CONSTRAINTS, _NAME_CONSTRAINTS, _ALTERNATIVE_NAME = "2.5.29.19", "2.5.29.30", "2.5.29.17"
_DNS_NAME, _IP_ADDRESS, _KEY_ID = 0x82, 0x87, 0x80
_MAY_SIGN_CERTIFICATES = b"\x02\x04"  # the bit keyCertSign, and two that are not used


class RunAuthority:
    """Issues certificates for the given hosts; the certificates and keys end with the process."""

    def __init__(self, hosts: Collection[str], now: dt.datetime | None = None) -> None:
        """`hosts` are DNS names or IP addresses, in lower case and without brackets."""
        self._hosts = frozenset(hosts)
        self._now = now or dt.datetime.now(dt.timezone.utc)
        self._key = SigningKey()
        self._pem = self._sign_itself()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def __repr__(self) -> str:
        return f"RunAuthority({sorted(self._hosts)})"

    @property
    def pem(self) -> str:
        """The authority's certificate, for a bundle of trusted certificates."""
        return self._pem

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
        key = SigningKey()
        _load_chain(context, key.pem + self._leaf(host, key) + self.pem)

        def check_name(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            is_right = name is None or name.lower().rstrip(".") == host
            return None if is_right else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = check_name
        return context

    def _sign_itself(self) -> str:
        extensions = (
            extension(_BASIC_CONSTRAINTS, encoded(SEQUENCE, TRUE, integer(0)), is_critical=True),
            extension(_KEY_USAGE, encoded(BIT_STRING, _MAY_SIGN_CERTIFICATES), is_critical=True),
            extension(_KEY_IDENTIFIER, encoded(OCTET_STRING, self._key.identifier)),
            extension(_NAME_CONSTRAINTS, name_constraints(self._hosts), is_critical=True),
        )
        return self._certificate(_COMMON_NAME, self._key, extensions)

    def _leaf(self, host: str, key: SigningKey) -> str:
        address = _address(host)
        name = encoded(_DNS_NAME, host.encode("ascii")) if address is None else encoded(_IP_ADDRESS, address.packed)
        extensions = (
            extension(_BASIC_CONSTRAINTS, encoded(SEQUENCE), is_critical=True),
            extension(_ALTERNATIVE_NAME, encoded(SEQUENCE, name)),
            extension(_EXTENDED_KEY_USAGE, encoded(SEQUENCE, object_id(_SERVER_AUTH))),
            extension(_AUTHORITY_KEY_IDENTIFIER, encoded(SEQUENCE, encoded(_KEY_ID, self._key.identifier))),
        )
        # No host in the subject: OpenSSL holds a common name that looks like one against the constraints on DNS names.
        return self._certificate(f"{_COMMON_NAME}, server", key, extensions)

    def _certificate(self, subject: str, key: SigningKey, extensions: tuple[bytes, ...]) -> str:
        since, until = self._now - CLOCK_SKEW, self._now + LIFETIME
        return Certificate(_COMMON_NAME, subject, key.public, since, until, extensions).signed_by(self._key)


def name_constraints(hosts: Collection[str]) -> bytes:
    """Exactly these hosts and what lies below their names: of a kind that has none, everything is excluded."""
    addresses = {host: address for host in hosts if (address := _address(host)) is not None}
    names = sorted(set(hosts) - set(addresses))
    permitted = [encoded(_DNS_NAME, name.encode("ascii")) for name in names]
    permitted += [_one_address(addresses[host]) for host in sorted(addresses)]
    excluded = [] if names else [encoded(_DNS_NAME)]
    excluded += [] if addresses else [encoded(_IP_ADDRESS, network) for network in _ALL_ADDRESSES]
    subtrees = [tagged(0, *(encoded(SEQUENCE, name) for name in permitted))]
    subtrees += [tagged(1, *(encoded(SEQUENCE, name) for name in excluded))] if excluded else []
    return encoded(SEQUENCE, *subtrees)


def _one_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return encoded(_IP_ADDRESS, address.packed, b"\xff" * len(address.packed))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _load_chain(context: ssl.SSLContext, pem: str) -> None:
    """Python takes a key from a file only: one in a private folder, which is there for a moment."""
    with tempfile.TemporaryDirectory(prefix="ppmproxy-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_text(pem, encoding="ascii")
        context.load_cert_chain(path)
