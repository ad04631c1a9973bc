"""Clients' files for all users of a machine, and what may be in them: the Package Manager's own URL.

The proxy's URL may not: each user has a proxy of their own, and it serves nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ppmproxy.clients.index_url import Index


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file for all users, by its path or in words, and the lines for it."""

    where: str
    lines: tuple[str, ...]


_PLACES: Mapping[str, Mapping[str, str]] = {  # by client and platform; "" is every other one
    "pip": {
        "win32": r"C:\ProgramData\pip\pip.ini",
        "darwin": "/Library/Application Support/pip/pip.conf",
        "": "/etc/pip.conf",
    },
    "uv": {"win32": r"C:\ProgramData\uv\uv.toml", "": "/etc/uv/uv.toml"},
    "pdm": {
        "win32": r"C:\ProgramData\pdm\pdm\config.toml",
        "darwin": "/Library/Application Support/pdm/config.toml",
        "": "/etc/xdg/pdm/config.toml",
    },
    "r": {"": "the Rprofile.site of R"},
    "positron": {"": "Posit Workbench's settings of Positron for all users"},
}
_LINES: Mapping[str, Callable[[Index], tuple[str, ...]]] = {
    "pip": lambda index: ("[global]", f"index-url = {index.real_url}"),
    "uv": lambda index: ("[[index]]", f'url = "{index.real_url}"', "default = true"),
    "pdm": lambda index: ("[pypi]", f'url = "{index.real_url}"'),
    "r": lambda index: (f'options(repos = c(CRAN = "{index.real_repo_url}"))',),
    "positron": lambda index: (
        '"positron.r.defaultRepositories": "auto",',
        f'"positron.r.packageManagerRepository": "{index.real_repo_url}"',
    ),
}


def system_file(client: str, index: Index, platform: str) -> SystemFile | None:
    """The file of a client; None where it has none that names an index."""
    places = _PLACES.get(client)
    return SystemFile(places.get(platform, places[""]), _LINES[client](index)) if places else None
