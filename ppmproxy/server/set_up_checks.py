"""The outcome of the checks of `ppmproxy doctor`, as the daemon's page offers them; the checks are handed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Settings

OK, WARNING = "ok", "warning"


@dataclass(frozen=True, slots=True)
class CheckedFact:
    """The outcome of one check: ok, warning or failed."""

    check: str
    outcome: str
    what: str
    fix: str


Diagnose = Callable[[Settings, Redactor], Awaitable[Sequence[CheckedFact]]]
