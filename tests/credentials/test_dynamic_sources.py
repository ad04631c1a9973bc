import sys
import threading
import types
from pathlib import Path

import pytest
from proxy_client import wait_until

from ppmproxy.credentials.dynamic_sources import CommandSource, KeyringSource
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, TokenRequest

URL = "https://pm.example.com"
REQUEST = TokenRequest(URL)


def value(found):
    return found.secret.reveal()


def command(program, timeout=20.0):
    return CommandSource((sys.executable, "-c", program), {"PATH": "", "SYSTEMROOT": ""}, timeout)


async def test_a_command_that_prints_one_line_is_a_source():
    found = await command("print('  from-the-command ')").find(REQUEST)

    assert value(found) == "from-the-command"
    assert "-c" not in found.source


async def test_a_token_that_is_printed_in_pieces_is_read_whole():
    program = (
        "import sys, time\nfor bit in ('tok', 'en'):\n    sys.stdout.write(bit); sys.stdout.flush(); time.sleep(0.2)"
    )

    assert value(await command(program).find(REQUEST)) == "token"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("print('one\\ntwo')", "printed more than one line, and the token is to be the only one"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("pass", "the value is empty"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "did not print text"),
        ("print('a b')", "the value has a space in it, which no token has"),
    ],
    ids=["two lines", "fails", "nothing", "binary", "space"],
)
async def test_a_command_with_other_output_is_broken_with_the_reason(program, why):
    assert (await command(program).find(REQUEST)).why == why


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    marker = tmp_path / "child"
    program = (
        "import subprocess, sys, time, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(marker)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    said = await command(program, timeout=1.5).find(REQUEST)

    assert said.why == "did not end within 1.5 s"
    if marker.exists():
        await wait_until(lambda: is_gone(int(marker.read_text())))


def is_gone(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status in {"Z", "X"}


async def test_a_command_that_does_not_exist_is_broken():
    said = await CommandSource(("/nonexistent/program",), {}).find(REQUEST)

    assert isinstance(said, SourceBroken)
    assert said.why == "cannot be started: no such file or directory"


class Backend:
    def __init__(self, entries=None, gate=None, failure=None):
        self.entries = entries or {}
        self.gate = gate
        self.failure = failure
        self.asked = []

    def get_password(self, service, user):
        self.asked.append((service, user))
        if self.gate is not None:
            self.gate.wait(20)
        if self.failure is not None:
            raise self.failure
        return self.entries.get(service)


@pytest.fixture
def keyring(monkeypatch):
    def install(backend):
        module = types.ModuleType("keyring")
        module.get_keyring = lambda: backend
        monkeypatch.setitem(sys.modules, "keyring", module)
        return backend

    return install


@pytest.mark.parametrize("service", [URL, URL + "/", "pm.example.com"])
async def test_the_keyring_is_asked_by_url_and_by_host(keyring, service):
    keyring(Backend({service: "from-the-keyring"}))

    assert value(await KeyringSource().find(REQUEST)) == "from-the-keyring"


async def test_the_keyring_back_end_that_starts_a_sign_in_is_skipped(keyring):
    class Posit(Backend):
        pass

    Posit.__module__ = "posit_keyring.backend"
    posit, system = Posit({URL: "wrong"}), Backend({URL: "right"})
    keyring(types.SimpleNamespace(backends=[posit, system]))

    assert value(await KeyringSource().find(REQUEST)) == "right"
    assert posit.asked == []


async def test_a_blocked_keyring_is_abandoned_and_not_asked_while_it_blocks(keyring):
    gate = threading.Event()
    backend = keyring(Backend({URL: "late"}, gate=gate))
    source = KeyringSource(timeout=0.05)

    said = [await source.find(REQUEST) for _ in range(3)]
    await wait_until(lambda: backend.asked)
    gate.set()

    assert said[0].why == "did not answer within 0.05 s: unlock it"
    assert [one.why for one in said[1:]] == ["does not answer: unlock it"] * 2
    assert len(backend.asked) == 1


async def test_a_keyring_that_fails_or_is_missing_is_skipped(keyring, monkeypatch):
    keyring(Backend(failure=RuntimeError("secret words")))
    failed = await KeyringSource().find(REQUEST)
    monkeypatch.setitem(sys.modules, "keyring", None)
    absent = await KeyringSource().find(REQUEST)

    assert failed.why == "failed: RuntimeError"
    assert isinstance(absent, NothingFound)
