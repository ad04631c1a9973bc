"""Commands that a person waits for: how long they take, beside the smallest program there is."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import HOST, Ground, free_port

ROUNDS = 11

PPMPROXY = (sys.executable, "-m", "ppmproxy")
SMALLEST = (sys.executable, "-c", "pass")
NOTHING = ("true",)


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of CPU, of one run of a program and all that it started."""

    wall: float
    cpu: float


def ratio_of_env(ground: Ground) -> Figure:
    """The CPU time of `ppmproxy env` as a multiple of that of `python -c pass`."""
    smallest, ours = _side_by_side((SMALLEST, (*PPMPROXY, "env")), _beside_the_proxy(ground))
    return Figure(ours.cpu / smallest.cpu, f"{smallest.cpu:.3f} s and {ours.cpu:.3f} s CPU")


def seconds_of_env(ground: Ground) -> Figure:
    """Seconds from the start of `ppmproxy env` until it has ended."""
    smallest, ours = _side_by_side((SMALLEST, (*PPMPROXY, "env")), _beside_the_proxy(ground))
    return Figure(ours.wall, f"{ours.cpu:.2f} s CPU; python -c pass {smallest.wall:.2f} s")


def added_by_exec_alone(ground: Ground) -> Figure:
    """Seconds that `ppmproxy exec` adds to a command when it starts a proxy of its own."""
    home = ground.folder / "home-of-exec"
    home.mkdir(exist_ok=True)
    environ = {**ground.proxy.environ, "HOME": str(home), "PPMPROXY_LISTEN": f"{HOST}:{free_port()}"}
    return _added_by_exec(environ)


def added_by_exec_beside_a_daemon(ground: Ground) -> Figure:
    """Seconds that `ppmproxy exec` adds to a command when a proxy is running."""
    return _added_by_exec(_beside_the_proxy(ground))


def _beside_the_proxy(ground: Ground) -> Mapping[str, str]:
    """The environment of the running proxy, with the port that it has got."""
    return {**ground.proxy.environ, "PPMPROXY_LISTEN": f"{HOST}:{ground.proxy.port}"}


def _added_by_exec(environ: Mapping[str, str]) -> Figure:
    alone, through = _side_by_side((NOTHING, (*PPMPROXY, "exec", "--", *NOTHING)), environ)
    return Figure(through.wall - alone.wall, f"{through.cpu - alone.cpu:.2f} s CPU")


def _side_by_side(commands: Sequence[Sequence[str]], environ: Mapping[str, str]) -> list[Cost]:
    """What each command costs at the median, in turns, so that whatever else goes on is the same for all."""
    rounds = [[_cost(command, environ) for command in commands] for _ in range(ROUNDS)]
    return [
        Cost(median(one.wall for one in each), median(one.cpu for one in each)) for each in zip(*rounds, strict=True)
    ]


def _cost(command: Sequence[str], environ: Mapping[str, str]) -> Cost:
    before, started = _cpu_of_children(), time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return Cost(time.perf_counter() - started, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
