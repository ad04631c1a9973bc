"""The style, the script and the icon of the page: each under a path with a hash of its content, to be kept for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ppmproxy.access.browsers import PAGE_PARTS

STYLE, SCRIPT, ICON = "style.css", "script.js", "icon.svg"
_TYPES = {
    STYLE: "text/css; charset=utf-8",
    SCRIPT: "text/javascript; charset=utf-8",
    ICON: "image/svg+xml; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    path: str
    content_type: str
    body: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """All of them, by their names."""
    return {name: _asset(name) for name in _TYPES}


def asset_at(path: str) -> Asset | None:
    """The file with this path; None for any other path, as for that of an older version."""
    return next((asset for asset in assets().values() if asset.path == path), None)


def _asset(name: str) -> Asset:
    body = files("ppmproxy.server.admin").joinpath("static").joinpath(name).read_bytes()
    stem, _, suffix = name.partition(".")
    return Asset(f"{PAGE_PARTS}{stem}.{hashlib.sha256(body).hexdigest()[:16]}.{suffix}", _TYPES[name], body)
