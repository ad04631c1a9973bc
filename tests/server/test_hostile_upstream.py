"""Claims about an upstream that sends arbitrary bytes: the client gets a response, and nothing fails in the daemon.

`make fuzz` tries 20 000 responses, this alone 300: PPMPROXY_FUZZ_EXAMPLES says how many. A failure names its seed;
PPMPROXY_FUZZ_SEED repeats it.
"""

import asyncio
import contextlib
import gc
import os
import random
import time
from dataclasses import replace

import pytest
from hostile_responses import ERRORS, FILES, GITHUB, PAGES, SIGN_INS
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ppmproxy.config.model import SignIn, Upstream
from ppmproxy.credentials.device_flow import Clock, github_identity_token
from ppmproxy.credentials.interactive import InteractiveSignIn
from ppmproxy.errors import PpmProxyError
from ppmproxy.testing.package_manager import jwt

RESPONSES = int(os.environ.get("PPMPROXY_FUZZ_EXAMPLES", "300"))
IS_LONG = RESPONSES > 300
SEED = int(os.environ.get("PPMPROXY_FUZZ_SEED") or (random.randrange(1 << 32) if IS_LONG else 1))
SLICE = 2500  # responses; Hypothesis remembers everything that it has tried in one run
DEADLINE = 60.0  # seconds for one answer, on a machine that is busy; without it a test hangs
HOLD_TIME = 0.5  # seconds for which a request waits for a sign-in
TOKEN = jwt({"sub": "kim@example.com", "scopes": ["repos:read"]})
PAGE, FILE = "/pypi/latest/simple/hello/", "/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"
PLACES = [
    PAGE,
    "/pypi/latest/simple/",
    FILE,
    f"{FILE}.metadata",
    "/__api__/status",
    "/cran/latest/src/contrib/PACKAGES",
]


class HostileServer:
    """Gives the responses it was told to give, by the end of the path; then closes the connection."""

    def __init__(self):
        self.responses = {}
        self.asked = 0

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            if length := [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]:
                await reader.readexactly(int(length[0].partition(b":")[2]))
            self.asked += 1
            path = head.split(b" ")[1].decode("latin-1").partition("?")[0]
            writer.write(self.responses.get(path, self.responses.get("", b"HTTP/1.1 404 Not Found\r\n\r\n")))
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


class FastClock:
    """A clock by which waiting takes no time."""

    def __init__(self):
        self.skipped = 0.0

    def now(self):
        return time.monotonic() + self.skipped

    async def sleep(self, seconds):
        self.skipped += max(seconds, 30.0)
        await asyncio.sleep(0)


@pytest.fixture
async def scene(proxy, logs):
    """A hostile server, and two daemons in front of it: one with a token, one that has to ask for a sign-in."""
    hostile = HostileServer()
    server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0, limit=1 << 20)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    upstream = Upstream(url=url, configured=True, uploads=True, read_timeout=5.0)
    with_token = await proxy(upstream, environ={"PPMPROXY_TOKEN": TOKEN})
    without = await proxy(replace(upstream, sign_in=SignIn.ALWAYS), environ={})
    for running in (with_token, without):
        client, clock = running.daemon.services.sessions["default"].client, FastClock()
        client._sleep, client._clock = clock.sleep, clock.now
    yield Scene(hostile, url, with_token, without, logs, failures)
    server.close()
    await server.wait_closed()


class Scene:
    def __init__(self, hostile, url, with_token, without, logs, failures):
        self.hostile, self.url, self.with_token, self.without = hostile, url, with_token, without
        self.logs, self.failures = logs, failures

    async def check_answer(self, running, method, path, user_agent):
        """The daemon answers, with nothing that it did not foresee."""
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\n"
            "Accept-Encoding: gzip\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ")[1]
        assert status.isdigit(), head
        assert status != b"500", answer
        assert b"\r\nX: y" not in head
        assert TOKEN not in answer.decode("latin-1")
        self.check_daemon()
        return body

    def check_daemon(self):
        """No failure in the log, and none in a task."""
        text = self.logs.text
        assert not any(
            mark in text for mark in ("request_failed", "process_crashed", "Traceback", "never retrieved")
        ), text
        assert self.failures == []
        self.logs.stream.seek(0)
        self.logs.stream.truncate(0)

    async def check_response(self, response, path, method, user_agent):
        self.hostile.responses = {"": response}
        await self.check_answer(self.with_token, method, path, user_agent)

    async def check_sign_in(self, responses, user_agent):
        sessions = self.without.daemon.services.sessions
        old, clock = sessions["default"].sign_in, FastClock()
        sign_in = InteractiveSignIn(old._upstream, old._client, old._prompt, Clock(clock.now, clock.sleep))
        sign_in.hold_time = HOLD_TIME
        old._client._sleep, old._client._clock = clock.sleep, clock.now
        sessions["default"] = replace(sessions["default"], sign_in=sign_in)
        self.hostile.responses = {"": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", **responses}
        await self.check_answer(self.without, "GET", PAGE, user_agent)
        while (task := sign_in._task) is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        self.check_daemon()

    async def check_github(self, response):
        self.hostile.responses = {"": response}
        environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a-token"}
        with contextlib.suppress(PpmProxyError):
            await github_identity_token(environ, "ppm", self.logs.redactor.add)
        self.check_daemon()


def examples():
    """Coroutines to be run on a scene, each with its responses."""
    agents = st.sampled_from(["pip/26.3", "uv/0.13.9", "curl/8"])
    methods = st.sampled_from(["GET"] * 8 + ["HEAD"])
    answered = st.builds(
        lambda *given: lambda scene: scene.check_response(*given),
        st.one_of(PAGES, ERRORS, FILES),
        st.sampled_from(PLACES),
        methods,
        agents,
    )
    uploaded = st.builds(
        lambda *given: lambda scene: scene.check_response(given[0], "/upload/pypi/internal", "POST", given[1]),
        ERRORS,
        agents,
    )
    signed_in = st.builds(lambda *given: lambda scene: scene.check_sign_in(*given), SIGN_INS, agents)
    from_github = st.builds(lambda response: lambda scene: scene.check_github(response), GITHUB)
    return st.one_of(answered, answered, answered, uploaded, signed_in, signed_in, from_github)


@pytest.mark.timeout(0)  # the number of responses is its bound, as in test_hostile_requests
async def test_nothing_that_an_upstream_says_is_more_than_an_error_to_its_client(scene):
    print(f"PPMPROXY_FUZZ_SEED={SEED}")  # shown when it fails
    loop = asyncio.get_running_loop()
    for number, start in enumerate(range(0, RESPONSES, SLICE)):
        await asyncio.to_thread(attack, scene, loop, min(SLICE, RESPONSES - start), SEED + number)
    gc.collect()
    await asyncio.sleep(0)
    scene.check_daemon()
    assert scene.hostile.asked > RESPONSES / 2


def attack(scene, loop, count, seed_of_slice):
    @seed(seed_of_slice)
    @settings(
        max_examples=count,
        phases=[Phase.generate],  # against a real server, making the example smaller would take minutes
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(examples())
    def survives(example):
        asyncio.run_coroutine_threadsafe(example(scene), loop).result(4 * DEADLINE)

    survives()
