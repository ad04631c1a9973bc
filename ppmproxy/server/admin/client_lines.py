"""The lines that point each client at this daemon, to be pasted; `ppmproxy configure` writes the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppmproxy.config.model import DEFAULT_REPO, Upstream


@dataclass(frozen=True, slots=True)
class ClientLines:
    """What to paste for one client, and where."""

    client: str
    where: str
    lines: str


def local_url(urls: Sequence[str]) -> str:
    """The daemon's address as clients write it, without a slash at the end; "" where it has no TCP address.

    One spelling: it ends up in lock files, and keys the clients' caches.
    """
    by_tcp = [url for url in urls if url.startswith("http://")]
    return next((url for url in by_tcp if "//127.0.0.1" in url), by_tcp[0] if by_tcp else "")


def client_lines(url: str, upstream: Upstream) -> tuple[ClientLines, ...]:
    """The lines for every client, for the default repository of an upstream."""
    base = url + upstream.mount_prefix
    index = f"{base}/{DEFAULT_REPO}/latest/simple/"
    host = url.removeprefix("http://").rpartition(":")[0]
    return (
        ClientLines("All of them", "in a shell, for this session", 'eval "$(ppmproxy env)"'),
        ClientLines(
            "pip",
            "in a shell, once",
            f"pip config set global.index-url {index}\npip config set global.trusted-host {host}",
        ),
        ClientLines("uv", "in ~/.config/uv/uv.toml", f'[[index]]\nurl = "{index}"\ndefault = true'),
        ClientLines("uv, pip", "in requirements.txt, as the first line", f"-i {index}"),
        ClientLines("Poetry", "in a shell, in the project", f"poetry source add --priority=primary ppm {index}"),
        ClientLines("PDM", "in a shell, once", f"pdm config pypi.url {index}"),
        ClientLines("R", "in ~/.Rprofile", f'options(repos = c(CRAN = "{base}/cran/latest"))'),
        ClientLines("One command", "in a shell; changes nothing", "ppmproxy exec -- pip install PACKAGE"),
    )
