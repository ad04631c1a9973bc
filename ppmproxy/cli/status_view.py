"""The view of `ppmproxy status --watch`: what is drawn of the daemon's state, from the documents of the last minute.

A daemon of another version may not say everything, so that every field may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.cli.status_history import Observation
from ppmproxy.config.sizes import size_text
from ppmproxy.errors import one_line

SOON = 600.0  # seconds before its end from which on a token is shown in yellow
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.-=+*#@"  # where the terminal's encoding lacks the others


def view(seen: Sequence[Observation], clock: float, now: float) -> RenderableType:
    """What is known now; `clock` is monotonic, `now` in seconds since the epoch."""
    if not seen:
        return Text("asking ...", style="dim")
    found = seen[-1].found
    status: Mapping[str, Any] = found[0].status if found else {}
    parts: list[RenderableType] = [_head(found, status, now)]
    for upstream in status.get("upstreams", ()):
        parts += [_upstream(upstream, now)]
    if requests := status.get("requests"):
        parts.append(_requests(requests, seen))
    if cache := status.get("cache"):
        parts.append(_cache(cache))
    asked = max(0.0, clock - seen[-1].at)
    parts.append(Text(f"\nq quits{f', last asked {asked:.0f} s ago' if asked > 3 else ''}", style="dim"))  # noqa: PLR2004
    return Group(*parts)


# --- the daemon ---


def _head(found: Sequence[DaemonInfo], status: Mapping[str, Any], now: float) -> RenderableType:
    if not found:
        return Text("the settings name no port (listen has port 0) at which a daemon could be asked", style="red")
    lines = []
    for one in found:
        is_ours = one.identity is ListenerIdentity.OURS
        lines.append(Text.assemble((one.url, "bold"), ": ", (one.identity.value, "green" if is_ours else "red")))
    if found[0].identity is not ListenerIdentity.OURS:
        lines.append(Text(f"  {found[0].identity.remedy}", style="yellow"))
    if since := _seconds(status.get("started_at")):
        stopping = ", stopping" if status.get("draining") else ""
        lines.append(Text(f"version {_word(status.get('version'))}, up {_span(now - since)}{stopping}", style="dim"))
    return Group(*lines)


# --- upstreams ---


def _upstream(upstream: Mapping[str, Any], now: float) -> RenderableType:
    title = Text.assemble(f"\n{_word(upstream.get('mount'))} -> ", (_word(upstream.get("url")), "bold"))
    return Group(title, *(Padding(line, (0, 0, 0, 2)) for line in _upstream_lines(upstream, now)))


def _upstream_lines(upstream: Mapping[str, Any], now: float) -> Iterator[Text]:
    if sign_in := upstream.get("sign_in"):
        yield Text(
            f"sign in: open {_word(sign_in.get('page'))} and confirm {_word(sign_in.get('code'))}", style="bold yellow"
        )
    yield _reachability(upstream, now)
    credential = upstream.get("credential")
    used: Sequence[Mapping[str, Any]] = upstream.get("credentials") or ([credential] if credential else [])
    yield from (_credential(one, now) for one in used)
    if not used:
        yield Text("token: none found" if upstream.get("passed_over") else "token: none used yet", style="dim")
    yield from (Text(f"trouble: {_word(trouble)}", style="yellow") for trouble in upstream.get("troubles", ()))
    downloads = upstream.get("downloads") or {}
    if downloads.get("under_way") or downloads.get("waiting"):
        yield Text(f"downloads: {downloads.get('under_way', 0)} under way, {downloads.get('waiting', 0)} wait")


def _reachability(upstream: Mapping[str, Any], now: float) -> Text:
    if since := _seconds(upstream.get("silent_since")):
        return Text(f"no good answer for {_span(now - since)}: {_word(upstream.get('silent_why'))}", style="red")
    if answered := _seconds(upstream.get("last_answer_at")):
        return Text(f"answered {_span(now - answered)} ago", style="green")
    return Text("not asked yet", style="dim")


def _credential(credential: Mapping[str, Any], now: float) -> Text:
    line = Text(f"token: from {_word(credential.get('source'))}")
    if (end := _seconds(credential.get("expires_at"))) is not None:
        left = end - now
        style = "red" if left <= 0 else "yellow" if left < SOON else "green"
        line.append(", expired" if left <= 0 else f", {_countdown(left)} left", style=style)
    if scopes := credential.get("scopes"):
        line.append(f", scopes {_word(', '.join(map(str, scopes)))}", style="dim")
    if purposes := credential.get("purposes"):
        line.append(f", for {_word(', '.join(map(str, purposes)))}", style="dim")
    return line


# --- requests ---


def _requests(requests: Mapping[str, Any], seen: Sequence[Observation]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    failed = requests.get("failed", sum(requests.get("errors", {}).values()))
    table.add_row("requests", str(requests.get("total", 0)), _Sparkline(_rates(seen)))
    table.add_row("failed", Text(str(failed), style="red" if failed else ""))
    table.add_row("under way", str(requests.get("in_flight", 0)))
    table.add_row("sent", size_text(requests.get("bytes_sent", 0)))
    for code, count in requests.get("errors", {}).items():
        table.add_row(Text(f"  {_word(code)}", style="red"), str(count))
    return Group(Text(""), table)


def _rates(seen: Sequence[Observation]) -> list[float]:
    """Requests per second between each two answers of the same daemon."""
    answers = [(one.at, one.found[0].status) for one in seen if one.found and "requests" in one.found[0].status]
    rates = []
    for (at, before), (later, after) in pairwise(answers):
        if before.get("started_at") == after.get("started_at") and later > at:
            rates.append(max(0, _total(after) - _total(before)) / (later - at))
    return rates


def _total(status: Mapping[str, Any]) -> int:
    return int(status["requests"].get("total", 0))


def _cache(cache: Mapping[str, Any]) -> RenderableType:
    done = ", ".join(f"{count} {_word(word)}" for word, count in sorted(cache.get("requests", {}).items()))
    if trouble := cache.get("trouble"):
        return Text(f"cache: not in use: {_word(trouble)}", style="yellow")
    return Text(f"cache: {done or 'not used yet'}")


class _Sparkline:
    """Values as bars, as many as there is room for, and the last one as a number."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        values = self._values[-max(1, options.max_width - 16) :]
        if not values:
            return
        bars, highest = _PLAIN_BARS if options.ascii_only else _BARS, max(*values, 1.0)
        drawn = "".join(bars[round(value / highest * (len(bars) - 1))] for value in values)
        yield Text(f"{drawn} {values[-1]:.1f}/s", style="cyan", no_wrap=True)


# --- words ---


def _word(value: object) -> str:
    return one_line(str(value))


def _seconds(moment: object) -> float | None:
    """Seconds since the epoch of a time in the status; None when it is none."""
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def _countdown(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
