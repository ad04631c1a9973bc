"""The checks of `ppmproxy doctor`, as the daemon runs them for its page and for the command; they are handed in."""

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


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """Which checks are wanted: all of them, or those of the Package Managers, and the index on which a token is tried.

    An empty repository or snapshot is the default one.
    """

    repo: str = ""
    snapshot: str = ""
    only_upstreams: bool = False


Diagnose = Callable[[Settings, Redactor, CheckRequest], Awaitable[Sequence[CheckedFact]]]
