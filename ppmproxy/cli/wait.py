"""`ppmproxy wait`: return when the daemon is ready, or at least alive.

To change what a start-up script or a health check waits for, open this file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from ppmproxy.access.daemon_identity import Verdict
from ppmproxy.access.discovery import daemon_urls, get, verdict_on
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cli.context import Context, load_config
from ppmproxy.config.values import MAX_DURATION, seconds_of
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError, one_line, shortened

PAUSE = 0.1  # seconds between two looks
WELL = 200
WORDS = {"ready": "ready", "live": "alive", "startup": "started"}  # what each page is about
LONGEST_REASON = 300  # characters


class NotReadyError(PpmProxyError):
    """Nobody was ready in time."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What for, and how long."""
    what = "ready (default): it would take requests; startup: it listens; live: it answers. For health checks"
    parser.add_argument("--for", dest="page", choices=WORDS, default="ready", help=what)
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="S", help="seconds to wait (default: 30)")


def _seconds(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds > MAX_DURATION:
        raise argparse.ArgumentTypeError('it takes a number of seconds, or a time like "500ms" or "2m", up to 24h')
    return seconds


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Exit code 0 as soon as the daemon is ready, 1 when it is not in time."""
    urls = daemon_urls(load_config(arguments, context).settings)
    if not urls:
        raise ConfigError("the daemon listens on no known port", "set one in listen: 127.0.0.1:7760")
    folders = runtime_folders(context.environment)
    deadline = time.monotonic() + arguments.timeout
    while True:
        why, remedy = _why_not(urls[0], arguments.page, folders)
        if not why:
            return EXIT_OK
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{urls[0]} is not {WORDS[arguments.page]}: {why}", remedy)
        time.sleep(PAUSE)


def _why_not(url: str, page: str, folders: Sequence[Path]) -> tuple[str, str]:
    """Why the daemon at a URL is not what is waited for, and what to do; "" when it is.

    Whoever is no ppmproxy is not asked.
    """
    verdict = verdict_on(url, folders)
    if verdict not in {Verdict.OURS, Verdict.UNPROVEN}:
        return verdict.value, verdict.remedy
    code, said = get(url, f"/-/{page}")
    why = "" if code == WELL else shortened(one_line(said), LONGEST_REASON) or "it does not say why"
    return why, "see `ppmproxy status`, and look at its log"
