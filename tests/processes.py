"""Other programs that a test runs: each has a deadline and none outlives its test.

To change how a program is started, watched or ended, open this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

START_DEADLINE = 30.0  # seconds until a server has to listen, on a machine that is busy
STOP_DEADLINE = 15.0  # seconds until it has to have ended after SIGTERM


def restore_signal_handlers() -> None:
    """Heed what whoever started this process may have had ignored, and have its children heed it.

    That is Ctrl-C for what a shell starts in the background, and SIGHUP for what `nohup` starts; it is inherited.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended, and everything it said."""

    code: int
    output: str
    seconds: float


def plain_environment(home: Path, **more: str) -> dict[str, str]:
    """The little a program needs: nothing of this machine's configuration, no certificate and no forward proxy."""
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return environ | {"HOME": str(home), "TMPDIR": str(home), "NO_PROXY": "localhost,127.0.0.1,::1"} | more


async def run_program(
    command: list[str | Path], environ: Mapping[str, str], folder: Path, deadline: float = 60.0
) -> ProgramResult:
    """Run a program with nobody at its standard input; one that exceeds its deadline is ended, and fails the test."""
    clock = asyncio.get_running_loop().time
    started = clock()
    with tempfile.TemporaryFile() as output:  # a pipe would have to be read all the while
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # no terminal to ask on; and its children can be ended with it
        )
        try:
            await asyncio.wait_for(process.wait(), deadline)
        except asyncio.TimeoutError:
            said = _text(output)
            raise AssertionError(f"{command[0]} did not end within {deadline:g} s; it said:\n{said}") from None
        finally:
            await _end_group(process)
        return ProgramResult(process.returncode, _text(output), clock() - started)


def _text(output) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")


async def _end_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@dataclass
class ServerProcess:
    """A program that runs until its test ends, with what it has said so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    async def line_with(self, words: str) -> str:
        """The first line that has these words, as soon as it is there; fails when the program ends before."""
        at = 0
        while True:
            for line in self.lines[at:]:
                if words in line:
                    return line
            at = len(self.lines)
            assert self.process.returncode is None, f"it ended without saying {words!r}:\n{self.log}"
            await asyncio.sleep(0.01)

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode("utf-8", "replace"))

    async def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            return await asyncio.wait_for(self.process.wait(), STOP_DEADLINE)
        except asyncio.TimeoutError:
            raise AssertionError(f"it did not end within {STOP_DEADLINE:g} s of SIGTERM:\n{self.log}") from None


@contextlib.asynccontextmanager
async def running_server(
    command: list[str | Path], environ: Mapping[str, str], folder: Path, pass_fds: tuple[int, ...] = ()
) -> AsyncIterator[ServerProcess]:
    """A server program; SIGTERM ends it, and if that does not, SIGKILL and a failure."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=pass_fds,
    )
    server = ServerProcess(process)
    reading = asyncio.create_task(server.read())
    try:
        yield server
        await server.stop()
    finally:
        await _end_group(process)
        await asyncio.wait_for(reading, STOP_DEADLINE)


@dataclass(frozen=True)
class RunningProxy:
    """`ppmproxy run`, ready."""

    server: ServerProcess
    url: str  # without a trailing slash

    @property
    def log(self) -> str:
        return self.server.log

    @property
    def index_url(self) -> str:
        """What a client is configured with."""
        return f"{self.url}/pypi/latest/simple/"


@contextlib.asynccontextmanager
async def ppmproxy_run(
    folder: Path, *, command: tuple[str | Path, ...] = (), **environ: str
) -> AsyncIterator[RunningProxy]:
    """`ppmproxy run` on a free port of both families, configured by its environment alone; it must end in order.

    `command` is what it is started through.
    """
    home = folder / "home-of-the-proxy"
    home.mkdir()
    settings = plain_environment(home, PPMPROXY_LISTEN="127.0.0.1:0,[::1]:0") | environ
    run = [*command, sys.executable, "-m", "ppmproxy", "run"]
    async with running_server(run, settings, home) as server:
        line = await asyncio.wait_for(server.line_with('"event": "listening"'), START_DEADLINE)
        yield RunningProxy(server, json.loads(line)["urls"][0])
    assert server.process.returncode == 0, f"it did not end in order:\n{server.log}"
