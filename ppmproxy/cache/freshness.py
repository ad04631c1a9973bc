"""Freshness of pages, and what may be stored at all, from the headers of an answer (RFC 9111)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_DIRECTIVE = re.compile(r'([a-z-]+)(?:\s*=\s*"?([^",]*)"?)?', re.IGNORECASE)
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")
_HARMLESS_IN_VARY = frozenset({"accept", "accept-encoding", "authorization", "origin"})


def directives(values: Iterable[str]) -> dict[str, str]:
    """The directives of ``Cache-Control`` lines, in lower case, each with its argument or an empty text."""
    return {name.lower(): argument for value in values for name, argument in _DIRECTIVE.findall(value)}


def may_be_stored(cache_control: Iterable[str], vary: Iterable[str], also_keyed_by: Iterable[str] = ()) -> bool:
    """Whether an answer may be stored here, under URL, credential, type and these request headers."""
    if "no-store" in directives(cache_control):
        return False
    names = {name.strip().lower() for value in vary for name in value.split(",")} - {""}
    return names <= _HARMLESS_IN_VARY | set(also_keyed_by)


def fresh_seconds(cache_control: Iterable[str], age: str | None, default: float) -> float:
    """How long an answer is fresh: what its server says, else the default."""
    given = directives(cache_control)
    if "no-cache" in given:
        return 0.0
    seconds = given.get("max-age", "")
    if not _is_number(seconds):
        return default
    return max(0.0, float(seconds) - (float(age) if age is not None and _is_number(age) else 0.0))


def wants_upstream(request_headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a client wants the upstream's own answer: ``no-cache``, not the ``max-age=0`` that pip always sends."""
    values = [value for name, value in request_headers if name.lower() == "cache-control"]
    return "no-cache" in directives(values) or "no-store" in directives(values)


@lru_cache(maxsize=64)
def form_of(accept: str) -> str:
    """The types of an ``Accept``, the most wanted first: clients that want the same in the same order share a page."""
    wanted = []
    for position, member in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in member.split(";"))
        weights = [value for key, _, value in (one.partition("=") for one in parameters) if key.strip() == "q"]
        others = sorted(one for one in parameters if not one.startswith("q"))
        wanted.append((-_weight(weights), position, ";".join([name, *others])))
    return ",".join(name for weight, _, name in sorted(wanted) if weight < 0)


def _weight(values: list[str]) -> float:
    """A quality value (RFC 9110 section 12.4.2); 1 where there is none that can be read."""
    return float(values[0]) if values and _QUALITY.fullmatch(values[0].strip()) else 1.0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("1000000000")
