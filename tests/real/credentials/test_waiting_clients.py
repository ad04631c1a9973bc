"""Claims about real pip and uv that wait for a sign-in, for as long as a person really takes.

All of them wait at the same time: the module takes as long as its longest case, about two minutes.
"""

import asyncio
import enum
import json
import sys
from dataclasses import dataclass

import pytest
import pytest_asyncio
from client_environments import Client, client_environment, program, shows_token
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import CertificateAuthority, FakePackageManager, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD, pytest.mark.asyncio(loop_scope="module")]

FLOW_WITHIN = 120.0  # seconds from the start of a client to the start of its sign-in, on a machine that is busy
GIVES_UP_WITHIN = 400.0  # a client that takes longer is stuck
ABOUT_TWO_MINUTES = (90.0, 150.0)
EVERY_REDIRECT = 9  # that a client gets which waits to the end


class Person(enum.Enum):
    """What the person does about the sign-in."""

    APPROVES = enum.auto()
    REFUSES = enum.auto()
    IS_AWAY = enum.auto()


@dataclass(frozen=True)
class Case:
    """One client, and the person that it waits for."""

    client: Client
    person: Person
    after: float = 0.0  # seconds from the start of the sign-in

    def __str__(self):
        words = [self.client.value, self.person.name.lower().replace("_", "-")]
        return "-".join([*words, *([f"after-{self.after:.0f}s"] if self.after else [])])


@dataclass(frozen=True)
class Outcome:
    """How an install ended."""

    code: int
    output: str
    seconds: float
    sign_ins: int
    installed: bool
    log: str
    shown: bool  # whether the new token is in any text

    @property
    def statuses(self):
        """What the client was answered, in this order."""
        return [event["status"] for event in logged(self.log, "request")]

    @property
    def held(self):
        """Seconds for which its requests waited: without its own start, which a busy machine makes long."""
        return sum(event["ms"] for event in logged(self.log, "request")) / 1000


CLIENTS = (Client.PIP, Client.UV)
APPROVED = [Case(client, Person.APPROVES, after) for client in CLIENTS for after in (30.0, 90.0)]
REFUSED = [Case(client, Person.REFUSES, 5.0) for client in CLIENTS]
AWAY = [Case(client, Person.IS_AWAY) for client in CLIENTS]


async def outcome_of(case, folder, authority):
    """Install with no token anywhere, while the person does what the case says."""
    async with FakePackageManager(authority=authority, base_path="/rspm") as package_manager:
        package_manager.add(wheel("hello", requires=("friend",)))
        package_manager.add(wheel("friend"))
        settings = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(folder / "ca.pem")),
        }
        async with ppmproxy_run(folder, **settings, PPMPROXY_SIGN_IN="always") as running:
            at = await asyncio.to_thread(client_environment, case.client, folder, running.index_url)
            installing = asyncio.create_task(at.install("hello", deadline=GIVES_UP_WITHIN))
            await act(case, package_manager)
            end = await installing
        tokens = {seen.authorization.partition(" ")[2] for seen in package_manager.requests if seen.authorization}
        return Outcome(
            end.code,
            end.output,
            end.seconds,
            len(package_manager.sign_in.flows),
            (at.site_packages / "hello").exists() and (at.site_packages / "friend").exists(),
            running.log,
            any(shows_token(token, end.output, running.log) for token in tokens),
        )


async def act(case, package_manager):
    flow = await asyncio.wait_for(package_manager.next_sign_in(), FLOW_WITHIN)
    if case.person is Person.IS_AWAY:
        return
    await asyncio.sleep(case.after)
    if case.person is Person.APPROVES:
        package_manager.approve(flow.user_code)
    else:
        package_manager.deny(flow.user_code)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(tmp_path_factory):
    """Every case, under way since the first test of this module asked for one."""
    authority = CertificateAuthority()
    for client in CLIENTS:
        program(client, sys.executable)  # downloaded now, while no other client waits
    tasks = {
        case: asyncio.create_task(outcome_of(case, tmp_path_factory.mktemp(str(case)), authority))
        for case in (*APPROVED, *REFUSED, *AWAY)
    }
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("case", APPROVED, ids=str)
async def test_an_install_without_a_token_succeeds_once_somebody_has_signed_in(case, outcomes):
    outcome = await outcomes[case]

    assert outcome.code == 0, outcome.output
    assert outcome.installed
    assert outcome.sign_ins == 1
    assert outcome.seconds >= case.after
    assert set(outcome.statuses) == {200, 307}
    assert 307 in outcome.statuses
    assert not outcome.shown


@pytest.mark.parametrize("case", APPROVED, ids=str)
async def test_the_client_waits_in_silence(case, outcomes):
    outcome = await outcomes[case]

    for word in ("retry", "warning", "timed out", "redirect", "sign"):  # no 407: a port may have these digits
        assert word not in outcome.output.lower()


@pytest.mark.parametrize("case", REFUSED, ids=str)
async def test_a_refused_sign_in_is_the_reason_that_the_client_prints(case, outcomes):
    outcome = await outcomes[case]

    assert outcome.code != 0
    assert "was refused" in outcome.output
    assert "ppmproxy login" in outcome.output
    assert outcome.sign_ins == 1
    assert outcome.statuses.count(307) < EVERY_REDIRECT / 2


@pytest.mark.parametrize("case", AWAY, ids=str)
async def test_with_nobody_there_the_client_gives_up_within_about_two_minutes_and_prints_page_and_code(case, outcomes):
    outcome = await outcomes[case]

    assert outcome.code != 0
    assert "is not finished" in outcome.output
    (code,) = {event["code"] for event in logged(outcome.log, "sign_in_needed")}
    assert code in outcome.output
    assert "/rspm/__device__" in outcome.output
    assert ABOUT_TWO_MINUTES[0] < outcome.held < ABOUT_TWO_MINUTES[1]
    assert outcome.statuses.count(307) == EVERY_REDIRECT


def logged(log, name):
    events = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [event for event in events if event["event"] == name]
