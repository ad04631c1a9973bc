"""`ppmproxy wait`: return when the daemon is ready.

To change what a start-up script or a health check waits for, open this file.
"""

from __future__ import annotations

import argparse
import time

from ppmproxy.command import Around, effective
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError, PpmProxyError
from ppmproxy.identity_proof import Verdict, is_ours
from ppmproxy.running_daemon import get, local_urls
from ppmproxy.runtime_folder import runtime_folders

PAUSE = 0.1  # seconds between two looks
READY = 200


class NotReadyError(PpmProxyError):
    """Nobody was ready in time."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long to wait."""
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds to wait (default: 30)")


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Exit code 0 as soon as the daemon is ready, 1 when it is not in time."""
    urls = local_urls(effective(arguments, around).settings)
    if not urls:
        raise ConfigError("the daemon listens on no known TCP port", "set a port in listen: 127.0.0.1:7760")
    folders = runtime_folders(around.environ, around.home)
    deadline = time.monotonic() + arguments.timeout
    while True:
        code, said = get(urls[0], "/-/ready")
        if code == READY and is_ours(urls[0], folders) is not Verdict.STRANGER:
            return EXIT_OK
        if time.monotonic() >= deadline:
            why = said.strip() if code else "nobody listens there"
            raise NotReadyError(f"{urls[0]} is not ready: {why}", "start it with `ppmproxy run`, or look at its log")
        time.sleep(PAUSE)
