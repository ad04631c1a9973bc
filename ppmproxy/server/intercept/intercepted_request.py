"""The grammar of a request inside an intercepted connection, and the forms in which it is handed on.

A head is read only as far as it must be to say who answers it, and where it ends (RFC 9112); the server that gets it
parses it again. Only a head that every parser reads alike is accepted (`is_well_formed`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ppmproxy.access.identity_key import INTERCEPT_HEADER
from ppmproxy.config.network import HOP_BY_HOP
from ppmproxy.errors import BadTargetError, NotForwardedError
from ppmproxy.server.intercept.connect_request import Authority
from ppmproxy.server.request_head import is_well_formed

LARGEST_HEAD = 1 << 16  # bytes
HEAD_END = b"\r\n\r\n"

_VERSIONS = frozenset({"HTTP/1.0", "HTTP/1.1"})
_HOP_BY_HOP = HOP_BY_HOP - {"transfer-encoding"}  # the body is handed on in the coding in which it comes
_OWN = frozenset({INTERCEPT_HEADER.lower(), "proxy-authorization", "proxy-authenticate"})
_NOT_FOR_THE_DAEMON = frozenset({"host", "authorization", "cookie"})  # which needs none of them
_MOST_DIGITS = 18


class MisdirectedError(BadTargetError):
    """A request for another host than the connection was opened for (RFC 9110 section 15.5.20)."""

    status = 421
    title = "misdirected request"


@dataclass(frozen=True, slots=True)
class InterceptedRequest:
    """The head of a request.

    `body_size` is in bytes; None where only a parser can tell, so that nothing else may follow on its connection.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body_size: int | None

    def values(self, name: str) -> list[str]:
        """The values of a header, given in lower case."""
        return _values(self.headers, name)

    @property
    def user_agent(self) -> str:
        return next(iter(self.values("user-agent")), "")

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent once more to a server that closed the connection without an answer."""
        return self.method in {"GET", "HEAD"} and self.body_size == 0

    def check_host(self, authority: Authority) -> None:
        """The connection was opened, and its certificate made, for this host: nothing else is answered over it."""
        hosts = self.values("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if host not in {str(authority), str(authority).rpartition(":")[0]}:
            what = f"the connection was opened for {authority}, and the request names another host"
            raise MisdirectedError(what, "use a client that opens a connection for each host")
        if any("upgrade" in value.lower() for value in self.values("connection")):
            what = "ppmproxy exec --intercept does not forward WebSockets or other upgraded connections"
            raise NotForwardedError(what, "run that program without --intercept")

    def for_daemon(self, host: str, proof: str) -> bytes:
        """The head for the daemon at `host`, with the value of `INTERCEPT_HEADER` and no credential of the client."""
        return self._encoded({"Host": host, INTERCEPT_HEADER: proof}, _OWN | _NOT_FOR_THE_DAEMON)

    def for_host(self) -> bytes:
        """The head for the host itself, with the client's own headers."""
        return self._encoded({}, _OWN)

    def _encoded(self, own: Mapping[str, str], dropped: Collection[str]) -> bytes:
        connection = [word.strip().lower() for value in self.values("connection") for word in value.split(",")]
        kept = [(name, value) for name, value in self.headers if name.lower() not in {*_HOP_BY_HOP, *dropped}]
        kept = [(name, value) for name, value in kept if name.lower() not in connection or _frames(name)]
        if "close" in connection or self.body_size is None:
            kept.append(("Connection", "close"))
        elif "keep-alive" in connection:  # of meaning in HTTP/1.0
            kept.append(("Connection", "keep-alive"))
        lines = (f"{name}: {value}" for name, value in [*own.items(), *kept])
        head = "\r\n".join([f"{self.method} {self.target} {self.version}", *lines, "", ""])
        return head.encode("utf-8", "surrogateescape")


def intercepted_request(head: bytes) -> InterceptedRequest:
    """The request whose head, with the empty line at its end, this is; `BadTargetError`."""
    line, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
    method, _, rest = line.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not is_well_formed(head) or version not in _VERSIONS:
        raise _not_http()
    headers = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))
    return InterceptedRequest(method, target, version, headers, _body_size(headers))


def _body_size(headers: Iterable[tuple[str, str]]) -> int | None:
    """How long the body is; `BadTargetError` where the head does not say it in one way (RFC 9112 section 6.3)."""
    given = list(headers)
    sizes, codings = _values(given, "content-length"), _values(given, "transfer-encoding")
    if len(sizes) + len(codings) > 1:
        raise _not_http()
    if codings:
        return None
    if not sizes:
        return 0
    if not (sizes[0].isascii() and sizes[0].isdigit() and len(sizes[0]) <= _MOST_DIGITS):
        raise _not_http()
    return int(sizes[0])


def _values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for each, value in headers if each.lower() == name]


def _frames(name: str) -> bool:
    """Whether a header says where the message ends, which no word in `Connection` may take away."""
    return name.lower() in {"content-length", "transfer-encoding"}


def _not_http() -> BadTargetError:
    return BadTargetError("the request is not HTTP", "use HTTP/1.1")
