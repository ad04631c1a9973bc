"""A blind tunnel of `exec --intercept` beside nginx's stream module: a large file, over plain TCP on both sides."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import seconds_to_stream
from tests.benchmarks.content import LARGE_SIZE
from tests.benchmarks.ground import HOST, CannotMeasureError, Ground, free_port, nginx, stream_nginx
from tests.benchmarks.observed import Observed

ROUNDS = 7
SHOWS_THE_PROXY = "import os, sys; print(os.environ['HTTPS_PROXY'], flush=True); sys.stdin.read()"


def throughput(ground: Ground) -> Figure:
    """The tunnel's throughput as a share of nginx's: the median over rounds in which each carries the file once."""
    folder, source, other = ground.folder / f"tunnel-{free_port()}", free_port(), free_port()
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(nginx(folder / "source", source, f"sendfile on; root {ground.folder}/content;"))
        theirs = stack.enter_context(stream_nginx(folder / "stream", other, f"{HOST}:{source}"))
        port, connect, ours = stack.enter_context(_connect_proxy(ground, source))
        ways = [(other, "", theirs.process), (port, connect, ours)]
        for way in ways:
            _carried(*way)
        rounds = [[_carried(*way) for way in ways] for _ in range(ROUNDS)]
    ratio = median(their_time / our_time for (their_time, _), (our_time, _) in rounds)
    return Figure(ratio, "; ".join(map(_summary, ("nginx", "ppmproxy"), zip(*rounds, strict=True))))


@contextlib.contextmanager
def _connect_proxy(ground: Ground, target: int) -> Iterator[tuple[int, str, Observed]]:
    """The CONNECT proxy of a command that goes on: its port, a request for a tunnel to `target`, and its process."""
    command = [sys.executable, "-m", "ppmproxy", "exec", "--intercept", "--", sys.executable, "-c", SHOWS_THE_PROXY]
    environ = {**ground.proxy.environ, "PPMPROXY_LISTEN": f"{HOST}:{ground.proxy.port}"}
    environ = {name: value for name, value in environ.items() if not name.upper().endswith("_PROXY")}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        url = urlsplit(running.stdout.readline().strip())
        if url.port is None:
            raise CannotMeasureError("ppmproxy exec --intercept did not start")
        proof = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        connect = f"CONNECT {HOST}:{target} HTTP/1.1\r\nProxy-Authorization: Basic {proof}\r\n\r\n"
        yield url.port, connect, Observed(running.pid)
        running.stdin.close()


def _carried(port: int, tunnel: str, process: Observed) -> tuple[float, float]:
    """Seconds by the clock, and of the proxy's CPU."""
    before = process.cpu
    seconds = seconds_to_stream(port, tunnel)
    return seconds, process.cpu - before


def _summary(name: str, rounds: tuple[tuple[float, float], ...]) -> str:
    speed = LARGE_SIZE / 1e6 / median(seconds for seconds, _ in rounds)
    cpu = median(cpu for _, cpu in rounds) / LARGE_SIZE * 1e9
    return f"{name} {speed:.0f} MB/s, {cpu:.2f} s CPU/GB"
