"""`ppmproxy demo`: a real install through the proxy, from an embedded Package Manager, offline.

To change what the demonstration shows, open this file.

Everything in it is real but the packages: TLS by a certificate authority made for the occasion, a Package Manager that
refuses whoever has no token, the proxy in front of it, and pip (and uv, when there is one) installing with nothing but
a plain local URL. It leaves nothing behind.
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
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import encoded_forms
from ppmproxy.cli import event_loop
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
OK = 200
PROJECT, DEPENDENCY = "demo-package", "demo-dependency"


class DemoError(PpmProxyError):
    """The demonstration did not come to its end."""

    exit_code = EXIT_CHECK_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to go on afterwards."""
    parser.add_argument("--keep", action="store_true", help="leave both servers running until Ctrl-C, to try things")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Show the main job; exit code 1 when any step failed."""
    with tempfile.TemporaryDirectory(prefix="ppmproxy-demo-") as folder:
        return event_loop.run(_unless_terminated(_demonstrate(Path(folder), context, keep=arguments.keep)))


async def _unless_terminated(demonstration: Coroutine[None, None, int]) -> int:
    """Its exit code; on SIGTERM it cleans up first, as on Ctrl-C."""
    task = asyncio.ensure_future(demonstration)
    told: list[bool] = []

    def end() -> None:
        told.append(task.cancel())

    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if not told:
            raise
        return EXIT_TERMINATED


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the demonstration plays on."""

    context: Context
    folder: Path
    package_manager: FakePackageManager
    daemon: Daemon
    heard: list[str] = field(default_factory=list)  # everything the clients printed

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
                _settings(package_manager, folder), _surroundings(package_manager, folder), redactor
            )
            try:
                stage = _Stage(context, folder, package_manager, daemon)
                await _play(stage)
                if keep:
                    await _keep(stage)
            finally:
                await daemon.stop()
    return EXIT_OK


def _settings(package_manager: FakePackageManager, folder: Path) -> Settings:
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(package_manager.ca_pem)
    upstream = Upstream(url=package_manager.url, ca_file=ca_file, configured=True)
    return Settings(listen=(TcpAddress("127.0.0.1", 0), TcpAddress("::1", 0)), upstreams=(upstream,))


def _surroundings(package_manager: FakePackageManager, folder: Path) -> Environment:
    return Environment({"PPMPROXY_TOKEN": package_manager.token}, folder)


async def _play(stage: _Stage) -> None:
    stage.context.print(f"1. a Package Manager at {stage.package_manager.url}")
    stage.context.print("   TLS by a private certificate authority; whoever has no token is refused")
    stage.context.print(f"2. ppmproxy in front of it at {stage.daemon.url}")
    stage.context.print("   knows the authority and the token")
    installers = _installers(stage.folder)
    if not installers:
        raise DemoError("neither pip nor uv was found", "install one: python3 -m ensurepip, or pip install uv")
    for number, (name, command) in enumerate(installers.items(), start=3):
        await _install(stage, number, name, command)
    _check_token(stage)
    stage.context.print("done: no client had a token, a certificate or a keyring; each had one URL:")
    stage.context.print(f"   {stage.index_url}")


def _installers(folder: Path) -> Mapping[str, Sequence[str]]:
    """The commands, up to the index URL, of the installers that this machine has."""
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
    stage.heard.append(output)
    for line in [line for line in output.splitlines() if line.strip()][-3:]:
        stage.context.print(f"   | {line.strip()}")
    installed = (stage.folder / f"{name}-site" / DEPENDENCY.replace("-", "_")).is_dir()
    if code or not installed:
        raise DemoError(f"{name} did not install {PROJECT} (exit code {code})", "the lines above are its own words")
    requests = stage.package_manager.requests[seen_before:]
    with_token = sum(bool(seen.authorization) for seen in requests if seen.status == OK)
    stage.context.print(f"   the Package Manager answered {with_token} requests, all with the token")


def _client_environment(folder: Path) -> dict[str, str]:
    """Nothing of the machine's own configuration: no index, no certificate, no token."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "TEMP", "TMPDIR") if name in os.environ}
    return kept | {"HOME": str(folder), "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1", "UV_NO_CONFIG": "1"}


async def _output_of(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), STEP_TIMEOUT)
    except asyncio.TimeoutError:
        raise DemoError(f"{command[0]} took more than {STEP_TIMEOUT:g} s", "run it again") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode("utf-8", "replace")


def _check_token(stage: _Stage) -> None:
    """The token must not have come back: neither to a client nor into the log."""
    texts = [*stage.heard, (stage.folder / "proxy.log").read_text(encoding="utf-8")]
    if any(form in text for form in encoded_forms(stage.package_manager.token) for text in texts):
        raise DemoError("the token was seen outside", "report this: it must never happen")
    stage.context.print("   the token is in no client's output and in no log line")


async def _keep(stage: _Stage) -> None:
    stage.context.print(f"both go on until Ctrl-C; try: pip download --index-url {stage.index_url} {PROJECT}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
