"""The page's part with the checks of `ppmproxy doctor`, run by the daemon when a person asks for them.

The checks belong to a command, which hands them in (`Wiring.diagnose`). The daemon sees the settings of clients in the
home of its user, and neither the variables of a person's shell nor its current folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Settings
from ppmproxy.server.admin.markup import Html, joined, markup, prose
from ppmproxy.server.set_up_checks import OK, WARNING, CheckedFact, CheckRequest, Diagnose


@dataclass(slots=True)
class Diagnosis:
    """Runs the checks; who asks while they run gets the same result."""

    diagnose: Diagnose
    _running: asyncio.Task[Sequence[CheckedFact]] | None = field(default=None, init=False)

    async def facts(self, settings: Settings, redactor: Redactor) -> Sequence[CheckedFact]:
        """The result of all checks."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self.diagnose(settings, redactor, CheckRequest()))
        return await asyncio.shield(self._running)

    async def close(self) -> None:
        """Cancel checks that are running."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})


_FACT = '<li class="{kind}"><p><code>{check}</code> {what}</p><p class="fix">{fix}</p></li>'
_PASSED = "<details><summary>{count} checks passed</summary><ul>{items}</ul></details>"


def diagnosis_part(facts: Sequence[CheckedFact]) -> Html:
    """What is wrong with its fix, and behind it what is right."""
    wrong = [fact for fact in facts if fact.outcome != OK]
    right = [fact for fact in facts if fact.outcome == OK]
    listed = joined(
        markup(
            _FACT,
            kind="warning" if fact.outcome == WARNING else "bad",
            check=fact.check,
            what=prose(fact.what),
            fix=prose(fact.fix),
        )
        for fact in wrong
    )
    passed = joined(
        markup("<li><code>{check}</code> {what}</li>", check=one.check, what=prose(one.what)) for one in right
    )
    found = markup('<ul class="findings">{listed}</ul>', listed=listed) if wrong else markup("<p>Nothing is wrong.</p>")
    return joined([found, markup(_PASSED, count=len(right), items=passed)])
