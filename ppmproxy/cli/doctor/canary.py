"""The leak test: a made-up token is sent through the user's settings, and must appear nowhere but upstream.

Three settings differ from the user's: the upstream is a fake Package Manager, the token is made up, and the port is a
free one. All responses to clients are captured whole, and so are the log at its most detailed level and the environment
and arguments of a command under `ppmproxy exec`; with `--intercept`, the files that it is given, too.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from ppmproxy.auth.child_env import child_environment
from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import encoded_forms
from ppmproxy.cli.child_output import child_output
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import LogFormat, LogLevel, Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError
from ppmproxy.server.daemon import Daemon
from ppmproxy.server.logs import set_up_logs
from ppmproxy.testing.package_manager import (
    BrokenJson,
    CloseBeforeHead,
    FakePackageManager,
    Fault,
    LoginPage,
    Status,
    wheel,
)
from ppmproxy.upstream.bodies import read_at_most

PROJECT = "canary-package"
CLIENTS = ("pip/26.3", "uv/0.13.9")
OWN_PAGES = ("/-/live", "/-/ready", "/-/startup", "/-/status", "/-/no-such-page")
LARGEST_BODY = 1 << 24  # bytes
DEADLINE = 20.0  # seconds for one request
READ_TIMEOUT = 0.5  # seconds; and so nothing that fails on purpose is tried again
COMMAND_DEADLINE = 60.0  # seconds for a whole `ppmproxy exec`
PROCESS_REPORT = """
import contextlib, os, pathlib, subprocess, sys
print(dict(os.environ), sys.argv, flush=True)
for place in ("self/environ", "self/cmdline", f"{os.getppid()}/cmdline"):
    with contextlib.suppress(OSError):
        print(pathlib.Path("/proc", place).read_text(), flush=True)
with contextlib.suppress(OSError):
    subprocess.run(["ps", "-ww", "-eo", "args"])
for folder in sys.argv[1:] and {pathlib.Path(os.environ["SSL_CERT_FILE"]).parent}:
    for file in folder.rglob("*"):
        print(file, file.read_bytes() if file.is_file() else "", flush=True)
"""
PRIVATE_KEY = "PRIVATE KEY-----"  # how one begins in PEM (RFC 7468)

SITUATIONS: Sequence[tuple[str, Fault | None]] = (
    ("success", None),
    ("refused", Status(401, body=b"no")),
    ("not permitted", Status(403, body=b"blocked")),
    ("server error", Status(500)),
    ("login page", LoginPage()),
    ("broken index", BrokenJson()),
    ("connection cut", CloseBeforeHead(reset=True)),
)


@dataclass(slots=True)
class Capture:
    """The text captured in one place."""

    place: str
    text: str = field(repr=False)
    other_secrets: frozenset[str] = frozenset()

    def contains(self, forms: frozenset[str]) -> bool:
        """Whether the token is in it, in one of these forms, or another secret."""
        return any(form in self.text for form in forms | self.other_secrets)


@dataclass(frozen=True, slots=True)
class LeakTestResult:
    """Whether the token reached the upstream, the places searched, and those in which it was found."""

    has_arrived: bool
    looked_at: tuple[str, ...]
    leaks: tuple[str, ...]


async def run_leak_test(settings: Settings, environ: Mapping[str, str]) -> LeakTestResult:
    """Send a made-up token through these settings; takes some seconds. Raises `PpmProxyError` when it cannot run."""
    log = io.StringIO()
    redactor = Redactor()
    set_up_logs(redactor, LogLevel.DEBUG, LogFormat.JSON, log)
    with tempfile.TemporaryDirectory(prefix="ppmproxy-canary-") as folder:
        async with FakePackageManager() as package_manager:
            package = package_manager.add(wheel(PROJECT))
            environment = Environment({"PPMPROXY_TOKEN": package_manager.token}, Path(folder))
            daemon = await Daemon.start(_settings_for(settings, package_manager, Path(folder)), environment, redactor)
            try:
                file_path = package_manager.file_url(package).removeprefix(package_manager.origin)
                seen = [capture async for capture in _captures(daemon.url, package_manager, file_path)]
            finally:
                await daemon.stop()
            seen.append(Capture("the log", log.getvalue()))
            own = child_environment(environ, settings.upstreams, settings.cache_url)
            seen.append(await _capture_exec(package_manager, own, Path(folder)))
            seen.append(await _capture_exec(package_manager, own, Path(folder), "--intercept"))
            forms = encoded_forms(package_manager.token)
            has_arrived = any(request.authorization for request in package_manager.requests)
            leaks = tuple(capture.place for capture in seen if capture.contains(forms))
            return LeakTestResult(has_arrived, tuple(capture.place for capture in seen), leaks)


def _settings_for(settings: Settings, package_manager: FakePackageManager, folder: Path) -> Settings:
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(package_manager.ca_pem)
    theirs = settings.upstreams[0]
    upstream = replace(
        theirs,
        **{name: getattr(Upstream(), name) for name in ("mount", "client_cert", "client_key", "file_hosts", "proxy")},
        url=package_manager.url,
        ca_file=ca_file,
        read_timeout=READ_TIMEOUT,
        credentials=None,
        configured=True,
        cache=False,  # every situation is the upstream's own
        offline=False,
    )
    return replace(settings, listen=(TcpAddress("127.0.0.1", 0),), upstreams=(upstream,), allowed_hosts=())


async def _captures(url: str, package_manager: FakePackageManager, file_path: str) -> AsyncIterator[Capture]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for situation, misbehaviour in SITUATIONS:
            if misbehaviour is not None:
                package_manager.add_fault("*", misbehaviour)
            for client in CLIENTS:
                for path in (f"/pypi/latest/simple/{PROJECT}/", file_path, f"{file_path}.metadata"):
                    text = await _text_of(session, url + path, client)
                    yield Capture(f"{situation}: {client} asking for {path}", text)
            package_manager.clear_faults()
        for path in OWN_PAGES:
            yield Capture(path, await _text_of(session, url + path, "curl/8"))


async def _text_of(session: aiohttp.ClientSession, url: str, client: str) -> str:
    """Reason, headers and body of a response as one text; the error when there is none."""
    try:
        async with session.get(url, headers={"User-Agent": client}, allow_redirects=False) as response:
            head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
            body = await read_at_most(LARGEST_BODY, response.content.iter_any())
            return f"{response.reason}\n{head}\n{body.decode('latin-1')}"
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return repr(error)


async def _capture_exec(
    package_manager: FakePackageManager, environ: Mapping[str, str], folder: Path, *flags: str
) -> Capture:
    """Environment and arguments of a command under `ppmproxy exec` and of its parent, and the output of `ps`.

    With `--intercept` its files, too, and no private key may be in any of that either.
    """
    (folder / "config.toml").touch()
    own = {name: value for name, value in environ.items() if not name.startswith(("PPMPROXY_", "PACKAGEMANAGER_"))}
    own |= {"PPMPROXY_CONFIG": str(folder / "config.toml"), "PPMPROXY_CA_FILE": str(folder / "ca.pem")}
    own |= {"PPMPROXY_UPSTREAM": package_manager.url, "PPMPROXY_LISTEN": "127.0.0.1:0", "PPMPROXY_CACHE": "false"}
    own |= {"PPMPROXY_LOG_LEVEL": "debug"}
    own |= {"PPMPROXY_TOKEN": package_manager.token, "PACKAGEMANAGER_TOKEN": package_manager.token}
    command = (sys.executable, "-m", "ppmproxy", "exec", *flags, "--", sys.executable, "-c", PROCESS_REPORT, *flags)
    try:
        code, output = await child_output(command, own, COMMAND_DEADLINE)
    except asyncio.TimeoutError:
        code, output = 1, b""
    if code:
        what = " ".join(("ppmproxy exec", *flags, "-- env"))
        raise PpmProxyError("the canary could not run a command", f"see what `{what}` says")
    text = output.decode("latin-1")
    if flags:
        return Capture("the environment and files of a command under --intercept", text, frozenset({PRIVATE_KEY}))
    return Capture("the environment of a command", text)
