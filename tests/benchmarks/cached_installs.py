"""Installs through the cache beside direct ones: real pip and uv without anything cached, an upstream 40 ms away."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import HOST, CannotMeasureError, Ground, free_port

ROUNDS = 5
DELAY = 0.02  # seconds each way
PACKAGES = {"uv": 35, "pip": 10}
_PPMPROXY = (sys.executable, "-m", "ppmproxy")


@dataclass(frozen=True)
class Distant:
    """The running index, and a folder for what is installed from it."""

    url: str
    token: str
    ca_file: str
    folder: Path


def ratio(client: str, way: str) -> Callable[[Ground], Figure]:
    """Measures an install through a cold or warm cache as a multiple of a direct one."""

    def measure(ground: Ground) -> Figure:
        with index(ground.folder, PACKAGES[client]) as distant:
            return _figure([_round(distant, client) for _ in range(ROUNDS)], way)

    return measure


def _figure(rounds: list[Mapping[str, float]], way: str) -> Figure:
    seconds = {name: median(one[name] for one in rounds) for name in rounds[0]}
    value = median(one[way] / one["direct"] for one in rounds)
    return Figure(value, ", ".join(f"{name} {took:.2f} s" for name, took in seconds.items()))


def _round(distant: Distant, client: str) -> Mapping[str, float]:
    """Seconds of one install in each way."""
    with _daemon(distant) as port:
        through = f"http://{HOST}:{port}"
        return {
            "direct": _seconds(distant, client, distant.url),
            "cold": _seconds(distant, client, through),
            "warm": _seconds(distant, client, through),
        }


@contextlib.contextmanager
def index(folder_of: Path, wheels: int, *, delay: float = DELAY, size: int = 0) -> Iterator[Distant]:
    """An index with so many wheels, so many seconds away each way."""
    folder = folder_of / f"installs-{free_port()}"
    folder.mkdir()
    program = [sys.executable, "-m", "tests.benchmarks.distant_index"]
    command = [*program, str(folder), str(delay), str(wheels), str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CannotMeasureError("the distant index did not start")
        yield Distant(**json.loads(line), folder=folder)
        process.stdin.close()


@contextlib.contextmanager
def _daemon(distant: Distant) -> Iterator[int]:
    """A proxy with an empty cache; its port."""
    port = free_port()
    home = distant.folder / f"home-{port}"
    home.mkdir()
    environ = _plain(home) | {
        "PPMPROXY_UPSTREAM": distant.url,
        "PPMPROXY_TOKEN": distant.token,
        "PPMPROXY_CA_FILE": distant.ca_file,
        "PPMPROXY_LISTEN": f"{HOST}:{port}",
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*_PPMPROXY, "run"], env=environ, **quiet) as process:
        subprocess.run([*_PPMPROXY, "wait", "--timeout", "30"], env=environ, check=True, **quiet)
        yield port
        process.terminate()


def _seconds(distant: Distant, client: str, url: str) -> float:
    return seconds_of_install(distant, client, url, range(PACKAGES[client]))


def seconds_of_install(distant: Distant, client: str, url: str, numbers: Iterable[int]) -> float:
    """Seconds that a client takes to install these packages, with nothing cached."""
    target = Path(tempfile.mkdtemp(prefix="target-", dir=distant.folder))  # a removal would slow the disk in here
    packages = [f"package-{number:02}" for number in numbers]
    index_url = f"{url}/pypi/latest/simple/"
    uv = (_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--default-index", index_url)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--index-url", index_url)
    command = [*(uv if client == "uv" else pip), "--target", str(target / "site"), *packages]
    environ = _client_environment(distant, target, direct=url == distant.url)
    started = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise CannotMeasureError(f"{client} from {url} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def _client_environment(distant: Distant, folder: Path, *, direct: bool) -> Mapping[str, str]:
    """A client without a cache; one that asks the index itself has its token and its authority."""
    environ = _plain(folder) | {"UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull}
    if not direct:
        return environ
    netrc = folder / ".netrc"
    netrc.write_text(f"machine {urlsplit(distant.url).hostname} login __token__ password {distant.token}\n")
    netrc.chmod(0o600)
    return environ | {"SSL_CERT_FILE": distant.ca_file, "PIP_CERT": distant.ca_file, "NETRC": str(netrc)}


def _plain(home: Path) -> dict[str, str]:
    named = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return named | {"HOME": str(home), "NO_PROXY": HOST}


def _uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise CannotMeasureError("uv is not installed: install the dependency group test")
    return found
