"""The local paths that no mount has: the proxy's own pages, and files of other hosts."""

from __future__ import annotations

from ppmproxy.auth.origin import Origin

OWN_PREFIX = "/-/"
FILES_PREFIX = "/-/files/"


def host_segment(origin: Origin) -> str:
    """The segment of a local path that names a host of ``file_hosts``."""
    return origin.netloc if origin.scheme == "https" else f"{origin.scheme}+{origin.netloc}"
