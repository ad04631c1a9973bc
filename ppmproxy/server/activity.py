"""The activity of the daemon: its last requests, the requests of each minute of the last hour, latency of an upstream.

Memory is bounded: so many requests, and a bucket for each span of time. The requests of the proxy's own pages are not
among them, as they are not in any count of `state`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ppmproxy.errors import one_line, shortened
from ppmproxy.server.request_record import RequestRecord

MAX_REQUESTS = 200
MINUTE, MINUTES = 60, 60  # seconds of a bucket, and how many are kept
LATENCY_SPAN, LATENCY_SPANS = 15, 60  # likewise: 15 minutes
LONGEST_CLIENT = 60  # characters
LONGEST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A request that is over, for people."""

    number: int  # counted from 1 since the start
    at: float  # seconds since the epoch
    client: str  # the first word of its User-Agent
    method: str
    path: str
    project: str
    upstream: str
    status: int  # 0: the response was cut
    code: str
    detail: str
    hint: str
    sent: int
    seconds: float
    has_failed: bool
    cache: str  # what it did, in one word; "" where it was not asked


@dataclass(frozen=True, slots=True)
class Minute:
    """The requests that ended in one minute."""

    index: int  # minutes since the epoch
    requests: int = 0
    failed: int = 0
    sent: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class LatencySpan:
    """The answers of an upstream within one span of time."""

    index: int  # spans since the epoch
    answers: int
    seconds: float  # of all of them together, from the request to the head of the response
    longest: float

    @property
    def mean(self) -> float:
        """Seconds."""
        return self.seconds / self.answers


@dataclass(frozen=True, slots=True)
class ActivitySnapshot:
    """The activity at one moment; the oldest first."""

    requests: tuple[FinishedRequest, ...] = ()
    minutes: tuple[Minute, ...] = ()

    def hour(self, now: float) -> tuple[Minute, ...]:
        """Each minute of the last hour, those without a request too."""
        last = int(now // MINUTE)
        known = {minute.index: minute for minute in self.minutes}
        return tuple(known.get(index) or Minute(index) for index in range(last - MINUTES + 1, last + 1))


class Activity:
    """Records finished requests."""

    def __init__(self) -> None:
        self._requests: deque[FinishedRequest] = deque(maxlen=MAX_REQUESTS)
        # Prepared for people when somebody looks: that would slow every request.
        self._unprepared: deque[tuple[RequestRecord, int, float]] = deque(maxlen=MAX_REQUESTS)
        self._ended: deque[Minute] = deque(maxlen=MINUTES)
        self._minute = Minute(0)
        self._number = 0

    def snapshot(self) -> ActivitySnapshot:
        """The activity as it is now."""
        self._requests.extend(_finished(*one) for one in self._unprepared)
        self._unprepared.clear()
        running = (self._minute,) if self._minute.requests else ()
        return ActivitySnapshot(tuple(self._requests), (*self._ended, *running))

    def record(self, record: RequestRecord, now: float) -> None:
        """A request is over."""
        self._number += 1
        self._unprepared.append((record, self._number, now))
        minute, index = self._minute, max(int(now // MINUTE), self._minute.index)  # the clock may be set back
        if index != minute.index and minute.requests:
            self._ended.append(minute)
        before = minute if index == minute.index else Minute(index)
        self._minute = Minute(index, before.requests + 1, before.failed + record.has_failed, before.sent + record.sent)


@dataclass(slots=True)
class Latency:
    """How fast an upstream answered in the last quarter of an hour."""

    _spans: deque[LatencySpan] = field(default_factory=lambda: deque(maxlen=LATENCY_SPANS))

    def record(self, seconds: float, now: float) -> None:
        """An answer has come after so many seconds."""
        last = self._spans[-1] if self._spans else None
        index = max(int(now // LATENCY_SPAN), last.index if last else 0)
        if last is None or last.index != index:
            self._spans.append(LatencySpan(index, 1, seconds, seconds))
        else:
            self._spans[-1] = LatencySpan(index, last.answers + 1, last.seconds + seconds, max(last.longest, seconds))

    def snapshot(self) -> tuple[LatencySpan, ...]:
        """The spans in which answers came; the oldest first."""
        return tuple(self._spans)


def recent(spans: tuple[LatencySpan, ...], now: float) -> Iterator[tuple[float, LatencySpan]]:
    """The spans of the last quarter of an hour, each with its place in it from 0 to 1."""
    first = int(now // LATENCY_SPAN) - LATENCY_SPANS + 1
    for span in spans:
        if 0 <= span.index - first < LATENCY_SPANS:
            yield (span.index - first + 0.5) / LATENCY_SPANS, span


def _finished(record: RequestRecord, number: int, now: float) -> FinishedRequest:
    return FinishedRequest(
        number,
        now,
        client_of(record.user_agent),
        one_line(record.method),
        one_line(record.path),
        project_of(record.path, record.kind),
        record.upstream,
        record.final_status,
        record.code,
        shortened(one_line(record.detail), LONGEST_DETAIL),
        record.hint,
        record.sent,
        record.seconds,
        record.has_failed,
        record.cache_result,
    )


def client_of(user_agent: str) -> str:
    """The first word of a ``User-Agent``, which names the program and its version."""
    words = one_line(user_agent[: 2 * LONGEST_CLIENT]).split(" ")
    return words[0][:LONGEST_CLIENT]


_VERSION = re.compile(r"[-_]v?\d")  # before it, a file's name names its project


def project_of(path: str, kind: str) -> str:
    """The project or the file that a path is about; "" for neither."""
    segments = [segment for segment in path.split("/") if segment]
    if not segments or kind not in {"index", "file"}:
        return ""
    if kind == "file":
        return one_line(_VERSION.split(segments[-1], maxsplit=1)[0])
    is_project = len(segments) > 1 and segments[-2] in {"simple", "+simple"}
    return one_line(segments[-1]) if is_project else ""
