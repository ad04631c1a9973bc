"""Origins: scheme, host and port, the boundary that a token does not cross.

Two URLs have the same origin when scheme, host and port are equal, with the scheme's default port filled in (RFC 6454
section 4). That is also the boundary for credentials on redirects (RFC 9110 section 15.4), so ``https://a:443`` and
``https://a`` must compare equal, which `yarl.URL.origin()` does not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a server; the host in lower case and without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http or https URL; `ValueError` for anything else."""
        return cls.of_parts(urlsplit(url))

    @classmethod
    def of_parts(cls, parts: SplitResult) -> Origin:
        """The origin of a URL that is already split; `ValueError` as in `of`."""
        host = parts.hostname or ""
        # Lower-casing turns some letters beyond ASCII into ASCII ones (U+212A into "k"): such a host is refused.
        if parts.scheme not in DEFAULT_PORTS or not host or not parts.netloc.isascii():
            msg = "not an absolute http or https URL"
            raise ValueError(msg)
        port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
        # A trailing dot names the same host in DNS, but not the same certificate: kept apart.
        return cls(parts.scheme, host.lower(), port)

    @property
    def netloc(self) -> str:
        """``host`` or ``host:port`` as in a URL: without the default port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"
