"""The checks of `doctor` as the daemon runs them, for its page and for the command: on its own event loop.

The log and the redactor are the daemon's. For the page all checks are run, for the command those of the upstreams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli.doctor.checks import CheckResult, crashed, failed_by
from ppmproxy.cli.doctor.command import machine_checks
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.cli.doctor.subject import subject_of
from ppmproxy.cli.doctor.upstream import UpstreamCheckContext, index_to_try, upstream_checks
from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT
from ppmproxy.config.model import DEFAULT_REPO, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError
from ppmproxy.server.set_up_checks import CheckedFact, CheckRequest


async def checked_facts(
    settings: Settings, environment: Environment, redactor: Redactor, asked: CheckRequest
) -> Sequence[CheckedFact]:
    """The outcome of the checks, without secrets; a check that cannot be made is one that failed."""
    try:
        results = await _results(settings, environment, redactor, asked)
    except PpmProxyError as error:
        results = [failed_by("settings", error)]
    except Exception as error:  # noqa: BLE001 - for the person who asked
        results = [crashed("upstream", error)]
    return tuple(_fact(result.without_secrets(redactor.text)) for result in results)


async def _results(
    settings: Settings, environment: Environment, redactor: Redactor, asked: CheckRequest
) -> list[CheckResult]:
    index = index_to_try(settings, asked.repo or DEFAULT_REPO, asked.snapshot or DEFAULT_SNAPSHOT)
    examined = UpstreamCheckContext(settings, index, environment, redactor)
    if asked.only_upstreams:
        here = []
    else:
        here = await asyncio.to_thread(_on_this_machine, settings, replace(environment, cwd=environment.home))
    there = await upstream_checks(examined)
    return [*here, *there, *await shared_cache_checks(settings, environment.environ)]


def _on_this_machine(settings: Settings, environment: Environment) -> list[CheckResult]:
    subject = subject_of(settings, runtime_folders(environment))
    held = replace(settings, listen=subject.settings.listen)  # the ports that any free one became
    return list(machine_checks(replace(subject, settings=held), environment))


def _fact(result: CheckResult) -> CheckedFact:
    return CheckedFact(result.check, result.outcome.value, result.what, result.fix)
