"""`ppmproxy demo`: a real install through the proxy, from an embedded Package Manager, offline.

A fake Package Manager speaks TLS with a private certificate authority and demands a token. The proxy stands in front of
it, and pip (and uv, where there is one) install with nothing but a plain local URL. All files are in one temporary
folder, which is removed in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import encoded_forms
from ppmproxy.cli import event_loop
from ppmproxy.cli.child_output import child_output
from ppmproxy.cli.context import Context
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import LogFormat, LogLevel, Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_TERMINATED, PpmProxyError
from ppmproxy.server.daemon import Daemon
from ppmproxy.server.logs import set_up_logs

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager import FakePackageManager

STEP_TIMEOUT = 120.0  # seconds for one install; it takes about two
PROJECT, DEPENDENCY = "demo-package", "demo-dependency"


class DemoError(PpmProxyError):
    """A step of the demonstration failed."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to keep the servers running."""
    parser.add_argument("--keep", action="store_true", help="keep both servers running until Ctrl-C")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run all steps; exit code 1 when one fails."""
    with tempfile.TemporaryDirectory(prefix="ppmproxy-demo-", ignore_cleanup_errors=True) as folder:
        return event_loop.run(_unless_terminated(_demonstrate(Path(folder), context, keep=arguments.keep)))


async def _unless_terminated(demonstration: Coroutine[None, None, int]) -> int:
    """The exit code; on SIGTERM the servers are stopped first, as on Ctrl-C."""
    task = asyncio.ensure_future(demonstration)
    cancelled: list[bool] = []

    def end() -> None:
        cancelled.append(task.cancel())

    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if not cancelled:
            raise
        return EXIT_TERMINATED


@dataclass(frozen=True, slots=True)
class _Stage:
    """The servers of the demonstration, and the output of the clients."""

    context: Context
    folder: Path
    package_manager: FakePackageManager
    daemon: Daemon
    outputs: list[str] = field(default_factory=list)  # of the clients

    @property
    def index_url(self) -> str:
        return f"{self.daemon.url}/pypi/latest/simple/"


async def _demonstrate(folder: Path, context: Context, *, keep: bool) -> int:
    from ppmproxy.testing.package_manager import FakePackageManager, wheel  # noqa: PLC0415 - only when it is shown

    async with FakePackageManager(base_path="/rspm") as package_manager:
        package_manager.add(wheel(DEPENDENCY, "1.0"))
        package_manager.add(wheel(PROJECT, "2.0", requires=(f"{DEPENDENCY}>=1",)))
        redactor = Redactor()
        with (folder / "proxy.log").open("w", encoding="utf-8") as log:
            set_up_logs(redactor, LogLevel.INFO, LogFormat.JSON, log)
            daemon = await Daemon.start(
                _settings(package_manager, folder), _environment(package_manager, folder), redactor
            )
            try:
                stage = _Stage(context, folder, package_manager, daemon)
                await _run_steps(stage)
                if keep:
                    await _keep(stage)
            finally:
                await daemon.stop()
    return EXIT_OK


def _settings(package_manager: FakePackageManager, folder: Path) -> Settings:
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(package_manager.ca_pem)
    upstream = Upstream(url=package_manager.url, ca_file=ca_file, configured=True, cache=False)  # each client is seen
    return Settings(listen=(TcpAddress("127.0.0.1", 0), TcpAddress("::1", 0)), upstreams=(upstream,))


def _environment(package_manager: FakePackageManager, folder: Path) -> Environment:
    return Environment({"PPMPROXY_TOKEN": package_manager.token}, folder)


async def _run_steps(stage: _Stage) -> None:
    stage.context.print(f"1. a Package Manager at {stage.package_manager.url}")
    stage.context.print("   with TLS by a private certificate authority; it requires a token")
    stage.context.print(f"2. ppmproxy in front of it at {stage.daemon.url}")
    stage.context.print("   which trusts the authority and has the token")
    installers = _installers(stage.folder)
    if not installers:
        raise DemoError("neither pip nor uv is installed", "install one, as with `python3 -m ensurepip`")
    for number, (name, command) in enumerate(installers.items(), start=3):
        await _install(stage, number, name, command)
    _check_token(stage)
    stage.context.print("done: no client had a token, a certificate or a keyring; each had one URL:")
    stage.context.print(f"   {stage.index_url}")


def _installers(folder: Path) -> Mapping[str, Sequence[str]]:
    """The commands of the installers found on this machine; the index URL is appended."""
    found: dict[str, tuple[str, ...]] = {}
    if importlib.util.find_spec("pip") is not None:
        options: tuple[str, ...] = (
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--target",
            str(folder / "pip-site"),
        )
        found["pip"] = (sys.executable, "-m", "pip", "install", *options, "--index-url")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is not None:
        options = ("--no-cache", "--python", sys.executable, "--target", str(folder / "uv-site"))
        found["uv"] = (uv, "pip", "install", *options, "--default-index")
    return found


async def _install(stage: _Stage, number: int, name: str, command: Sequence[str]) -> None:
    seen_before = len(stage.package_manager.requests)
    shown = "pip install" if name == "pip" else "uv pip install"
    stage.context.print(f"{number}. {shown} --index-url {stage.index_url} {PROJECT}")
    code, output = await _output_of([*command, stage.index_url, PROJECT], _client_environment(stage.folder))
    stage.outputs.append(output)
    for line in [line for line in output.splitlines() if line.strip()][-3:]:
        stage.context.print(f"   | {line.strip()}")
    installed = (stage.folder / f"{name}-site" / DEPENDENCY.replace("-", "_")).is_dir()
    if code or not installed:
        raise DemoError(f"{name} did not install {PROJECT} (exit code {code})", "see its output above")
    requests = stage.package_manager.requests[seen_before:]
    with_token = sum(bool(seen.authorization) for seen in requests if seen.status == HTTPStatus.OK)
    stage.context.print(f"   the Package Manager answered {with_token} requests, all with the token")


def _client_environment(folder: Path) -> dict[str, str]:
    """An environment without the machine's configuration: no index, no certificate, no token."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    own = {name: str(folder) for name in ("HOME", "TEMP", "TMPDIR")}
    return kept | own | {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1", "UV_NO_CONFIG": "1"}


async def _output_of(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    try:
        code, output = await child_output(command, environment, STEP_TIMEOUT)
    except asyncio.TimeoutError:
        raise DemoError(f"{command[0]} took more than {STEP_TIMEOUT:g} s", "run it again") from None
    return code, output.decode("utf-8", "replace")


def _check_token(stage: _Stage) -> None:
    """Check that the token is neither in a client's output nor in the log."""
    texts = [*stage.outputs, (stage.folder / "proxy.log").read_text(encoding="utf-8")]
    if any(form in text for form in encoded_forms(stage.package_manager.token) for text in texts):
        raise DemoError("the token appeared outside of the proxy", "report this as a fault of ppmproxy")
    stage.context.print("   the token is in no client's output and in no log line")


async def _keep(stage: _Stage) -> None:
    stage.context.print(f"both run until Ctrl-C; try: pip download --index-url {stage.index_url} {PROJECT}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
