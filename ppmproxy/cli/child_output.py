"""Exit code and output of a child process, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence


async def child_output(command: Sequence[str], environ: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    """Exit code, and stdout with stderr; `TimeoutError`. The process has ended afterwards."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output
