"""The unified diff that ``--dry-run`` prints, with passwords in URLs masked."""

from __future__ import annotations

import difflib
from pathlib import Path

from ppmproxy.auth.redaction import without_user_info
from ppmproxy.clients.editing.apply import lines_of

_NOWHERE = "/dev/null"


def shown_change(path: Path, before: bytes | None, after: bytes | None) -> str:
    """The diff of a file, "" when nothing changes; None means no file."""
    diff = difflib.unified_diff(
        _lines(before),
        _lines(after),
        _NOWHERE if before is None else str(path),
        _NOWHERE if after is None else str(path),
    )
    return "".join(diff).rstrip("\n")


def _lines(data: bytes | None) -> list[str]:
    text = (data or b"").decode("utf-8", "replace").replace("\r\n", "\n")
    lines = lines_of(without_user_info(text))
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ No newline at end of file\n"
    return lines
