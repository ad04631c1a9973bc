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
WANTED = TokenRequest(URL)


class Clock:
    def __init__(self):
        self.at = 1_000_000.0

    def __call__(self):
        return self.at


class Counting:
    """A source that hands out a new token each time, or whatever it is told to say."""

    name = "counting"

    def __init__(self, clock, lifetime=1000.0):
        self.clock = clock
        self.lifetime = lifetime
        self.asked = 0
        self.failing = None
        self.gate = None

    async def find(self, _wanted, /):
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
def renewing(source, clock):
    return RefreshingSource(source, now=clock, jitter=lambda: 0.0)


def value(found):
    return found.secret.reveal()


async def test_a_token_is_asked_for_once_and_kept(renewing, source):
    found = [value(await renewing.find(WANTED)) for _ in range(3)]

    assert found == ["token-1"] * 3
    assert source.asked == 1


async def test_all_who_wait_share_one_question(renewing, source):
    source.gate = asyncio.Event()
    waiting = [asyncio.create_task(renewing.find(WANTED)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()

    assert {value(found) for found in await asyncio.gather(*waiting)} == {"token-1"}
    assert source.asked == 1


async def test_one_who_stops_waiting_does_not_stop_the_others(renewing, source):
    source.gate = asyncio.Event()
    first, second = (asyncio.create_task(renewing.find(WANTED)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert value(await second) == "token-1"


async def test_the_old_token_is_used_while_it_is_being_renewed(renewing, source, clock):
    await renewing.find(WANTED)
    clock.at += 900  # of 1000: due
    source.gate = asyncio.Event()

    during = [value(await renewing.find(WANTED)) for _ in range(3)]
    source.gate.set()
    await until_asked_again(renewing)

    assert during == ["token-1"] * 3
    assert value(await renewing.find(WANTED)) == "token-2"
    assert source.asked == 2


async def until_asked_again(renewing):
    while renewing._fetching is not None:
        await asyncio.sleep(0)


async def test_a_laptop_that_slept_past_the_expiry_asks_before_it_answers(renewing, clock):
    await renewing.find(WANTED)
    clock.at += 5000

    assert value(await renewing.find(WANTED)) == "token-2"


async def test_a_failed_renewal_keeps_the_old_token_backs_off_and_says_so(renewing, source, clock):
    await renewing.find(WANTED)
    clock.at += 900
    source.failing = SourceBroken("counting", "out of order")

    for _ in range(5):
        assert value(await renewing.find(WANTED)) == "token-1"
        await until_asked_again(renewing)

    assert source.asked == 2
    assert renewing.refresh_failure == "counting could not be renewed: out of order"


async def test_once_the_old_token_has_expired_the_failure_is_the_answer_and_is_not_repeated_at_once(
    renewing, source, clock
):
    await renewing.find(WANTED)
    clock.at += 2000
    source.failing = SourceBroken("counting", "out of order")

    answers = [await renewing.find(WANTED) for _ in range(4)]

    assert answers == [source.failing] * 4
    assert source.asked == 2
    clock.at += 3
    source.failing = None
    assert value(await renewing.find(WANTED)) == "token-3"
    assert renewing.refresh_failure == ""


async def test_a_failure_is_not_repeated_for_hours_because_the_clock_was_set_back(renewing, source, clock):
    source.failing = SourceBroken("counting", "out of order")
    await renewing.find(WANTED)

    clock.at -= 36_000
    source.failing = None

    assert value(await renewing.find(WANTED)) == "token-2"


async def test_a_refused_token_is_asked_for_again_once(renewing, source):
    old = await renewing.find(WANTED)
    renewing.forget(old.secret)
    new = await renewing.find(WANTED)
    renewing.forget(old.secret)  # somebody else's request, refused with the same old token

    assert value(await renewing.find(WANTED)) == value(new) == "token-2"
    assert source.asked == 2


def command(program, timeout=20.0):
    return CommandSource((sys.executable, "-c", program), {"PATH": "", "SYSTEMROOT": ""}, timeout)


async def test_a_command_that_prints_one_line_is_a_source():
    found = await command("print('  from-the-command ')").find(WANTED)

    assert value(found) == "from-the-command"
    assert "-c" not in found.source


async def test_a_token_that_is_printed_bit_by_bit_is_read_whole():
    program = (
        "import sys, time\nfor bit in ('tok', 'en'):\n    sys.stdout.write(bit); sys.stdout.flush(); time.sleep(0.2)"
    )

    assert value(await command(program).find(WANTED)) == "token"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("print('one\\ntwo')", "printed more than one line; only the token is expected"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("pass", "the value is empty"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "printed something that is not text"),
        ("print('a b')", "the value has a space in it, which no token has"),
    ],
    ids=["two lines", "fails", "nothing", "binary", "space"],
)
async def test_a_command_that_prints_anything_else_is_broken_and_says_how(program, why):
    assert (await command(program).find(WANTED)).why == why


async def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    marker = tmp_path / "child"
    program = (
        "import subprocess, sys, time, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(marker)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    said = await command(program, timeout=1.5).find(WANTED)

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
    said = await CommandSource(("/nonexistent/program",), {}).find(WANTED)

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

    assert value(await KeyringSource().find(WANTED)) == "from-the-keyring"


async def test_the_back_end_that_would_sign_in_by_itself_is_left_out(keyring):
    class Posit(Backend):
        pass

    Posit.__module__ = "posit_keyring.backend"
    posit, system = Posit({URL: "wrong"}), Backend({URL: "right"})
    keyring(types.SimpleNamespace(backends=[posit, system]))

    assert value(await KeyringSource().find(WANTED)) == "right"
    assert posit.asked == []


async def test_a_keyring_that_blocks_is_given_up_and_not_asked_again_while_it_does(keyring):
    gate = threading.Event()
    backend = keyring(Backend({URL: "late"}, gate=gate))
    source = KeyringSource(timeout=0.05)

    said = [await source.find(WANTED) for _ in range(3)]
    gate.set()

    assert said[0].why == "did not answer within 0.05 s, maybe locked; unlock it"
    assert [one.why for one in said[1:]] == ["still blocked, maybe locked; unlock it"] * 2
    assert len(backend.asked) == 1


async def test_a_keyring_that_fails_or_is_not_there_is_passed_over(keyring, monkeypatch):
    keyring(Backend(failure=RuntimeError("secret words")))
    failed = await KeyringSource().find(WANTED)
    monkeypatch.setitem(sys.modules, "keyring", None)
    absent = await KeyringSource().find(WANTED)

    assert failed.why == "failed: RuntimeError"
    assert isinstance(absent, NothingFound)
