"""Other proxies of package indexes, in Python: installed from the registry, and asked for the same small page."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.content import PEER_PAGE
from tests.benchmarks.ground import HOST, CannotMeasureError, Ground, accepts, free_port, process, until
from tests.benchmarks.rates import rate

PEERS = ("proxpi==1.3.1", "devpi-server==6.20.3", "simple-repository-server==0.10.0", "waitress")
ROUNDS = 3
PATIENCE = 20.0  # seconds
HTML = "text/html"
_FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "benchmark-peers"
_DEVPI_USER = "root"
_INDEX = PEER_PAGE.rpartition("peer/")[0]


def warm_small_page(ground: Ground) -> Figure:
    """Measures the requests/s of a warm small page, as a multiple of the best Python peer's."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(ground.cached_proxy())
        pages = {"ppmproxy": f"{proxy.port}{PEER_PAGE}"}
        for name, started in (("proxpi", _proxpi), ("devpi-server", _devpi), ("simple-repository-server", _simple)):
            pages[name] = stack.enter_context(started(ground))
        for page in pages.values():
            _shown(page)
        rounds = [{name: _rate(page) for name, page in pages.items()} for _ in range(ROUNDS)]
    rates = {name: median(one[name] for one in rounds) for name in pages}
    ours = rates.pop("ppmproxy")
    seen = ", ".join(f"{name} {per_second:.0f}/s" for name, per_second in rates.items())
    return Figure(ours / max(rates.values()), f"{ours:.0f}/s, {seen}")


def _shown(page: str) -> None:
    """Return once a page is shown, which devpi does only some time after its first answer."""
    deadline = time.monotonic() + PATIENCE
    request = urllib.request.Request(f"http://{HOST}:{page}", headers={"Accept": HTML})
    page_text = b""
    while b"peer-1.0" not in page_text:
        try:
            with _open(request) as answer:
                page_text = answer.read()
        except OSError as error:
            if time.monotonic() > deadline:
                raise CannotMeasureError(f"{request.full_url}: {error}") from error
            time.sleep(0.1)


def _rate(page: str) -> float:
    port, slash, path = page.partition("/")
    return rate(int(port), slash + path, accept=HTML)


@contextlib.contextmanager
def _proxpi(ground: Ground) -> Iterator[str]:
    command = ["waitress-serve", "--listen={address}", "--threads=16", "proxpi.server:app"]
    environ = {
        "PROXPI_INDEX_URL": ground.upstream_url + _INDEX,
        "PROXPI_CACHE_DIR": tempfile.mkdtemp(prefix="proxpi-", dir=ground.folder),
    }
    with _running(ground, command, environ) as port:
        yield f"{port}/index/peer/"


@contextlib.contextmanager
def _simple(ground: Ground) -> Iterator[str]:
    with _running(ground, ["simple-repository-server", ground.upstream_url + _INDEX, "--port={port}"], {}) as port:
        yield f"{port}/simple/peer/"


@contextlib.contextmanager
def _devpi(ground: Ground) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="devpi-", dir=ground.folder)
    command = [_program("devpi-init"), "--serverdir", folder, "--no-root-pypi"]
    subprocess.run(command, env=_environment(ground), check=True, capture_output=True)
    serve = ["devpi-server", "--serverdir", folder, "--host={host}", "--port={port}"]
    with _running(ground, serve, {}) as port:
        token = _json(f"{port}/+login", "POST", {"user": _DEVPI_USER, "password": ""})["result"]["password"]
        authorization = base64.b64encode(f"{_DEVPI_USER}:{token}".encode()).decode()
        mirror = {
            "type": "mirror",
            "mirror_url": ground.upstream_url + _INDEX,
            "mirror_no_project_list": True,
            "volatile": True,
        }
        _json(f"{port}/{_DEVPI_USER}/mirror", "PUT", mirror, {"X-Devpi-Auth": authorization})
        yield f"{port}/{_DEVPI_USER}/mirror/+simple/peer/"


def _json(place: str, method: str, sent: dict[str, object], headers: dict[str, str] | None = None) -> dict:  # type: ignore[type-arg]
    request = urllib.request.Request(
        f"http://{HOST}:{place}",
        json.dumps(sent).encode(),
        {"Content-Type": "application/json", **(headers or {})},
        method=method,
    )
    with _open(request) as answer:
        found: dict = json.load(answer)  # type: ignore[type-arg]
        return found


def _open(request: urllib.request.Request) -> contextlib.AbstractContextManager[http.client.HTTPResponse]:
    opened: http.client.HTTPResponse = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        request, timeout=PATIENCE
    )
    return opened


@contextlib.contextmanager
def _running(ground: Ground, command: list[str], environ: dict[str, str]) -> Iterator[int]:
    """A peer's server; its port."""
    port = free_port()
    words = [one.format(host=HOST, port=port, address=f"{HOST}:{port}") for one in command]
    output = ground.folder / f"peer-{port}.log"
    with process([_program(words[0]), *words[1:]], {**_environment(ground), **environ}, output) as started:
        until(started, output, lambda: accepts(port) or None)
        yield port


def _environment(ground: Ground) -> dict[str, str]:
    trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(ground.folder / "ca.pem"))
    named = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return named | trust | {"HOME": str(ground.folder), "NO_PROXY": HOST}


def _program(name: str) -> str:
    """A program of the peers' virtual environment, which is made the first time."""
    complete = _FOLDER / ".complete"
    if not complete.exists() or complete.read_text() != "\n".join(PEERS):
        shutil.rmtree(_FOLDER, ignore_errors=True)
        python = _FOLDER / "bin" / "python"
        for command in ([sys.executable, "-m", "venv", _FOLDER], [python, "-m", "pip", "install", "--quiet", *PEERS]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CannotMeasureError(f"the peers cannot be installed:\n{done.stderr[-2000:]}")
        complete.write_text("\n".join(PEERS))
    return str(_FOLDER / "bin" / name)
