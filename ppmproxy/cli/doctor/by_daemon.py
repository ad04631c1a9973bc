"""The checks of the Package Managers as the running daemon makes them: with its settings, credentials and network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ppmproxy.access.daemon_identity import verify_daemon
from ppmproxy.access.identity_key import DOCTOR
from ppmproxy.access.local_request import NotUnderstoodError
from ppmproxy.cli.doctor.checks import CheckResult, Outcome
from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT
from ppmproxy.config.model import DEFAULT_REPO

DEADLINE = 45.0  # seconds; the daemon takes 30 at most
LARGEST = 1 << 20  # bytes
_DONE = 200


def checks_by_daemon(
    url: str, folders: Sequence[Path], repo: str = DEFAULT_REPO, snapshot: str = DEFAULT_SNAPSHOT
) -> list[CheckResult] | None:
    """The daemon's own results; None where it gives none, as one of an earlier version."""
    wanted = urlencode({"repo": repo, "snapshot": snapshot})
    with verify_daemon(url, folders, DEADLINE) as made:
        try:
            status, body = made.answer_to_post(f"{DOCTOR}?{wanted}", LARGEST)
            return [_result(one) for one in json.loads(body)] if status == _DONE else None
        except (OSError, NotUnderstoodError, ValueError, KeyError, TypeError):
            return None


def _result(fact: dict[str, Any]) -> CheckResult:
    return CheckResult(str(fact["check"]), Outcome(fact["outcome"]), str(fact["what"]), str(fact["fix"]))
