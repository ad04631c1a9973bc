"""`ppmproxy doctor`: checks, each with its fix.

To add a check, open this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from ppmproxy.canary import Outcome, fly
from ppmproxy.command import Around, effective
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which check, and for whom."""
    parser.add_argument(
        "--canary",
        action="store_true",
        help="send a made-up token through this set-up, and look for it everywhere it must not be",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Print the outcome; exit code 1 when a check failed."""
    if not arguments.canary:
        raise UsageError("doctor: which check?", "run `ppmproxy doctor --canary`")
    outcome = asyncio.run(fly(effective(arguments, around).settings))
    around.say(json.dumps(_document(outcome)) if arguments.json else "\n".join(_lines(outcome)))
    return EXIT_OK if outcome.is_clean else EXIT_CHECK_FAILED


def _document(outcome: Outcome) -> dict[str, object]:
    return {"canary": {"ok": outcome.is_clean, "arrived": outcome.arrived, "leaks": list(outcome.leaks)}}


def _lines(outcome: Outcome) -> list[str]:
    if not outcome.arrived:
        return ["canary: the made-up token did not arrive at the stand-in", "  see what `ppmproxy demo` says"]
    if outcome.leaks:
        seen = [f"  seen in: {place}" for place in outcome.leaks]
        return ["canary: the token LEAKED; stop using this set-up, and report it as SECURITY.md says", *seen]
    return ["canary: ok; the made-up token reached the Package Manager and was seen nowhere else"]
