"""What a service that has just been started can serve: the Package Manager answers, and there is a token."""

from __future__ import annotations

from collections.abc import Iterator

from ppmproxy.access.discovery import daemon_urls
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.doctor.by_daemon import checks_by_daemon
from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.service.service_command import ServiceCommand
from ppmproxy.config.model import Settings

_ALWAYS_TOLD = ("upstream", "token")  # of the others, faults


def served_lines(command: ServiceCommand, settings: Settings) -> Iterator[str]:
    """The outcome of the checks that the running service makes, faults with their fix."""
    urls = daemon_urls(settings)
    results = checks_by_daemon(urls[0], runtime_folders(command.context.environment)) if urls else None
    if results is None:
        yield "whether it has a token, and an upstream that answers, is not known: ppmproxy doctor"
    for result in results or ():
        if result.outcome is not Outcome.OK or result.check in _ALWAYS_TOLD:
            yield from result.lines()
