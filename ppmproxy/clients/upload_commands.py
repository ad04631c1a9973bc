"""Where a command line says that it uploads to: some other host, or wherever the client does by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from ppmproxy.clients.local_urls import LocalUrls

_URL = re.compile(r"https?://[^\s'\"]+", re.IGNORECASE)
_CLIENTS = frozenset({"twine", "flit", "maturin", "hatch", "pdm", "uv"})
_ACTIONS = frozenset({"upload", "publish"})


def names_another_host(command: Sequence[str], urls: LocalUrls) -> bool:
    """Whether a command has URLs in it, and all of them lead elsewhere."""
    named = _URL.findall(" ".join(command))
    return bool(named) and not any(map(urls.is_local, named))


def is_plain_upload(command: Sequence[str], urls: LocalUrls) -> bool:
    """Whether a client is told to upload without a URL of the proxy's: to its default, or to what ``-r`` names."""
    words = " ".join(command).split()  # also of a command for `sh -c`
    names = {PurePath(word.strip("'\"")).name for word in words}
    return bool(names & _CLIENTS and names & _ACTIONS) and not any(map(urls.is_local, _URL.findall(" ".join(words))))
