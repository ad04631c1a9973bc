"""Programs that tests run: each has a deadline, and none outlives its test."""

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

START_DEADLINE = 60.0  # seconds until a server has to listen, on a machine that is busy
STOP_DEADLINE = 60.0  # seconds until it has to have ended after SIGTERM; requests under way get 20 of them
OUTPUT_DEADLINE = 10.0  # seconds for the last of its output; what it has started may keep that open
PROGRAM_DEADLINE = 120.0  # seconds for a program of a few seconds
LONGEST_LINE = 1 << 24  # bytes; a traceback is one line of the log


def restore_signal_handlers() -> None:
    """Restore the handlers of signals that this process inherited as ignored, for itself and its children.

    A shell ignores SIGINT in what it starts in the background, `nohup` SIGHUP.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@dataclass(frozen=True)
class ProgramResult:
    """Exit code and output of a program, and how long it ran."""

    code: int
    output: str
    seconds: float


def plain_environment(home: Path, **more: str) -> dict[str, str]:
    """The few variables that a program needs: no configuration of this machine, no certificate, no proxy, no cache."""
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return (
        environ
        | {"PPMPROXY_CACHE": "false", "HOME": str(home), "TMPDIR": str(home), "NO_PROXY": "localhost,127.0.0.1,::1"}
        | more
    )


async def run_program(
    command: list[str | Path], environ: Mapping[str, str], folder: Path, deadline: float = PROGRAM_DEADLINE
) -> ProgramResult:
    """Run a program without standard input; one that exceeds its deadline is killed, and fails the test."""
    clock = asyncio.get_running_loop().time
    started = clock()
    with tempfile.TemporaryFile() as output:  # a pipe would have to be read meanwhile
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # no terminal to prompt on; and its children can be killed with it
        )
        try:
            await asyncio.wait_for(process.wait(), deadline)
        except asyncio.TimeoutError:
            said = _text(output)
            raise AssertionError(f"{command[0]} did not end within {deadline:g} s; its output:\n{said}") from None
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
    """A program that runs until its test ends, with its output so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    has_been_read: asyncio.Event = field(default_factory=asyncio.Event)  # which may come after the news of its exit

    @property
    def log(self) -> str:
        return "".join(self.lines)

    async def line_with(self, words: str) -> str:
        """The first line with these words, as soon as it is there; fails when the output ends without one."""
        at = 0
        while True:
            for line in self.lines[at:]:
                if words in line:
                    return line
            at = len(self.lines)
            assert not self.has_been_read.is_set(), f"it ended without a line with {words!r}:\n{self.log}"
            await asyncio.sleep(0.01)

    async def read(self) -> None:
        assert self.process.stdout is not None
        try:
            while line := await self.process.stdout.readline():
                self.lines.append(line.decode("utf-8", "replace"))
        finally:
            self.has_been_read.set()

    async def stop(self) -> int:
        """End it with SIGTERM, as a service manager does; returns its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            code = await asyncio.wait_for(self.process.wait(), STOP_DEADLINE)
        except asyncio.TimeoutError:
            raise AssertionError(f"it did not end within {STOP_DEADLINE:g} s of SIGTERM:\n{self.log}") from None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.has_been_read.wait(), OUTPUT_DEADLINE)
        return code


@contextlib.asynccontextmanager
async def running_server(
    command: list[str | Path],
    environ: Mapping[str, str],
    folder: Path,
    pass_fds: tuple[int, ...] = (),
    *,
    stdin: bool = False,
) -> AsyncIterator[ServerProcess]:
    """A server program, with `stdin` or without; SIGTERM ends it, and if that does not, SIGKILL and a failure."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=pass_fds,
        limit=LONGEST_LINE,
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
        """The index URL that clients are configured with."""
        return f"{self.url}/pypi/latest/simple/"


@contextlib.asynccontextmanager
async def ppmproxy_run(
    folder: Path, *, command: tuple[str | Path, ...] = (), **environ: str
) -> AsyncIterator[RunningProxy]:
    """`ppmproxy run` on a free port of both families, configured by its environment alone; its exit code must be 0.

    `command` is a program that starts it, such as `strace`.
    """
    home = folder / "home-of-the-proxy"
    home.mkdir()
    settings = plain_environment(home, PPMPROXY_LISTEN="127.0.0.1:0,[::1]:0") | environ
    run = [*command, sys.executable, "-m", "ppmproxy", "run"]
    async with running_server(run, settings, home) as server:
        line = await asyncio.wait_for(server.line_with('"event": "daemon_listening"'), START_DEADLINE)
        yield RunningProxy(server, json.loads(line)["urls"][0])
    assert server.process.returncode == 0, f"its exit code is not 0:\n{server.log}"
