"""The log on a terminal: an event in words, with the local time, on one line of at most 120 columns.

What a person has to copy (the address and code of a sign-in, the index URL) is never cut. `logs` masks what is made
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any

from structlog.typing import WrappedLogger

from ppmproxy.config.model import Upstream
from ppmproxy.errors import one_line, shortened

LONGEST_LINE = 120  # columns
LONGEST_PATH = 60
CUT = 0  # the status of a response that was cut

_INDENT = " " * len("12:34:56 ")
_DIM, _YELLOW, _RED, _PLAIN = (f"\x1b[{code}m" for code in (2, 33, 31, 0))
_COLOURS = {"warning": _YELLOW, "error": _RED, "critical": _RED}
_PREFIXES = {"warning": "warning: ", "error": "error: ", "critical": "error: "}
_SENTENCES = ("why", "detail", "consequence", "hint")  # fields that are sentences for people

Fields = Mapping[str, Any]


class TerminalRenderer:
    """Renders an event for a person, with colours where the terminal has them."""

    def __init__(self, *, has_colours: bool) -> None:
        self._has_colours = has_colours

    def __call__(self, _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
        fields = dict(event)
        name, level = str(fields.pop("event", "")), str(fields.pop("level", ""))
        clock, traceback = _clock(str(fields.pop("timestamp", ""))), fields.pop("exception", "")
        if name in _BLOCKS:
            first, *others = _BLOCKS[name](fields)
        else:
            words = _WORDS.get(name)
            prefix = "" if name == "request" else _PREFIXES.get(level, "")
            text = one_line(prefix + (words(fields) if words else _in_words(name, fields)))
            first, others = shortened(text, LONGEST_LINE - len(_INDENT)), []
        lines = [f"{self._in(_DIM, clock)} {self._in(_COLOURS.get(level, ''), first)}"]
        lines += [_INDENT + one_line(line) for line in others]
        return "\n".join([*lines, _printable(traceback)] if traceback else lines)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._has_colours and colour else text


def _printable(text: str) -> str:
    """Lines with their control characters escaped, which a terminal would obey."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def _clock(timestamp: str) -> str:
    """The local time of an event, to the second."""
    try:
        return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return datetime.now().astimezone().strftime("%H:%M:%S")


def _request(fields: Fields) -> str:
    """``GET six/ 200 12 ms``, and the cause of a failure."""
    status = fields.get("status", CUT)
    shown = f"{fields.get('head_status', '')}, cut" if status == CUT else str(status)
    milliseconds = float(fields.get("ms", 0))
    took = f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004
    text = f"{fields.get('method', '')} {_resource(fields)} {shown} {took}"
    if str(fields.get("cache", "")).startswith("hit"):
        text += " from the cache"
    cause = fields.get("detail") or fields.get("code")
    return f"{text}: {cause}" if cause else text


def _resource(fields: Fields) -> str:
    """The project of an index page, the name of a file, else the path."""
    path, kind = str(fields.get("path", "")), fields.get("kind", "")
    segments = [segment for segment in path.split("/") if segment]
    if kind == "index" and segments:
        return f"{segments[-1]}/"
    return segments[-1] if kind == "file" and segments else shortened(path, LONGEST_PATH)


def _listening(fields: Fields) -> str:
    upstreams = ", ".join(str(url) for url in fields.get("upstreams", {}).values())
    return f"serving {upstreams} at {_first(fields.get('urls', ()))}"


def _first(urls: Sequence[str]) -> str:
    return str(urls[0]) if urls else "no address"


def _credential(fields: Fields) -> str:
    expiry, scopes = fields.get("expires_at"), fields.get("scopes")
    text = f"token from {fields.get('source', '')}" + (f" until {expiry}" if expiry else "")
    return f"{text} (scopes: {', '.join(scopes)})" if scopes else text


def _sign_in(fields: Fields) -> Sequence[str]:
    name = fields.get("upstream", Upstream().name)
    return (
        "sign in to the Package Manager" + (":" if name == Upstream().name else f" {name}:"),
        f"URL   {fields.get('url', '')}",
        f"code  {fields.get('code', '')}",
    )


def _index_url(fields: Fields) -> Sequence[str]:
    return (f"index URL for pip and uv: {fields.get('url', '')}",)


_BLOCKS: Mapping[str, Callable[[Fields], Sequence[str]]] = {"sign_in_needed": _sign_in, "index_url": _index_url}
_WORDS: Mapping[str, Callable[[Fields], str]] = {
    "request": _request,
    "daemon_listening": _listening,
    "daemon_stopping": lambda fields: f"stopping ({fields.get('why')}), {fields.get('in_flight')} requests in flight",
    "credential_found": _credential,
    "credential_missing": lambda fields: f"no token for {fields.get('url')}: {fields.get('hint')}",
    "credential_source_broken": lambda fields: f"{fields.get('source')} gives no token: {fields.get('why')}",
    "credential_warning": lambda fields: f"{fields.get('source')}: {fields.get('why')}",
    "sign_in_succeeded": lambda _fields: "signed in",
    "sign_in_failed": lambda fields: f"sign-in failed: {fields.get('why')}",
    "settings_reloaded": lambda _fields: "settings reloaded",
    "reload_failed": lambda fields: f"the old settings stay: {fields.get('why')}; {fields.get('hint')}",
}


def _in_words(name: str, fields: Fields) -> str:
    """Any other event: its name and facts, then its sentences."""
    known = name.replace("_", " ") if name.isascii() and name.replace("_", "").isalpha() else name
    facts = [f"{key} {_value(value)}" for key, value in fields.items() if key not in _SENTENCES]
    sentences = [str(fields[key]) for key in _SENTENCES if fields.get(key)]
    text = f"{known} ({', '.join(facts)})" if facts else known
    return f"{text}: {'; '.join(sentences)}" if sentences else text


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return str(value)
