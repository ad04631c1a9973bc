"""The checks of `doctor` for the daemon's page: on the daemon's own event loop, and with its log and its redactor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli.doctor.checks import CheckResult, failed_by
from ppmproxy.cli.doctor.command import machine_checks
from ppmproxy.cli.doctor.local import DoctorContext
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.cli.doctor.upstream import UpstreamCheckContext, upstream_checks
from ppmproxy.clients.index_url import DEFAULT_SNAPSHOT, chosen_index
from ppmproxy.config.model import DEFAULT_REPO, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError
from ppmproxy.server.set_up_checks import CheckedFact


async def checked_facts(settings: Settings, environment: Environment, redactor: Redactor) -> Sequence[CheckedFact]:
    """The outcome of all checks, without secrets; a check that cannot be made is one that failed."""
    try:
        results = await _results(settings, environment, redactor)
    except PpmProxyError as error:
        results = [failed_by("settings", error)]
    return tuple(_fact(result.without_secrets(redactor.text)) for result in results)


async def _results(settings: Settings, environment: Environment, redactor: Redactor) -> list[CheckResult]:
    index = chosen_index(settings, DEFAULT_REPO, DEFAULT_SNAPSHOT)
    folders = runtime_folders(environment)
    local = DoctorContext(settings, folders, environment, environment.home)
    here = await asyncio.to_thread(lambda: list(machine_checks(local, index)))
    there = await upstream_checks(UpstreamCheckContext(settings, index, environment, redactor))
    shared = await shared_cache_checks(settings, environment.environ)
    return [*here, *shared, *there]


def _fact(result: CheckResult) -> CheckedFact:
    return CheckedFact(result.check, result.outcome.value, result.what, result.fix)
