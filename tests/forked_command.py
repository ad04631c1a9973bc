"""`ppmproxy …` in a process that is forked from one with all modules imported, which is faster than a new one.

It has an environment, folder, output and session of its own; only the imports ran in another environment.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path

from processes import ProgramResult, restore_signal_handlers

PRELOADED = ["ppmproxy.cli.main", "ppmproxy.cli.doctor.command", "ppmproxy.cli.exec"]
STANDARD = (0, 1, 2)


async def forked_ppmproxy(
    arguments: list[str], environ: Mapping[str, str], folder: Path, deadline=240.0
) -> ProgramResult:
    """Run one command with nobody at its standard input, as `processes.ended` does."""
    with tempfile.NamedTemporaryFile() as output:
        process = _context().Process(target=_run, args=(arguments, dict(environ), str(folder), output.name))
        started = time.monotonic()
        process.start()
        try:
            await asyncio.to_thread(process.join, deadline)
            said = Path(output.name).read_text("utf-8", "replace")
            assert process.exitcode is not None, f"{arguments[0]} did not end within {deadline:g} s; it said:\n{said}"
        finally:
            process.kill()
            process.join()
        return ProgramResult(process.exitcode, said, time.monotonic() - started)


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run(arguments: list[str], environ: Mapping[str, str], folder: str, output: str) -> None:
    os.setsid()
    restore_signal_handlers()
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_APPEND)
    for descriptor, source in zip(STANDARD, (nothing, written, written), strict=True):
        os.dup2(source, descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for descriptor, mode in zip(STANDARD, "rww", strict=True)
    )
    from ppmproxy.cli.main import main

    sys.exit(main(arguments))
