"""The note of `exec` on project files that its command has made name the proxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppmproxy.cli.lock_round_trip import CLOCK_LAG, LockFileError, Project
from ppmproxy.clients.file_rewriting import proxy_references
from ppmproxy.clients.index_url import local_origin
from ppmproxy.clients.project_files import project_files
from ppmproxy.config.model import Settings
from ppmproxy.errors import PpmProxyError
from ppmproxy.files import read

_MOST_NAMES = 5


def local_files_note(configured: Settings, serving: Settings, project: Project, began: int) -> str:
    """One line that names the files changed since `began` (nanoseconds) that name the proxy; "" when there is none."""
    names = [os.path.relpath(path, project.folder) for path in _changed_local_files(serving, project, began)]
    if not names:
        return ""
    origin = local_origin(serving)
    is_known = any(address.port == origin.port for address in configured.listen if hasattr(address, "port"))
    listen = "" if is_known else f" --listen {origin.host}:{origin.port}"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    verb = "names" if len(names) == 1 else "name"
    return f"{', '.join(names[:_MOST_NAMES])}{more} now {verb} the proxy; to undo that: ppmproxy lock canonical{listen}"


def _changed_local_files(settings: Settings, project: Project, began: int) -> Iterator[Path]:
    for path in project_files(project.folder, project.owners, changed_since=began - CLOCK_LAG).paths:
        try:
            data = read(path, LockFileError).data or b""
        except (OSError, PpmProxyError):  # gone, or not readable: no part of what the command has made
            continue
        if any(proxy_references(path, data, settings)):
            yield path
