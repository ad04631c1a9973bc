"""The local URL of an index: address, mount, repository and snapshot.

The URL ends up in lock files and keys the clients' caches, so there is one spelling of it. The host is the loopback
address as a number, because ``localhost`` may resolve to ``::1``, where another user may listen.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ppmproxy.auth.origin import Origin
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import DEFAULT_REPO, Settings, Upstream
from ppmproxy.errors import ConfigError, UsageError

DEFAULT_R_REPO = "cran"
DEFAULT_SNAPSHOT = "latest"

# Characters without a meaning in shells, TOML, R and JSON, where the URL is written.
_SEGMENT = re.compile(r"[A-Za-z0-9_~+=-][A-Za-z0-9._~+=-]*")

_OF_INDEXES = {"simple", "+simple"}  # a segment of the path of every server's indexes (PEP 503); the second is devpi's


@dataclass(frozen=True, slots=True)
class Index:
    """One repository and snapshot of an upstream, under the proxy's URL."""

    origin: Origin  # of the proxy
    upstream: Upstream
    repo: str
    snapshot: str

    @property
    def simple_url(self) -> str:
        """The URL of the Python index, with a slash at the end: clients compare it with that."""
        return f"{self.repo_url}/simple/"

    @property
    def real_url(self) -> str:
        """The same index at the Package Manager itself."""
        return f"{self.real_repo_url}/simple/"

    @property
    def real_repo_url(self) -> str:
        """The URL of the repository at the Package Manager itself, as R uses it."""
        return f"{self.upstream.url}/{self.repo}/{self.snapshot}"

    @property
    def repo_url(self) -> str:
        """The URL of the repository, as R uses it, without a slash at the end."""
        return f"{self.origin}{self.upstream.mount_prefix}/{self.repo}/{self.snapshot}"


def is_index_url(url: str) -> bool:
    """Whether a URL may be that of a Python index: one with ``simple`` in its path, or with a variable in it."""
    path = re.split("[?#]", url, maxsplit=1)[0]
    return "${" in url or not _OF_INDEXES.isdisjoint(path.split("/"))


def add_r_flag(parser: argparse.ArgumentParser) -> None:
    """``--r-repo``."""
    parser.add_argument(
        "--r-repo",
        metavar="NAME",
        default="",
        help="repository for R, renv and pak, instead of those in renv.lock (default: none)",
    )


def add_index_flags(parser: argparse.ArgumentParser, default_repo: str = DEFAULT_REPO) -> None:
    """``--repo`` and ``--snapshot``."""
    parser.add_argument(
        "--repo",
        metavar="NAME",
        help=f"repository of the Package Manager, or UPSTREAM/NAME with several upstreams (default: {default_repo})",
    )
    parser.add_argument(
        "--snapshot",
        metavar="DATE",
        default=DEFAULT_SNAPSHOT,
        help=f"snapshot of the repository, as YYYY-MM-DD (default: {DEFAULT_SNAPSHOT})",
    )


def is_named(arguments: argparse.Namespace) -> bool:
    """Whether ``--repo`` or ``--snapshot`` names an index, which then goes before one that a client has already."""
    return bool(arguments.repo) or arguments.snapshot != DEFAULT_SNAPSHOT


def chosen_index(settings: Settings, repo: str, snapshot: str) -> Index:
    """The index of a repository and snapshot; `UsageError`, `ConfigError`."""
    upstream, name = _upstream_and_repo(settings.upstreams, repo)
    for what, text in (("--repo", name), ("--snapshot", snapshot)):
        if not all(_SEGMENT.fullmatch(segment) for segment in text.split("/")):
            raise UsageError(
                f"{what} {text[:40]!r} is not a name in a URL", "write it as in the Package Manager's URLs"
            )
    return Index(local_origin(settings), upstream, name, snapshot)


def chosen_r_index(settings: Settings, arguments: argparse.Namespace) -> Index | None:
    """The repository of ``--r-repo``, and the snapshot; None without it. `UsageError`, `ConfigError`."""
    return chosen_index(settings, arguments.r_repo, arguments.snapshot) if arguments.r_repo else None


def local_origin(settings: Settings) -> Origin:
    """The proxy's origin for clients on this machine, from its first loopback address; `ConfigError` without one."""
    tcp = [address for address in settings.listen if isinstance(address, TcpAddress)]
    address = next((address for address in tcp if address.is_loopback), tcp[0] if tcp else None)
    if address is None:
        what = "the proxy listens on a Unix socket only, and package installers need a TCP address"
        raise ConfigError(what, 'add "127.0.0.1:7760" to listen in the settings')
    if address.port == 0:
        raise ConfigError(
            "the proxy listens on any free port, so its URL is unknown", "set a port in listen, as in 127.0.0.1:7760"
        )
    host = address.for_clients.host
    return Origin("http", "127.0.0.1" if host == "localhost" else host, address.port)


def _upstream_and_repo(upstreams: Sequence[Upstream], repo: str) -> tuple[Upstream, str]:
    by_name = {upstream.name: upstream for upstream in upstreams}
    first, slash, rest = repo.partition("/")
    if slash and first in by_name:
        return by_name[first], rest
    return by_name.get(Upstream().name, upstreams[0]), repo
