"""The table of upstream faults: what the upstream does, how long it lasts, and the words that name its reason."""

from __future__ import annotations

from dataclasses import dataclass

from ppmproxy.testing.package_manager import (
    BrokenJson,
    CloseBeforeHead,
    Cut,
    Delay,
    Fault,
    LoginPage,
    NoAnswer,
    RedirectLoop,
    Stall,
    Status,
    Trickle,
    WrongEncoding,
)

PAGE, METADATA, FILE = "*/simple/hello/", "*.metadata", "*.whl"
UNKNOWN_HOST = "https://packagemanager.invalid"
UNREACHABLE = ("connection refused", "actively refused", "unreachable")
NO_SUCH_HOST = ("name or service", "resolve", "dns", "not known", "is unknown", "does not exist")
SILENT = ("did not answer", "timed out", "timeout")
ENDED = (
    "reset",
    "closed",
    "cut",
    "not enough bytes",
    "incomplete",
    "eof",
    "end of file",
    "too early",
    "error decoding",
    "broken",
)
BLOCKED = Status(403, body=b"hello is blocked")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One upstream fault. It passes by itself, or it lasts and has a reason that a client should show."""

    name: str
    reason: tuple[str, ...] = ()  # one of these words names a lasting fault, in any client; () for one that passes
    fault: Fault | None = None
    where: str = PAGE
    times: int | None = None  # requests that get the fault; None: all
    refused_for: float = 0.0  # seconds from the start of the client in which connections are refused
    is_silent: bool = False  # its reason is known only after `read_timeout`
    host: str = ""  # an upstream that does not exist
    connect_refused: bool = False  # by the forward proxy, which the upstream is behind
    has_tls: bool = False  # with a certificate that is not trusted
    seconds: float = 20.0  # about how long the slowest client takes

    @property
    def lasts(self) -> bool:
        return bool(self.reason)


def busy(status: int) -> Status:
    """A status with which a server asks its client to come back in a second."""
    return Status(status, headers=(("Retry-After", "1"),))


PASSING = (
    Row(name="page: 500 once", fault=Status(500), times=1),
    Row(name="page: 503 with Retry-After, three times", fault=busy(503), times=3),
    Row(name="page: 429 with Retry-After, once", fault=busy(429), times=1),
    Row(name="connections refused for 2 s", refused_for=2),
    Row(name="connections refused for 4 s", refused_for=4),
    Row(name="connections refused for 7 s", refused_for=7),
    Row(name="page: reset before its head, once", fault=CloseBeforeHead(reset=True), times=1),
    Row(name="page: closed before its head, once", fault=CloseBeforeHead(), times=1),
    Row(name="page: reset in its body, once", fault=Cut(60, reset=True), times=1),
    Row(name="page: head after 18 s", fault=Delay(18), seconds=110),
    Row(name="page: head after 45 s", fault=Delay(45), seconds=130),
    Row(name="metadata: 500 once", fault=Status(500), where=METADATA, times=1),
    Row(name="file: 500 once", fault=Status(500), where=FILE, times=1),
    Row(name="file: 503 with Retry-After, three times", fault=busy(503), where=FILE, times=3),
    Row(name="file: reset before its head, once", fault=CloseBeforeHead(reset=True), where=FILE, times=1),
    Row(name="file: reset in its body, once", fault=Cut(20_000, reset=True), where=FILE, times=1),
    Row(name="file: closed in its body, once", fault=Cut(20_000), where=FILE, times=1),
    Row(name="file: head after 18 s", fault=Delay(18), where=FILE, seconds=110),
    Row(name="file: body stalls, once", fault=Stall(20_000), where=FILE, times=1, seconds=70),
    Row(name="file: body trickles for 12 s", fault=Trickle(20_000, 0.8), where=FILE, seconds=30),
)

LASTING = (
    Row(name="page: 500", fault=Status(500), reason=("500",)),
    Row(name="page: 503", fault=Status(503), reason=("503",)),
    Row(name="page: 404", fault=Status(404), reason=("404", "not found", "no matching distribution")),
    Row(name="page: 403 with a reason", fault=BLOCKED, reason=("403", "blocked")),
    Row(name="page: 451", fault=Status(451), reason=("451",)),
    Row(name="page: a sign-in page", fault=LoginPage(), reason=("web page instead of", "sign-in page")),
    Row(name="page: redirect loop", fault=RedirectLoop(), reason=("redirect",)),
    Row(name="page: broken JSON", fault=BrokenJson(), reason=("json", "the page ends", "eof while parsing")),
    Row(name="page: wrong encoding", fault=WrongEncoding(), reason=("gzip", "decod", "decompress")),
    Row(name="page: reset before its head", fault=CloseBeforeHead(reset=True), reason=ENDED),
    Row(name="page: silence", fault=NoAnswer(), reason=SILENT, is_silent=True, seconds=130),
    Row(name="connections refused", refused_for=600, reason=UNREACHABLE, seconds=30),
    Row(name="unknown host", host=UNKNOWN_HOST, reason=NO_SUCH_HOST),
    Row(name="CONNECT refused", connect_refused=True, reason=("forward proxy", "tunnel", "connect")),
    Row(name="certificate not trusted", has_tls=True, reason=("not trusted", "certificate")),
    Row(name="file: 500", fault=Status(500), where=FILE, reason=("500",)),
    Row(name="file: 403 with a reason", fault=BLOCKED, where=FILE, reason=("403", "blocked")),
    Row(name="file: a sign-in page", fault=LoginPage(), where=FILE, reason=("web page instead of", "sign-in page")),
    Row(name="file: body is cut", fault=Cut(20_000), where=FILE, reason=ENDED),
    Row(
        name="file: body stalls", fault=Stall(20_000), where=FILE, reason=(*SILENT, *ENDED), is_silent=True, seconds=150
    ),
)

ROWS = PASSING + LASTING
