"""One cell of the table: a real client, one way to the upstream, one fault, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from client_environments import Client, program
from fault_table import Row
from free_ports import reserved_port
from processes import START_DEADLINE, plain_environment, ppmproxy_run, running_server

from ppmproxy.testing.package_manager import FakePackageManager, wheel

HOST = "127.0.0.1"
DEADLINE = 200.0  # seconds for one client
CELL_DEADLINE = 900.0  # seconds for all that belongs to it, its place in the queue for a start included
AT_ONCE = 24  # cells; nearly all of them wait
STARTING = 2  # of them that may start their programs at the same time
START_TIMES = {Client.PIP: 1.0, Client.UV: 0.1}  # seconds until a client's first connection
LATE = 1.5  # seconds that refusals may last longer than the row says; then its claim is about another outage
TRIES = 5  # until they last as long as the row says, on a machine that stalls
PAYLOAD = os.urandom(300_000)  # too large for a client that resumes after each 20 000 bytes

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port};
    location / {{
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {authorities};
    }}
  }}
}}
"""
UNRELATED = {"daemon_runs_as_root"}  # warnings that no fault causes
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class Way(enum.Enum):
    """How a client reaches the upstream."""

    PROXY = "through us"
    DIRECT = "direct"
    NGINX = "nginx"


@dataclass(frozen=True)
class Cell:
    """One client on one way to an upstream with one fault."""

    row: Row
    client: Client
    way: Way


@dataclass(frozen=True)
class ClientRun:
    """How a client ended."""

    exit_code: int | None  # None: it did not end in time
    seconds: float
    reason_after: float | None  # seconds until it showed the reason
    output: str


@dataclass(frozen=True)
class Result:
    """What came of a cell."""

    client: ClientRun
    requests: int  # that the upstream received
    most_for_one_url: int
    log: str  # the last warning of the proxy
    refused_late: float = 0.0  # seconds for which connections were refused longer than the row says

    @property
    def installed(self) -> bool:
        return self.client.exit_code == 0

    @property
    def is_invalid(self) -> bool:
        """Whether a failure may be due to an outage that this machine made longer than the row says."""
        return self.refused_late > LATE and not self.installed


@dataclass(frozen=True)
class Entrance:
    """Where a client connects, variables that it needs for that, and the log of what it connects to."""

    url: str
    variables: Mapping[str, str]
    log: Callable[[], str]


def nginx() -> str | None:
    """The nginx of this machine."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def cells_of(row: Row) -> list[Cell]:
    """All cells of a row; nginx cannot use a forward proxy, nor start with a host that is unknown."""
    has_nginx = nginx() is not None and not row.connect_refused and not row.host
    ways = [way for way in Way if way is not Way.NGINX or has_nginx]
    return [Cell(row, client, way) for client in (Client.PIP, Client.UV) for way in ways]


async def run_cells(cells: list[Cell], folder: Path) -> dict[Cell, Result]:
    """Run many cells at a time, those that take longest first."""
    places, starting = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(STARTING)

    async def run(number: int, cell: Cell) -> Result:
        async with places:
            for attempt in range(TRIES):
                own = folder / f"{number}-{attempt}"
                own.mkdir()
                result = await asyncio.wait_for(_run_cell(cell, own, starting), CELL_DEADLINE)
                if not result.is_invalid:
                    break
            return result

    ordered = sorted(cells, key=lambda cell: -cell.row.seconds)
    tasks = [asyncio.create_task(run(number, cell)) for number, cell in enumerate(ordered)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for error in results:
        if isinstance(error, BaseException):
            raise error
    return dict(zip(ordered, results, strict=True))


async def _run_cell(cell: Cell, folder: Path, starting: asyncio.Semaphore) -> Result:
    clock, refused_late = asyncio.get_running_loop().time, 0.0
    async with contextlib.AsyncExitStack() as stack:
        async with starting:
            upstream = await stack.enter_async_context(_upstream(cell.row))
            entrance = await stack.enter_async_context(_entrance(cell, upstream, folder))
            command, environ = _command(cell.client, folder, f"{entrance.url}/pypi/latest/simple/")
            started = clock()
            client = asyncio.create_task(_run_client(command, environ | entrance.variables, folder, cell.row.reason))
            await asyncio.sleep(START_TIMES[cell.client])
        if 0 < cell.row.refused_for < DEADLINE:
            await asyncio.sleep(cell.row.refused_for)
            await upstream.start()
            refused_late = clock() - started - START_TIMES[cell.client] - cell.row.refused_for
        run = await client
        upstream.release()
    by_url = Counter(request.path for request in upstream.requests)
    most = max(by_url.values(), default=0)
    return Result(run, len(upstream.requests), most, _last_warning(entrance.log()), refused_late)


# --- the upstream -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _upstream(row: Row) -> AsyncIterator[FakePackageManager]:
    """An upstream that nobody listens for yet."""
    with reserved_port() as port:
        upstream = FakePackageManager(port=port, tls=row.has_tls, open_repos=("pypi",))
        upstream.add(wheel("hello", payload=PAYLOAD))
        if row.fault is not None:
            upstream.add_fault(row.where, row.fault, row.times)
        if not row.refused_for:
            await upstream.start()
        try:
            yield upstream
        finally:
            await upstream.close()


@contextlib.asynccontextmanager
async def _entrance(cell: Cell, upstream: FakePackageManager, folder: Path) -> AsyncIterator[Entrance]:
    """Where the client connects."""
    async with contextlib.AsyncExitStack() as stack:
        forward_proxy = await stack.enter_async_context(_refusing_forward_proxy()) if cell.row.connect_refused else ""
        url = cell.row.host or ("https://packagemanager.invalid" if forward_proxy else upstream.url)
        if cell.way is Way.DIRECT:
            yield Entrance(url, {"HTTPS_PROXY": forward_proxy} if forward_proxy else {}, str)
        elif cell.way is Way.NGINX:
            yield Entrance(await stack.enter_async_context(_nginx(url, folder)), {}, str)
        else:
            settings = {"PPMPROXY_UPSTREAM": url, "PPMPROXY_TOKEN": "the-token"}
            if forward_proxy:
                settings["PPMPROXY_PROXY"] = forward_proxy
            running = await stack.enter_async_context(ppmproxy_run(folder, **settings))
            yield Entrance(running.url, {}, lambda: running.log)


@contextlib.asynccontextmanager
async def _nginx(upstream: str, folder: Path) -> AsyncIterator[str]:
    own = folder / "nginx"
    own.mkdir()
    with reserved_port() as port:
        words = {"folder": own, "host": HOST, "port": port, "upstream": upstream, "authorities": AUTHORITIES}
        (own / "nginx.conf").write_text(NGINX.format(**words))
        command = [nginx(), "-p", own, "-e", own / "error.log", "-c", own / "nginx.conf"]
        async with running_server(command, plain_environment(own), own):
            await asyncio.wait_for(_until_listening(port), START_DEADLINE)
            yield f"http://{HOST}:{port}"


async def _until_listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@contextlib.asynccontextmanager
async def _refusing_forward_proxy() -> AsyncIterator[str]:
    """A forward proxy that refuses to connect anywhere."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, HOST, 0)
    async with server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"


# --- the client -------------------------------------------------------------------------------------------------------


def _command(client: Client, folder: Path, index_url: str) -> tuple[list[str | Path], dict[str, str]]:
    home = folder / "home"
    home.mkdir()
    environ = plain_environment(home, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    environ |= {"PIP_INDEX_URL": index_url, "UV_DEFAULT_INDEX": index_url, "UV_PYTHON_DOWNLOADS": "never"}
    install = ["install"] if client is Client.PIP else ["pip", "install", "--python", sys.executable]
    return [*program(client, sys.executable), *install, "--target", folder / "installed", "hello"], environ


async def _run_client(
    command: list[str | Path], environ: Mapping[str, str], folder: Path, reason: tuple[str, ...]
) -> ClientRun:
    """Run a client to its end, and note when it first showed one of the words of the reason."""
    clock = asyncio.get_running_loop().time
    started, output, shown = clock(), "", None
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        while piece := await asyncio.wait_for(process.stdout.read(65536), started + DEADLINE - clock()):
            output += piece.decode("utf-8", "replace")
            said = " ".join(output.lower().split())
            if shown is None and any(word in said for word in reason):
                shown = clock() - started
        await process.wait()
    except asyncio.TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    code = process.returncode if process.returncode != -signal.SIGKILL else None
    return ClientRun(code, clock() - started, shown, output)


def _last_warning(log: str) -> str:
    """The last warning of a daemon about its requests: event, status, code and detail."""
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    warnings = [
        event for event in events if event.get("level") in ("warning", "error") and event["event"] not in UNRELATED
    ]
    if not warnings:
        return ""
    last = next((event for event in reversed(warnings) if event["event"] == "request"), warnings[-1])
    return " ".join([last["event"], *(str(last[name]) for name in ("status", "code", "detail") if name in last)])
