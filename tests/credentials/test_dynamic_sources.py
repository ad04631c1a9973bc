import asyncio
import sys
import threading
import types
from pathlib import Path

import pytest
from proxy_client import wait_until

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.dynamic_sources import CommandSource, KeyringSource, RefreshingSource
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, TokenRequest

URL = "https://pm.example.com"
REQUEST = TokenRequest(URL)


class Clock:
    def __init__(self):
        self.at = 1_000_000.0

    def __call__(self):
        return self.at


class Counting:
    """A source with a new token each time, or with the result that a test sets."""

    name = "counting"

    def __init__(self, clock, lifetime=1000.0):
        self.clock = clock
        self.lifetime = lifetime
        self.asked = 0
        self.failing = None
        self.gate = None

    async def find(self, _request, /):
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            return self.failing
        expires = self.clock() + self.lifetime
        return Credential(Secret(f"token-{self.asked}"), self.name, Claims(expires_at=expires))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source(clock):
    return Counting(clock)


@pytest.fixture
def refreshing(source, clock):
    return RefreshingSource(source, now=clock, jitter=lambda: 0.0)


def value(found):
    return found.secret.reveal()


async def test_a_token_is_fetched_once_and_cached(refreshing, source):
    found = [value(await refreshing.find(REQUEST)) for _ in range(3)]

    assert found == ["token-1"] * 3
    assert source.asked == 1


async def test_concurrent_requests_share_one_fetch(refreshing, source):
    source.gate = asyncio.Event()
    waiting = [asyncio.create_task(refreshing.find(REQUEST)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()

    assert {value(found) for found in await asyncio.gather(*waiting)} == {"token-1"}
    assert source.asked == 1


async def test_a_cancelled_request_does_not_cancel_the_shared_fetch(refreshing, source):
    source.gate = asyncio.Event()
    first, second = (asyncio.create_task(refreshing.find(REQUEST)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert value(await second) == "token-1"


async def test_the_old_token_is_used_during_a_refresh(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 900  # of 1000: due
    source.gate = asyncio.Event()

    during = [value(await refreshing.find(REQUEST)) for _ in range(3)]
    source.gate.set()
    await until_refreshed(refreshing)

    assert during == ["token-1"] * 3
    assert value(await refreshing.find(REQUEST)) == "token-2"
    assert source.asked == 2


async def until_refreshed(refreshing):
    while refreshing._fetching is not None:
        await asyncio.sleep(0)


async def test_after_a_sleep_past_the_expiry_a_new_token_is_fetched_first(refreshing, clock):
    await refreshing.find(REQUEST)
    clock.at += 5000

    assert value(await refreshing.find(REQUEST)) == "token-2"


async def test_a_failed_refresh_keeps_the_old_token_backs_off_and_is_reported(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 900
    source.failing = SourceBroken("counting", "out of order")

    for _ in range(5):
        assert value(await refreshing.find(REQUEST)) == "token-1"
        await until_refreshed(refreshing)

    assert source.asked == 2
    assert refreshing.warning == "counting could not be renewed: out of order"


async def test_after_the_expiry_the_failure_is_returned_and_not_repeated_at_once(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 2000
    source.failing = SourceBroken("counting", "out of order")

    answers = [await refreshing.find(REQUEST) for _ in range(4)]

    assert answers == [source.failing] * 4
    assert source.asked == 2
    clock.at += 3
    source.failing = None
    assert value(await refreshing.find(REQUEST)) == "token-3"
    assert refreshing.warning == ""


async def test_a_clock_that_was_set_back_does_not_prolong_a_back_off(refreshing, source, clock):
    source.failing = SourceBroken("counting", "out of order")
    await refreshing.find(REQUEST)

    clock.at -= 36_000
    source.failing = None

    assert value(await refreshing.find(REQUEST)) == "token-2"


async def test_a_rejected_token_is_fetched_again_once(refreshing, source):
    old = await refreshing.find(REQUEST)
    refreshing.forget(old.secret)
    new = await refreshing.find(REQUEST)
    refreshing.forget(old.secret)  # another request that was rejected with the same old token

    assert value(await refreshing.find(REQUEST)) == value(new) == "token-2"
    assert source.asked == 2


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
