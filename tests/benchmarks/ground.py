"""Where the claims are measured: an upstream over TLS, and before it nginx and the proxy, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trustme

from tests.benchmarks.content import MEDIUM_FILE, write_content
from tests.benchmarks.observed import Observed, worker_of

T = TypeVar("T")

START_DEADLINE = 30.0  # seconds
STOP_DEADLINE = 15.0
HOST = "127.0.0.1"
TOKEN = "a-token-that-nobody-checks"

_NGINX = """
{modules} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; {user}
events {{ worker_connections 256; }}
{served}
"""
# Everything that one nginx writes stays in its folder, also when it was not built to.
_HTTP = """
http {{
  {log} keepalive_requests 1000000; types {{ text/html html; application/vnd.pypi.simple.v1+json json; }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {upstreams}
  server {{ listen {listen}; {server} }}
}}
"""
_UPSTREAM = """
ssl_certificate {folder}/identity.pem; ssl_certificate_key {folder}/identity.pem; ssl_protocols TLSv1.3;
ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;
sendfile on; root {folder}/content; index index.html index.json;
location = {limited} {{ limit_rate 25m; }}
"""
_STREAM = "stream {{ server {{ listen {listen}; proxy_pass {target}; }} }}"
_STREAM_MODULE = Path("modules/ngx_stream_module.so")  # where that is not a part of nginx itself
# The other proxy: checks the certificate and speaks TLS as ours does; everything else as it comes.
_OPPONENT = """
location / {{
  proxy_pass https://package_manager; proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_name localhost;
  proxy_ssl_protocols TLSv1.3; {more}
}}
"""


# Connections are kept, as ours are.
_UPSTREAMS = "upstream package_manager {{ server {upstream}; keepalive 32; keepalive_requests 1000000; }}"


class CannotMeasureError(Exception):
    """The machine lacks what it takes, or a server did not start."""


@dataclass(frozen=True)
class Running:
    """A server that listens, and the process that does its work."""

    port: int
    process: Observed
    environ: Mapping[str, str] = field(default_factory=dict)  # what ours was started with


_LOGGED = "log_format paths '$request_uri'; access_log {folder}/access.log paths;"


@dataclass(frozen=True)
class Ground:
    """What every measurement has at hand."""

    folder: Path
    upstream_port: int
    opponent: Running
    proxy: Running

    @property
    def upstream_url(self) -> str:
        return f"https://{HOST}:{self.upstream_port}"

    @property
    def upstreams(self) -> str:
        """The upstream, as an nginx names it that passes requests on."""
        return _UPSTREAMS.format(upstream=f"{HOST}:{self.upstream_port}")

    def passed_on(self, more: str = "") -> str:
        """What an nginx serves that passes requests on, with more settings."""
        return _OPPONENT.format(folder=self.folder, more=more)

    def requests_for(self, path: str) -> int:
        """How often the upstream was asked for a path of a file that nothing else asks for."""
        return (self.folder / "upstream" / "access.log").read_text().split("\n").count(path)

    def trusting(self) -> ssl.SSLContext:
        """TLS for a client that asks the upstream itself."""
        return ssl.create_default_context(cafile=self.folder / "ca.pem")

    @contextlib.contextmanager
    def cached_proxy(self) -> Iterator[Running]:
        """Another proxy, with an empty cache of its own."""
        with self.proxy_with({"PPMPROXY_CACHE": "true"}) as (_, running):
            yield running

    @contextlib.contextmanager
    def fresh_proxy(self) -> Iterator[tuple[float, Running]]:
        """Another proxy, just started, and the seconds until it took connections."""
        with self.proxy_with({"PPMPROXY_CACHE": "false"}) as started:
            yield started

    @contextlib.contextmanager
    def proxy_with(self, environ: Mapping[str, str]) -> Iterator[tuple[float, Running]]:
        """Another proxy with more variables, and the seconds until it took connections."""
        with _proxy(self.folder, self.upstream_url, environ) as started:
            yield started


@contextlib.contextmanager
def prepared() -> Iterator[Ground]:
    """Start everything, and leave nothing behind; `CannotMeasureError`."""
    if not sys.platform.startswith("linux"):
        raise CannotMeasureError("memory and CPU time are read from /proc: run this on Linux")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppmproxy-bench-")))
        _write_identity(folder)
        upstream_port = free_port()
        write_content(folder / "content", f"https://{HOST}:{upstream_port}")
        served = _UPSTREAM.format(folder=folder, limited=MEDIUM_FILE)
        stack.enter_context(nginx(folder / "upstream", upstream_port, served, tls=True, is_logged=True))
        upstreams = _UPSTREAMS.format(upstream=f"{HOST}:{upstream_port}")
        passed_on = _OPPONENT.format(folder=folder, more="")
        opponent = stack.enter_context(nginx(folder / "opponent", free_port(), passed_on, upstreams=upstreams))
        _, proxy = stack.enter_context(_proxy(folder, f"https://{HOST}:{upstream_port}", {"PPMPROXY_CACHE": "false"}))
        yield Ground(folder, upstream_port, opponent, proxy)


def _write_identity(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem.write_to_path(str(folder / "identity.pem"))


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx(
    folder: Path, port: int, server: str, *, tls: bool = False, upstreams: str = "", is_logged: bool = False
) -> Iterator[Running]:
    """An nginx that serves HTTP as the text says."""
    listen = f"{HOST}:{port}" + (" ssl" if tls else "")
    log = _LOGGED.format(folder=folder) if is_logged else "access_log off;"
    served = _HTTP.format(folder=folder, listen=listen, server=server, upstreams=upstreams, log=log)
    with _nginx(folder, port, served) as running:
        yield running


@contextlib.contextmanager
def stream_nginx(folder: Path, port: int, target: str) -> Iterator[Running]:
    """An nginx that passes on the bytes of each connection to an address."""
    modules = [place / _STREAM_MODULE for place in map(Path, ("/usr/lib/nginx", "/usr/lib64/nginx", "/etc/nginx"))]
    load = "".join(f"load_module {module};" for module in modules if module.is_file())
    with _nginx(folder, port, _STREAM.format(listen=f"{HOST}:{port}", target=target), load) as running:
        yield running


@contextlib.contextmanager
def _nginx(folder: Path, port: int, served: str, modules: str = "") -> Iterator[Running]:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        what = "nginx is what the proxy is measured against"
        raise CannotMeasureError(f"{what}; on Debian: apt-get install nginx-light libnginx-mod-stream")
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker could not read the folder
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, user=user, modules=modules, served=served))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]
    with process(command, dict(os.environ), folder / "output") as started:
        worker = until(started, folder / "output", lambda: worker_of(started.pid) if accepts(port) else None)
        yield Running(port, worker)


@contextlib.contextmanager
def _proxy(folder: Path, upstream_url: str, more: Mapping[str, str]) -> Iterator[tuple[float, Running]]:
    own = {
        "PPMPROXY_UPSTREAM": upstream_url,
        "PPMPROXY_CA_FILE": str(folder / "ca.pem"),
        "PPMPROXY_TOKEN": TOKEN,
        **more,
    }
    with proxy_with(folder, own) as started:
        yield started


@contextlib.contextmanager
def proxy_with(
    folder: Path, environ: Mapping[str, str], command: tuple[str, ...] = ()
) -> Iterator[tuple[float, Running]]:
    """A proxy with a home below the folder, and the seconds until it took connections; `command` starts it."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    usual = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    usual |= {"HOME": str(home), "PPMPROXY_LISTEN": f"{HOST}:0", "PPMPROXY_PROXY": "none"}
    environ, output = usual | dict(environ), home / "output"
    started = time.perf_counter()
    with process([*command, sys.executable, "-m", "ppmproxy", "run"], environ, output) as daemon:
        port = until(daemon, output, lambda: _port_in(output))
        socket.create_connection((HOST, port)).close()
        yield time.perf_counter() - started, Running(port, Observed(daemon.pid), environ)


@contextlib.contextmanager
def process(command: list[str], environ: Mapping[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file; ended afterwards."""
    with output.open("wb") as written:
        started = subprocess.Popen(
            command,
            env=environ,
            cwd=output.parent,  # not where Python would find our modules before those of PYTHONPATH
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def until(started: subprocess.Popen[bytes], output: Path, found: Callable[[], T | None]) -> T:
    """What was looked for, as soon as it is there; `CannotMeasureError` when the process ends before."""
    deadline = time.monotonic() + START_DEADLINE
    while (thing := found()) is None:
        if started.poll() is not None or time.monotonic() > deadline:
            raise CannotMeasureError(f"a server did not start:\n{output.read_text(errors='replace')}")
        time.sleep(0.002)
    return thing


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _port_in(output: Path) -> int | None:
    """The port that the proxy says it listens on, once it has."""
    for line in output.read_text().splitlines(keepends=True):
        if '"daemon_listening"' in line and line.endswith("\n"):
            return int(json.loads(line)["urls"][0].rpartition(":")[2])
    return None
