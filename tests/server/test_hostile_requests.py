"""Claims about hostile requests: none reaches the upstream, and the daemon goes on serving others.

`make fuzz` tries 200 000, `.ci/run` 10 000, this alone 1 000: PPMPROXY_FUZZ_EXAMPLES says how many. A failure names
its seed; PPMPROXY_FUZZ_SEED repeats it.
"""

import asyncio
import base64
import contextlib
import logging
import os
import random
import re
import select
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
from downloads import skip_or_fail
from hostile_requests import FORBIDDEN_MARK, ParsedResponse, batches, parsed_response
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from processes import ppmproxy_run
from proxy_client import wait_until

from ppmproxy.testing.package_manager import FakePackageManager, wheel

REQUESTS = int(os.environ.get("PPMPROXY_FUZZ_EXAMPLES", "1000"))
IS_LONG = REQUESTS > 2000
SEED = int(os.environ.get("PPMPROXY_FUZZ_SEED") or (random.randrange(1 << 32) if IS_LONG else 1))
BATCH = 25
SLICE = 5000
WARM_UP = 500  # requests before memory and files are looked at
BASE = "/rspm"
DEADLINE = 60.0  # seconds for one answer, on a machine that is busy; without it a test hangs
TORN = 100  # torn requests that are listened to at once: their ends may be waited for
MORE_MEMORY, MORE_FILES = 5 << 20, 2

CROSSING = {
    *("host", "accept", "accept-encoding", "user-agent", "range", "if-range", "if-none-match", "if-modified-since"),
    *("cache-control", "content-type", "content-length", "authorization", "connection"),
}
CROSSING_WITH_BODY = CROSSING | {"transfer-encoding"}


# --- the upstream, and what it may see ---


@dataclass
class Upstream:
    """A fake Package Manager that serves in a thread of its own, with what its server complained about."""

    server: FakePackageManager
    loop: asyncio.AbstractEventLoop
    complaints: list[str] = field(default_factory=list)
    asked: int = 0

    def taken(self):
        """What was seen since the last time."""
        requests = self.server.requests
        count = len(requests)
        seen = requests[:count]
        del requests[:count]
        return seen


@pytest.fixture(scope="module")
def hostile_upstream(authority):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = FakePackageManager(base_path=BASE, authority=authority)
    server.add(wheel("hello"))
    made = Upstream(server, loop)
    handler = logging.Handler()
    handler.emit = lambda record: made.complaints.append(record.getMessage())
    logging.getLogger("aiohttp.server").addHandler(handler)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(DEADLINE)
    yield made
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(DEADLINE)
    logging.getLogger("aiohttp.server").removeHandler(handler)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def decodings(path):
    """The path as the most eager of servers could read it, step by step."""
    for _ in range(6):
        yield path
        path = unquote(path, encoding="latin-1").replace("\\", "/")


def check_seen(seen, token):
    """The upstream was asked only for what a path below its base means to every parser, and told only what crosses."""
    assert seen.path == BASE or seen.path.startswith(BASE + "/"), seen
    assert re.fullmatch(r"[\x21-\x7e\x80-\uffff]+", seen.target), seen
    assert "//" not in seen.path, seen
    assert "#" not in seen.target, seen
    for path in decodings(seen.path):
        segments = [segment.partition(";")[0] for segment in path.split("/")]
        assert not {".", ".."} & set(segments), seen
        assert not re.search(r"[\x00-\x1f\x7f]", path), seen
        assert path.count("/") == seen.path.count("/"), seen
    check_method(seen)
    names = [name.lower() for name, _ in seen.headers]
    assert set(names) <= (CROSSING_WITH_BODY if seen.method == "POST" else CROSSING), seen.headers
    assert not any(FORBIDDEN_MARK in value for _, value in seen.headers), seen.headers
    assert seen.authorization in {f"Bearer {token}", basic(token)}, seen.headers
    assert all(names.count(name) == 1 for name in ("host", "authorization", "accept-encoding")), seen.headers


def basic(token):
    return "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()


def check_method(seen):
    first = seen.path.removeprefix(BASE).split("/")[1:2]
    in_api = any("api__" in unquote(part).casefold() for part in seen.path.split("/"))
    if seen.method == "POST":
        assert first == ["upload"] or seen.path == f"{BASE}/__api__/filter/packages", seen
    else:
        assert seen.method in {"GET", "HEAD"}, seen
        if in_api and first == ["__api__"]:
            assert seen.path == f"{BASE}/__api__/status" or seen.path.startswith(f"{BASE}/__api__/repos"), seen


# --- the client ---


class Client:
    """Sends bytes over connections that it keeps as long as it can."""

    def __init__(self, port):
        self.port = port
        self.kept = None
        self.torn = {}  # connections, the oldest first, with what was sent and what has come back so far

    def ask(self, request):
        """The answer to a whole request; None for a torn one, which is listened to later."""
        if not request.is_complete:
            connection = self._opened()
            with contextlib.suppress(OSError):
                connection.sendall(request.sent)
            self.torn[connection] = (request, b"")
            return None
        for _ in range(2):  # a kept connection may just have been closed by the other end
            is_kept = self.kept is not None
            connection, self.kept = self.kept or self._opened(), None
            answer = self._exchange(connection, request)
            if answer is not None:
                return answer
            connection.close()
            assert is_kept, f"no answer to {request.sent!r}"
        raise AssertionError(f"no answer to {request.sent!r}")

    def record_success(self, most=0):
        """What came back to torn requests whose connection has ended, and to the oldest of those beyond so many."""
        while readable := select.select(list(self.torn), [], [], 0)[0]:
            for connection in readable:
                piece = b""
                with contextlib.suppress(ConnectionError):
                    piece = connection.recv(65536)
                request, received = self.torn[connection]
                self.torn[connection] = (request, received + piece)
                if not piece:
                    yield *self._let_go(connection), True
        while len(self.torn) > most:
            yield *self._let_go(next(iter(self.torn))), False

    def _let_go(self, connection):
        connection.close()
        return self.torn.pop(connection)

    def close(self):
        if self.kept is not None:
            self.kept.close()
        for request, received, has_ended in self.record_success():
            check_torn(request, received, has_ended)

    def _opened(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def _exchange(self, connection, request) -> ParsedResponse | None:
        received = b""
        try:
            connection.sendall(request.sent)
            while True:
                piece = connection.recv(65536)
                received += piece
                answer = parsed_response(received, is_head=request.is_head, has_ended=not piece)
                if answer is not None:
                    break
                if not piece:
                    return None
        except ConnectionError:
            return None
        assert len(received) == answer.length, f"more than one answer: {received!r} to {request.sent!r}"
        if answer.ends_connection:
            connection.close()
        else:
            self.kept = connection
        return answer


def check_answer(answer):
    assert answer.status != 500
    assert answer.headers.get("x-ppmproxy-error") != "internal"
    assert b"Traceback" not in answer.body
    assert "x-injected" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def check_torn(request, received, has_ended):
    """However many answers there are to a torn request, each is one."""
    is_head = request.is_head
    while received:
        answer = parsed_response(received, is_head=is_head, has_ended=has_ended)
        if answer is None:
            return
        check_answer(answer)
        received, is_head = received[answer.length :], False


# --- the daemon ---


def memory_of(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files_of(pid):
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def may_look_into(pid):
    try:
        return files_of(pid) > 0
    except OSError:
        return False


@pytest.mark.timeout(0)  # the number of requests is its bound: each has a deadline, and a busy machine is no fault
async def test_nothing_hostile_gets_through_and_the_daemon_stays_as_it_was(hostile_upstream, ca_file, tmp_path):
    print(f"PPMPROXY_FUZZ_SEED={SEED}")  # shown when it fails
    token = hostile_upstream.server.token
    environ = {"UPSTREAM": hostile_upstream.server.url, "CA_FILE": str(ca_file), "TOKEN": token, "UPLOADS": "true"}
    named = {f"PPMPROXY_{name}": value for name, value in environ.items()}
    async with ppmproxy_run(tmp_path, PPMPROXY_LOG_LEVEL="info", **named) as running:
        pid = running.server.process.pid
        port = int(running.url.rpartition(":")[2])
        await asyncio.to_thread(attack, port, WARM_UP, hostile_upstream)
        is_seen = sys.platform == "linux" and may_look_into(pid)
        files, memory = (files_of(pid), memory_of(pid)) if is_seen else (0, 0)

        await asyncio.to_thread(attack, port, REQUESTS, hostile_upstream)

        if is_seen:
            await wait_until(lambda: files_of(pid) <= files + MORE_FILES, 60)
            assert memory_of(pid) - memory <= MORE_MEMORY
        assert "Traceback" not in running.log
        assert "request_failed" not in running.log
        assert token not in running.log
    assert hostile_upstream.complaints == []
    assert hostile_upstream.asked > REQUESTS / 10  # or else this would prove little
    if not is_seen:
        skip_or_fail("the daemon's memory and files could not be looked at", "run this as root on Linux")


def attack(port, count, upstream):
    """Send so many requests, in slices: Hypothesis remembers everything that it has tried in one."""
    client = Client(port)
    with contextlib.closing(client):
        for number, start in enumerate(range(0, count, SLICE)):
            attack_with(client, min(SLICE, count - start), SEED + number, upstream)


def attack_with(client, count, seed_of_slice, upstream):
    @seed(seed_of_slice)
    @settings(
        max_examples=count // BATCH,
        phases=[Phase.generate],  # against a real server, making the example smaller would take minutes
        database=None,
        verbosity=Verbosity.quiet,  # what is asserted says enough, and a batch is long
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(batches(BATCH))
    def survives(requests):
        for request in requests:
            if (answer := client.ask(request)) is not None:
                check_answer(answer)
        for request, received, has_ended in client.record_success(most=TORN):
            check_torn(request, received, has_ended)
        for seen in upstream.taken():
            check_seen(seen, upstream.server.token)
            upstream.asked += 1

    survives()
