"""A real Secret Service for one test: a message bus, gnome-keyring, and a Python that has `ppmproxy[keyring]`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from downloads import cached_folder, make_environment, pip_from_registry, skip_or_fail
from processes import START_DEADLINE, RunningProxy, plain_environment, run_program, running_server

ROOT = Path(__file__).absolute().parents[3]
PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
PASSWORD = "test-password"

PUT = "import keyring, os; keyring.set_password(os.environ['PUT_FOR'], '__token__', os.environ['PUT_TOKEN'])"
LOCK = "import secretstorage as s; s.get_default_collection(s.dbus_init()).lock()"
UNANSWERED_PROMPTER = """
import jeepney, jeepney.io.blocking
bus = jeepney.io.blocking.open_dbus_connection()
bus.send_and_get_reply(jeepney.message_bus.RequestName("org.gnome.keyring.SystemPrompter"))
print("prompter is there", flush=True)
while True:
    print("asked:", bus.receive().header.fields.get(jeepney.HeaderFields.member), flush=True)
"""


# jeepney gives the bus one second for the handshake, and keyring takes one that needs longer for none.
PATIENT_WITH_THE_BUS = f"""
import inspect, jeepney.io.blocking
opening = jeepney.io.blocking.open_dbus_connection
assert list(inspect.signature(opening).parameters)[-1] == "auth_timeout"
opening.__defaults__ = (*opening.__defaults__[:-1], {START_DEADLINE})
"""


@dataclass(frozen=True)
class Session:
    """A person's session: what its programs find in their environment."""

    folder: Path
    environ: dict[str, str]

    def at(self, address: str) -> Session:
        """The same, with a message bus at another address."""
        return Session(self.folder, self.environ | {"DBUS_SESSION_BUS_ADDRESS": address})

    async def run(self, program: str, **more: str) -> None:
        """Run a few lines of Python there."""
        end = await run_program([python(), "-c", program], self.environ | more, self.folder)
        assert end.code == 0, end.output


@functools.cache
def python() -> Path:
    """A Python with what `ppmproxy[keyring]` depends on."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:8]
    version = "{}.{}".format(*sys.version_info)
    folder = cached_folder(f"keyring-{digest}-py{version}", lambda folder: make_environment(folder, f"{ROOT}[keyring]"))
    return folder / "bin" / "python"


def install_as_it_is(folder: Path) -> None:
    """The working tree's ppmproxy, as a person would install it, without what it depends on."""
    pip_from_registry("install", "--no-deps", "--target", str(folder), str(ROOT))
    (folder / "sitecustomize.py").write_text(PATIENT_WITH_THE_BUS)


def check_programs() -> None:
    """Skip, or fail, where a program is not installed."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed", "on Debian: apt-get install dbus gnome-keyring")


@contextlib.asynccontextmanager
async def session(folder: Path, installed: Path) -> AsyncIterator[Session]:
    """A session with a message bus, and no keyring yet."""
    check_programs()
    home, runtime = folder / "home-of-the-session", folder / "runtime"
    home.mkdir()
    runtime.mkdir(mode=0o700)
    environ = plain_environment(home, XDG_RUNTIME_DIR=str(runtime), PYTHONPATH=str(installed))
    async with session_bus(environ, home) as address:
        yield Session(home, environ).at(address)


@contextlib.asynccontextmanager
async def session_bus(environ: Mapping[str, str], folder: Path, *arguments: str) -> AsyncIterator[str]:
    """The address of a message bus."""
    command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", *arguments]
    async with running_server(command, environ, folder) as bus:
        yield (await asyncio.wait_for(bus.line_with("unix:"), START_DEADLINE)).strip()


@contextlib.asynccontextmanager
async def unlocked_keyring(at: Session, url: str, token: str) -> AsyncIterator[None]:
    """gnome-keyring, unlocked, with an entry for a Package Manager."""
    (at.folder / "password").write_text(PASSWORD)
    unlock = "exec gnome-keyring-daemon --foreground --unlock --components=secrets < password"
    async with running_server(["sh", "-c", unlock], at.environ, at.folder):
        await until_on_bus(at, "org.freedesktop.secrets")
        await at.run(PUT, PUT_FOR=url, PUT_TOKEN=token)
        yield


@contextlib.asynccontextmanager
async def locked_keyring(at: Session, url: str, token: str) -> AsyncIterator[None]:
    """The same, locked."""
    async with unlocked_keyring(at, url, token):
        await at.run(LOCK)
        yield


@contextlib.asynccontextmanager
async def blocking_keyring(at: Session, url: str, token: str) -> AsyncIterator[None]:
    """The same, locked, and whoever wants it unlocked is asked for the password in a window that nobody sees."""
    command = [python(), "-c", UNANSWERED_PROMPTER]
    async with running_server(command, at.environ, at.folder) as prompter:
        await asyncio.wait_for(prompter.line_with("prompter is there"), START_DEADLINE)
        async with locked_keyring(at, url, token):
            yield
        await asyncio.wait_for(prompter.line_with("BeginPrompting"), START_DEADLINE)  # or else something else blocked


async def until_on_bus(at: Session, name: str) -> None:
    """Come back when somebody has a name on the bus."""
    await at.run(
        "import jeepney as j, jeepney.io.blocking, sys, time\n"
        "bus = jeepney.io.blocking.open_dbus_connection()\n"
        f"for _ in range({START_DEADLINE * 10:.0f}):\n"
        f"    if bus.send_and_get_reply(j.message_bus.NameHasOwner({name!r})).body[0]: sys.exit()\n"
        "    time.sleep(0.1)\n"
        "sys.exit('nobody came')\n"
    )


@contextlib.asynccontextmanager
async def proxy_in(at: Session, environ: Mapping[str, str]) -> AsyncIterator[RunningProxy]:
    """`ppmproxy run` in a session."""
    settings = at.environ | {"PPMPROXY_LISTEN": "127.0.0.1:0,[::1]:0"} | environ
    async with running_server([python(), "-m", "ppmproxy", "run"], settings, at.folder) as server:
        line = await asyncio.wait_for(server.line_with('"event": "daemon_listening"'), START_DEADLINE)
        yield RunningProxy(server, json.loads(line)["urls"][0])
    assert server.process.returncode == 0, f"it did not end in order:\n{server.log}"
