"""The record of one request: its outcome, which its log line and the counts of the state show."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

CLIENT_LEFT = "client-left"  # the code of a request whose client did not wait for the end of the response
CLIENT_STALLED = "client-stalled"  # the code of a request whose client stopped reading
CACHE_RESULTS = ("hit", "shared", "revalidated", "miss", "stale", "offline", "bypass")
DETAILED = {"upstream-down": "stale", "offline": "offline", "shared": "shared"}  # what `detail` says
LONGEST_USER_AGENT = 120  # characters; the first word names the client
DRAIN_TIMEOUT = "drain-timeout"  # the code of a request that the end of the daemon cut


@dataclass(slots=True)
class RequestRecord:
    """The outcome of one request; filled in as it goes, and logged once at its end."""

    method: str
    path: str  # without the query, which may hold a signature
    upstream: str = ""
    kind: str = ""
    status: int = 0
    code: str = ""
    detail: str = ""
    source: str = ""  # of the credential
    sent: int = 0  # bytes of body to the client
    length: int | None = None  # of the whole body, where it is known
    is_cut: bool = False  # the transfer ended badly after its head was sent
    cache: str = ""  # what the cache did for it, as ``Cache-Status`` says
    user_agent: str = ""  # its beginning
    hint: str = ""  # what to do about the error
    seconds: float = 0.0  # from its head to its end

    @property
    def cache_result(self) -> str:
        """What the cache did, as one of `CACHE_RESULTS`; "" where it was not asked."""
        if not self.cache:
            return ""
        if self.cache.startswith("hit"):
            return DETAILED.get(self.cache.rpartition("detail=")[2], "hit")
        if self.cache.startswith("fwd=bypass"):
            return "bypass"
        return "revalidated" if "fwd-status=304" in self.cache else "miss"

    @property
    def is_whole(self) -> bool:
        """Whether all of a body of known length was handed to the client's connection."""
        return bool(self.status) and self.sent == self.length

    @property
    def final_status(self) -> int:
        """The status, or 0 when the transfer did not end well, whatever its head said."""
        return 0 if self.is_cut else self.status

    @property
    def is_own_page(self) -> bool:
        """Whether it was for a page of the proxy itself, or was sent there."""
        return not self.upstream and (self.path.startswith("/-/") or self.status == HTTPStatus.SEE_OTHER)

    @property
    def is_counted(self) -> bool:
        """Whether it is a request for an upstream, or a refusal: the proxy's own pages are not counted."""
        return not self.is_own_page or (self.has_failed and self.status >= HTTPStatus.BAD_REQUEST)

    @property
    def has_failed(self) -> bool:
        """Whether it counts as failed: not when the client left, or was redirected to where it is."""
        if not self.code:
            return self.status == HTTPStatus.TOO_MANY_REQUESTS  # the upstream's own, which passes without a code
        return self.code != CLIENT_LEFT and self.status != HTTPStatus.TEMPORARY_REDIRECT

    def fields(self, seconds: float) -> dict[str, object]:
        """The fields of the log line; empty ones are left out."""
        named = {name: getattr(self, name) for name in ("upstream", "kind", "code", "detail", "source", "cache")}
        return {
            "method": self.method,
            "path": self.path,
            "status": self.final_status,
            **({"head_status": self.status} if self.is_cut else {}),
            **{name: value for name, value in named.items() if value},
            "sent": self.sent,
            "ms": round(seconds * 1000, 1),
        }
