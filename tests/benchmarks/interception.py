"""`exec --intercept` beside `exec` and beside no proxy at all: a real uv, a fresh cache, an upstream 40 ms away.

The daemon is running, as it is for somebody who uses it all day.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import HOST, CannotMeasureError, Ground, free_port

ROUNDS = 5
WHEELS = 30
DELAY = 0.02  # seconds each way

PPMPROXY = (sys.executable, "-m", "ppmproxy")


@dataclass(frozen=True)
class Distant:
    """The running index, and a folder for the projects that install from it."""

    url: str
    token: str
    ca_file: str
    folder: Path
    port: int  # of the daemon

    @property
    def index(self) -> str:
        return f"{self.url}/pypi/latest/simple/"


def seconds_beyond_exec(ground: Ground) -> Figure:
    """Seconds that `--intercept` adds to `exec -- uv sync`."""
    with distant_index(ground) as distant:
        plain, intercepted = _medians(distant, ("exec", "intercept"))
    return Figure(intercepted - plain, f"{plain:.2f} s and {intercepted:.2f} s")


def ratio_to_direct(ground: Ground) -> Figure:
    """`exec --intercept -- uv sync` as a multiple of uv with a .netrc and the CA in a variable."""
    with distant_index(ground) as distant:
        direct, intercepted = _medians(distant, ("direct", "intercept"))
    return Figure(intercepted / direct, f"{direct:.2f} s and {intercepted:.2f} s")


@contextlib.contextmanager
def distant_index(ground: Ground) -> Iterator[Distant]:
    """The index, as a process of its own."""
    folder = ground.folder / f"distant-{free_port()}"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.benchmarks.distant_index", str(folder), str(DELAY), str(WHEELS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CannotMeasureError("the distant index did not start")
        distant = Distant(**json.loads(line), folder=folder, port=free_port())
        with _daemon(distant):
            yield distant
        process.stdin.close()


@contextlib.contextmanager
def _daemon(distant: Distant) -> Iterator[None]:
    (distant.folder / "runtime").mkdir(mode=0o700)
    environ = _environment(distant, "exec", distant.folder)
    with subprocess.Popen(
        [*PPMPROXY, "run"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        subprocess.run([*PPMPROXY, "wait", "--timeout", "30"], env=environ, check=True, stdout=subprocess.DEVNULL)
        yield
        process.terminate()


def _medians(distant: Distant, ways: tuple[str, ...]) -> list[float]:
    """Seconds of `uv sync` in each way, in turns, so that whatever else goes on is the same for all."""
    rounds = [[_seconds(distant, way) for way in ways] for _ in range(ROUNDS)]
    return [median(each) for each in zip(*rounds, strict=True)]


def _seconds(distant: Distant, way: str) -> float:
    project = distant.folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    index = "" if way == "exec" else f'[[tool.uv.index]]\nurl = "{distant.index}"\ndefault = true\n'
    needed = ", ".join(f'"package-{number:02}"' for number in range(WHEELS))
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = [{needed}]\n{index}'
    )
    started = time.perf_counter()
    done = subprocess.run(
        [*_THROUGH[way], _uv(), "sync", "--quiet", "--no-python-downloads", "--python", sys.executable],
        cwd=project,
        env=_environment(distant, way, project),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise CannotMeasureError(f"uv sync ({way}) failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


_THROUGH: Mapping[str, tuple[str, ...]] = {
    "direct": (),
    "exec": (*PPMPROXY, "exec", "--"),
    "intercept": (*PPMPROXY, "exec", "--intercept", "--"),
}


def _environment(distant: Distant, way: str, project: Path) -> Mapping[str, str]:
    home = project / "home"
    home.mkdir()
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ |= {"HOME": str(home), "UV_CACHE_DIR": str(home / "cache")}
    if way == "direct":
        netrc = home / ".netrc"
        netrc.write_text(f"machine {urlsplit(distant.url).hostname} login __token__ password {distant.token}\n")
        netrc.chmod(0o600)
        return environ | {"SSL_CERT_FILE": distant.ca_file, "NETRC": str(netrc)}
    return environ | {
        "PPMPROXY_UPSTREAM": distant.url,
        "PPMPROXY_CACHE": "false",
        "PPMPROXY_TOKEN": distant.token,
        "PPMPROXY_CA_FILE": distant.ca_file,
        "PPMPROXY_LISTEN": f"{HOST}:{distant.port}",
        "XDG_RUNTIME_DIR": str(distant.folder / "runtime"),
    }


def _uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise CannotMeasureError("uv is not installed: install the dependency group test")
    return found
