"""Addresses of the daemon: as it listens, and as clients on this machine write them."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")  # as people and clients write them
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # every address of a family, and the one a local client connects to


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, without brackets and in lower case, and a port; port 0 is any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: 127.0.0.0/8, ``::1`` (RFC 6890) or ``localhost`` (RFC 6761)."""
        return is_loopback_host(self.host)

    @property
    def for_clients(self) -> TcpAddress:
        """Where a client on this machine connects to."""
        return replace(self, host=WILDCARDS.get(self.host, self.host))

    @property
    def url(self) -> str:
        """As a client writes it; without a slash at the end."""
        return f"http://{self}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket, by its absolute path."""

    path: Path

    @property
    def is_loopback(self) -> bool:
        """True: no other machine can reach a Unix socket."""
        return True

    @property
    def url(self) -> str:
        """As the settings write it: clients of packages have no URL for it."""
        return str(self)

    def __str__(self) -> str:
        return f"unix:{self.path}"


ListenAddress = TcpAddress | UnixAddress


class AutoListen(tuple[ListenAddress, ...]):
    """The addresses of ``listen = "auto"``: both loopback families, at a port that `access.auto_port` chooses."""

    __slots__ = ()

    @classmethod
    def on(cls, port: int) -> AutoListen:
        """On this port."""
        return cls((TcpAddress("127.0.0.1", port), TcpAddress("::1", port)))


def address_of_socket(name: object) -> ListenAddress:
    """The address behind a socket's name: what `getsockname` and `getpeername` return."""
    if isinstance(name, tuple):
        return TcpAddress(str(name[0]), int(name[1]))
    # An abstract socket's name is bytes that begin with a NUL, which systemd writes as @.
    path = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return UnixAddress(Path(path.replace("\0", "@", 1)))


def address_of_url(url: str) -> ListenAddress:
    """The address behind a daemon's URL, with or without a path; `ValueError` for anything but a URL."""
    if url.startswith("unix:"):
        return UnixAddress(Path(url.removeprefix("unix:")))
    parts = urlsplit(url)
    return TcpAddress(parts.hostname or "", parts.port or 80)


def is_loopback_host(host: str) -> bool:
    """Whether a host, as it stands in an `Origin` or a `TcpAddress`, can only mean this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 looks into ::ffff:127.0.0.1, older ones do not.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
