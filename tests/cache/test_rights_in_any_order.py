"""A claim about any order of requests, revocations, blocks, outages and times: no byte without a right to it."""

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.cache.conditions import header_of
from ppmproxy.cache.fetcher import Cache, CachingFetcher
from ppmproxy.cache.folder import CacheFolder
from ppmproxy.cache.responses import MemoryResponse, fields_of
from ppmproxy.cache.store import Store
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import NoConnectionError, NotPermittedError, PpmProxyError, TokenRejectedError
from ppmproxy.index.routing import target_of
from ppmproxy.testing.package_manager import jwt
from ppmproxy.upstream.messages import UpstreamRequest

EXAMPLES = int(os.environ.get("PPMPROXY_ORDERS", "40"))  # 400 in `make test-cache`

# It syncs thousands of files. On a busy disk that took longer than the limit of pytest-timeout, which Hypothesis takes
# for a failure of the example: then it looks for a smaller one, and no limit ends that.
IN_MEMORY = Path("/dev/shm")
pytestmark = pytest.mark.timeout(900)

RECHECK, PAGES_FOR, STALE_FOR, REMEMBERED = 600.0, 60.0, 7 * 86400.0, 10.0
UPSTREAM = Upstream(url="https://pm.example.com", configured=True)
JSON = "application/vnd.pypi.simple.v1+json"
PAGES = {f"/pypi/latest/simple/{name}/": f"/pypi/latest/packages/1/{name}-1.0.whl" for name in ("one", "two")}
PAGE_OF = {file: page for page, file in PAGES.items()}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that stalls makes no answer of the model late."""
    monkeypatch.setattr("ppmproxy.cache.outage.FIRST_TRY", 600.0)


def body_of(what):
    if what not in PAGES:
        return what.encode() * 500
    digest = hashlib.sha256(body_of(PAGES[what])).hexdigest()
    return json.dumps({"files": [{"url": PAGES[what], "filename": "x", "hashes": {"sha256": digest}}]}).encode()


# Alice's two tokens are one holder's, Bob's is another's, and one token says nothing of its owner.
TOKENS = {
    "alice": jwt({"sub": "alice", "jti": "1"}),
    "alice, renewed": jwt({"sub": "alice", "jti": "2"}),
    "bob": jwt({"sub": "bob"}),
    "opaque": "an-opaque-token",
    "none": None,
}
OWNER = {"alice": "a", "alice, renewed": "a", "bob": "b", "opaque": "o", "none": "n"}
WHO = st.sampled_from(sorted(TOKENS))
WHAT = st.sampled_from([*PAGES, *PAGE_OF])


def credential_of(who):
    return Credential.of_secret(Secret(TOKENS[who]), "here") if TOKENS[who] else None


@dataclass
class Model:
    """The upstream, and what it has told whom."""

    revoked: set = field(default_factory=set)
    blocked: dict = field(default_factory=dict)  # what -> the status with which it is refused
    is_down: bool = False
    now: float = 1000.0
    wall: float = 1_700_000_000.0
    shown: dict = field(default_factory=dict)  # (who, what) -> monotonic time of the last good answer
    right: dict = field(default_factory=dict)  # (owner, what) -> time of the day of the last good answer
    failed_at: float = float("-inf")
    asked: int = 0

    def allows(self, who, what):
        return who not in self.revoked and what not in self.blocked

    def refuse(self, who, what):
        """Forget the rights that a refusal ends."""
        if who in self.revoked:
            self.shown = {key: at for key, at in self.shown.items() if key[0] != who}
            self.right = {key: at for key, at in self.right.items() if key[0] != OWNER[who]}
        else:
            ended = {what, PAGE_OF.get(what, what)}  # a file takes its page along
            self.right = {key: at for key, at in self.right.items() if key[0] != OWNER[who] or key[1] not in ended}
            self.shown = {key: at for key, at in self.shown.items() if key[0] != who or key[1] not in ended}

    @asynccontextmanager
    async def fetch(self, target, request, lookup):
        """The `Fetcher` of this upstream."""
        self.asked += 1
        what = target.local
        who = next(name for name in TOKENS if credential_of(name) == lookup.credential)
        if self.is_down:
            self.failed_at = self.now
            raise NoConnectionError("down", "wait")
        if not self.allows(who, what):
            self.refuse(who, what)
            status = 401 if who in self.revoked else self.blocked[what]
            if status == 401:
                raise TokenRejectedError("revoked", "renew")
            if status == 403:
                raise NotPermittedError("blocked", "ask")
            yield MemoryResponse(status, "no", fields_of([]), target.url, lookup.credential, rest=[b"no"])
            return
        self.shown[who, what] = self.now
        self.right[OWNER[who], what] = self.wall
        is_page = what in PAGES
        body = body_of(what)
        etag = f'"{what}"'
        fields = [("ETag", etag), ("Content-Type", JSON if is_page else "application/octet-stream")]
        if header_of(request.headers, "if-none-match") == etag:
            yield MemoryResponse(304, "same", fields_of(fields), target.url, lookup.credential)
            return
        fields.append(("Content-Length", str(len(body))))
        rest = [body] if request.method == "GET" else []
        yield MemoryResponse(200, "OK", fields_of(fields), target.url, lookup.credential, rest=rest)


class AnyOrder(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.model = Model()
        self.make()

    def make(self):
        self.store = Store(CacheFolder(self.folder / "cache"), 1 << 30, lambda: self.model.wall)
        self.cache = Cache.of(UPSTREAM, (), self.store, lambda _why: None)
        state = self.cache.state
        state.clock = state.proofs._clock = state.outage._clock = lambda: self.model.now
        state.wall = lambda: self.model.wall

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def close(self):
        await self.cache.close()
        await self.store.close()

    @rule()
    def restart(self):
        self.run(self.close())
        self.model.shown.clear()  # a proof is of one process
        self.model.failed_at = float("-inf")
        self.make()

    @rule(who=WHO)
    def revoke(self, who):
        self.model.revoked.add(who)

    @rule(who=WHO)
    def accept_again(self, who):
        self.model.revoked.discard(who)

    @rule(what=WHAT, status=st.sampled_from([403, 404, 410, 451]))
    def block(self, what, status):
        self.model.blocked[what] = status

    @rule(what=WHAT)
    def unblock(self, what):
        self.model.blocked.pop(what, None)

    @rule(is_down=st.booleans())
    def switch(self, is_down):
        self.model.is_down = is_down

    @rule(seconds=st.sampled_from([1.0, 9.0, 11.0, 59.0, 61.0, 599.0, 601.0, 90_000.0]))
    def pass_time(self, seconds):
        self.model.now += seconds
        self.model.wall += seconds

    @rule(days=st.sampled_from([-8, -7, 7, 8]))
    def set_the_clock(self, days):
        self.model.wall += days * 86400.0

    @rule(who=WHO, what=WHAT, refresh=st.booleans())
    def ask_for_one(self, who, what, refresh):
        self.ask(who, what, refresh=refresh)

    @rule(who=WHO, what=WHAT)
    def refuse_and_ask_for_everything(self, who, what):
        """The refusals that end rights, close together: with one more reason they would be rare."""
        self.model.revoked.add(who)
        self.ask(who, what, refresh=True)
        self.ask_for_everything(who)
        self.model.revoked.discard(who)

    @rule(who=WHO, what=WHAT)
    def block_for_a_moment(self, who, what):
        self.model.blocked[what] = 403
        self.ask(who, what, refresh=True)
        del self.model.blocked[what]
        self.ask_for_everything(who)

    def ask(self, who, what, *, refresh):
        model = self.model
        before = dict(model.shown), dict(model.right), model.asked
        try:
            said, status, body = self.run(self.answer(who, what, refresh=refresh))
        except PpmProxyError:
            return
        if status >= 400:
            return
        assert body == body_of(what)
        self.check(who, what, said, before)

    @rule(who=WHO)
    def ask_for_everything(self, who):
        for page, file in PAGES.items():
            self.ask(who, page, refresh=False)
            self.ask(who, file, refresh=False)

    async def answer(self, who, what, *, refresh):
        headers = [("Accept", JSON)] + ([("Cache-Control", "no-cache")] if refresh else [])
        target = target_of("GET", what, (UPSTREAM,))
        request = UpstreamRequest("GET", target.url, headers)
        fetcher = CachingFetcher(self.cache, lambda _deadline: self.model)
        async with fetcher.fetch(target, request, LookupResult(credential_of(who))) as response:
            body = b"".join([chunk async for chunk in response.chunks()])
            return response.cache, response.status, body

    def check(self, who, what, said, before):
        """A body was sent: there must be a right to it."""
        model, (shown, right, asked) = self.model, before
        vouching = [what, PAGE_OF.get(what, what)]
        if said == "hit":
            ages = [model.now - shown[who, one] for one in vouching if (who, one) in shown]
            assert min(ages, default=float("inf")) < RECHECK, "a hit without a fresh proof of this token"
            assert model.asked == asked
        elif said == "hit; detail=upstream-down":
            assert model.is_down or model.now - model.failed_at < REMEMBERED, "stale although there is an answer"
            ages = [abs(model.wall - right[OWNER[who], one]) for one in vouching if (OWNER[who], one) in right]
            assert min(ages, default=float("inf")) <= STALE_FOR, "stale without a right"
        else:
            assert not model.is_down
            assert model.allows(who, what), "sent although the upstream refuses it now"
            assert model.asked > asked

    def teardown(self):
        if hasattr(self, "loop"):
            self.run(self.close())
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)


AnyOrder.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
