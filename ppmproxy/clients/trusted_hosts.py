"""The ``--trusted-host`` options of requirements files, which pip needs to cache what a plain http index serves.

They go from a canonical file and come back with the proxy's URL in a local one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.editing.apply import lines_of

_OPTION = re.compile(r"(?:(?<=\s)|^)--trusted-host(?:[ \t]*=[ \t]*|[ \t]+)(\S+)[ \t]*")
_INDEX_LINE = re.compile(r"[ \t]*(?:--index-url|--extra-index-url|--pypi-url|-i)(?:[ \t]*=[ \t]*|[ \t]+|(?<=-i))(\S+)")


def trusted_hosts_of(text: str, origins: Collection[Origin]) -> Iterator[tuple[int, str]]:
    """Each option for one of these origins: the line's number, from 1, and the option."""
    for number, line in enumerate(lines_of(text), start=1):
        for option in _options(line):
            if _names_one(option[1], origins, text):
                yield number, option[0].strip()


def without_trusted_hosts(text: str, origins: Collection[Origin]) -> str:
    """The text without the options for these origins; a line with nothing else goes as a whole."""
    return "".join(_without(line, origins, text) for line in lines_of(text))


def with_trusted_host(text: str, origin: Origin) -> str:
    """The text with an option for an origin next to the first index option that names it, unless it is there."""
    if any(option[1] in _spellings(origin) for line in lines_of(text) for option in _options(line)):
        return text
    lines = lines_of(text)
    at = next((number for number, line in enumerate(lines) if _is_index_of(line, origin)), None)
    if at is None:
        return text
    while at + 1 < len(lines) and _INDEX_LINE.match(lines[at + 1]):
        at += 1
    end = "\r\n" if lines[at].endswith("\r\n") else "\n"
    at += lines[at].endswith("\n")  # a last line without an end stays the last one
    return "".join([*lines[:at], f"--trusted-host {origin.host}{end}", *lines[at:]])


def _options(line: str) -> list[re.Match[str]]:
    return [] if line.lstrip().startswith("#") else list(_OPTION.finditer(line))


def _without(line: str, origins: Collection[Origin], text: str) -> str:
    options = [option for option in _options(line) if _names_one(option[1], origins, text)]
    rest = line
    for option in reversed(options):
        rest = rest[: option.start()] + rest[option.end() :]
    if not options:
        return line
    end = line[len(line.rstrip("\r\n")) :]
    return rest.rstrip() + end if rest.strip() else ""


def _names_one(host: str, origins: Collection[Origin], text: str) -> bool:
    """Whether a host is that of an origin; one without a port is not, when another index of the text is there."""
    for origin in origins:
        if host == f"{_bracketed(origin.host)}:{origin.port}":
            return True
        if host in {origin.host, _bracketed(origin.host)}:
            others = re.findall(rf"\bhttp://{re.escape(_bracketed(origin.host))}(?::(\d+))?(?=[/\s]|$)", text)
            if all(any(int(port or 80) == one.port for one in origins if one.host == origin.host) for port in others):
                return True
    return False


def _is_index_of(line: str, origin: Origin) -> bool:
    option = _INDEX_LINE.match(line)
    if option is None:
        return False
    try:
        return Origin.of(option[1]) == origin
    except ValueError:
        return False


def _spellings(origin: Origin) -> set[str]:
    host = _bracketed(origin.host)
    return {origin.host, host, f"{host}:{origin.port}"}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
