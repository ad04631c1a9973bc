"""The grammar of a request to the CONNECT proxy, and what is to be done with it (RFC 9110 section 9.3.6).

The head decides alone, before anything is opened: who asks (the password of this run), for which host and port, and
whether that is an upstream's. An upstream's host and port are never tunnelled.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from ppmproxy.config.local_address import WILDCARDS, is_loopback_host
from ppmproxy.config.model import Upstream
from ppmproxy.server.request_head import is_well_formed

LARGEST_HEAD = 1 << 14  # bytes; a client's CONNECT has some hundred
USER = "ppmproxy"

_LINE = re.compile(r"(?P<method>[!#$%&'*+.^_`|~0-9A-Za-z-]+) (?P<target>[\x21-\x7e]+) HTTP/1\.[01]")
_HTTP_URL = re.compile(
    r"http://(?P<authority>\[[^]/?#@]+\]|[^]/?#@:\[]+)(?P<port>:[0-9]+)?(?P<path>[/?][^#]*)?", re.IGNORECASE
)
# Fewer than `HOP_BY_HOP`: the server gets the rest of the head as the client wrote it (`_body_size` refuses codings).
_FOR_THE_PROXY = frozenset({"proxy-authorization", "proxy-connection", "connection", "keep-alive"})
_SIZE = re.compile(r"[0-9]{1,18}")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, order=True)
class Authority:
    """A host, in lower case and without brackets or a dot at its end, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Action(enum.Enum):
    """What becomes of a connection that asked for a host and port."""

    INTERCEPT = enum.auto()
    TUNNEL = enum.auto()
    FORWARD = enum.auto()  # one plain http request


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and with which host and port; of a plain request the head as its server wants it.

    No more than the body follows that: the next request of the same client may be for another server.
    """

    action: Action
    authority: Authority
    head: bytes = b""
    body_size: int = 0


class ConnectRefusedError(Exception):
    """The proxy answers with an error; most clients show nothing of it but the status and its reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def head(self) -> bytes:
        """The whole response; a client without a password is asked for one (git sends none before)."""
        lines = [f"HTTP/1.1 {self.status.value} {self.reason}", "Content-Length: 0", "Connection: close"]
        if self.status is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            lines.append('Proxy-Authenticate: Basic realm="ppmproxy exec --intercept"')
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class ConnectRules:
    """The rules for requests: the upstreams' authorities, this proxy's own addresses, the password of the run."""

    intercepted: frozenset[Authority]
    own_ports: frozenset[int]
    password: str = field(repr=False)

    def decide(self, head: bytes) -> Decision:
        """What is to be done about a request, given its head up to the empty line; `ConnectRefusedError`."""
        if len(head) > LARGEST_HEAD:  # what was cut off would be missing in what is passed on
            reason = f"the head of a request is larger than {LARGEST_HEAD} bytes"
            raise ConnectRefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
        line, *lines = head.decode("latin-1").split("\r\n")
        match = _LINE.fullmatch(line)
        if match is None or not is_well_formed(head + b"\r\n\r\n"):
            raise ConnectRefusedError(HTTPStatus.BAD_REQUEST, "this is no request to an HTTP proxy")
        self._check_password([value for name, value in map(_header, lines) if name == "proxy-authorization"])
        if match["method"] != "CONNECT":
            return self._plain(match["method"], match["target"], lines)
        authority = authority_of(match["target"])
        if authority in self.intercepted:
            return Decision(Action.INTERCEPT, authority)
        self._check_not_ourselves(authority)
        return Decision(Action.TUNNEL, authority)

    def _plain(self, method: str, target: str, lines: Sequence[str]) -> Decision:
        """A request for an http URL (RFC 9112 section 3.2.2) as its server gets it, never for an upstream's host."""
        match = _HTTP_URL.fullmatch(target)
        if match is None:
            raise ConnectRefusedError(HTTPStatus.BAD_REQUEST, "this is a proxy: it takes CONNECT, or an http URL")
        authority = authority_of(match["authority"] + (match["port"] or ":80"))
        if authority.host in {upstream.host for upstream in self.intercepted}:
            raise ConnectRefusedError(HTTPStatus.FORBIDDEN, f"{authority.host} is asked over https only")
        self._check_not_ourselves(authority)
        size = _body_size(lines)
        kept = [line for line in lines if _header(line)[0] not in _FOR_THE_PROXY]
        path = match["path"] or "/"
        head = [f"{method} {path if path.startswith('/') else f'/{path}'} HTTP/1.1", *kept, "Connection: close"]
        return Decision(Action.FORWARD, authority, ("\r\n".join(head) + "\r\n\r\n").encode("latin-1"), size)

    def _check_not_ourselves(self, authority: Authority) -> None:
        if authority.port in self.own_ports and (is_loopback_host(authority.host) or authority.host in WILDCARDS):
            raise ConnectRefusedError(HTTPStatus.FORBIDDEN, "no tunnel leads to ppmproxy itself")

    def _check_password(self, values: Collection[str]) -> None:
        expected = f"{USER}:{self.password}".encode()
        for value in values:
            scheme, _, encoded = value.strip().partition(" ")
            try:
                given = base64.b64decode(encoded.strip(), validate=True)
            except (binascii.Error, ValueError):
                continue
            if scheme.lower() == "basic" and hmac.compare_digest(given, expected):
                return
        reason = "this proxy belongs to one run of ppmproxy exec --intercept"
        raise ConnectRefusedError(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, reason)


def authority_of(text: str) -> Authority:
    """The host and port of a CONNECT request; `ConnectRefusedError` (400) for anything else."""
    match = _AUTHORITY.fullmatch(text)
    port = int(match["port"]) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise ConnectRefusedError(HTTPStatus.BAD_REQUEST, "CONNECT takes a host and a port")
    return Authority(match["host"].strip("[]").lower().rstrip("."), port)


def authority_of_upstream(upstream: Upstream) -> Authority:
    """The host and port that a client asks to be connected to for an upstream."""
    return Authority(upstream.origin.host.strip("[]"), upstream.origin.port)


def _body_size(lines: Sequence[str]) -> int:
    """How long the body of a plain request is; `ConnectRefusedError` where the head does not say it in one way."""
    headers = [_header(line) for line in lines]
    if any(name.strip() == "transfer-encoding" for name, _ in headers):
        raise ConnectRefusedError(HTTPStatus.LENGTH_REQUIRED, "a plain http request takes a Content-Length here")
    sizes = {value.strip() for name, value in headers if name.strip() == "content-length"}
    if len(sizes) > 1 or not all(_SIZE.fullmatch(size) for size in sizes):
        raise ConnectRefusedError(HTTPStatus.BAD_REQUEST, "the Content-Length is no number")
    return int(sizes.pop()) if sizes else 0


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value
