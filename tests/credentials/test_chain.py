import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from proxy_client import PAGE, leaked_forms, outcome, passed_over, tokens_seen

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.auth.policy import Scheme
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import CredentialSpec
from ppmproxy.credentials.chain import ChainEntry, CredentialChain
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, TokenRequest
from ppmproxy.errors import LONGEST_MESSAGE
from ppmproxy.server.state import unready_reason
from ppmproxy.testing.package_manager import Status, wheel

NOBODY = 65534
FILES_OPEN = Path("/proc/self/fd")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and modes are POSIX's")


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "token"


# --- order and purposes ---


async def test_the_first_source_that_has_a_token_wins(server, proxy, token_file, tmp_path):
    token_file.write_text("of-the-file")
    (tmp_path / ".netrc").write_text("default login __token__ password of-netrc\n")
    environ = {"PPMPROXY_TOKEN": server.token, "PPMPROXY_TOKEN_FILE": str(token_file)}
    running = await proxy(server, environ=environ, home=tmp_path)

    assert await outcome(running) == (200, "")
    assert set(tokens_seen(server)) == {server.token}


async def test_an_expired_token_is_skipped_for_the_next(server, proxy):
    environ = {"PPMPROXY_TOKEN": server.issue_token(lifetime=-60), "PACKAGEMANAGER_TOKEN": server.token}
    running = await proxy(server, environ=environ)

    assert await outcome(running) == (200, "")
    assert tokens_seen(server) == [server.token]


async def test_none_ends_the_search(server, proxy):
    specs = (CredentialSpec("none"), CredentialSpec("env"))
    running = await proxy(server, credentials=specs)

    status, detail = await outcome(running)

    assert (status, tokens_seen(server)) == (407, [None])
    assert "the settings say so" in detail


async def test_no_sources_means_no_token(server, proxy):
    running = await proxy(server, credentials=())

    assert (await outcome(running))[0] == 407
    assert tokens_seen(server) == [None]


async def test_a_repository_has_its_own_token(package_manager, proxy):
    server = await package_manager(repos=("one", "two"), scopes=("repos:read:one",))
    other = server.issue_token(("repos:read:two",))
    specs = (
        CredentialSpec("env", variable="ONE", repos=("one",)),
        CredentialSpec("env", variable="TWO", repos=("two",)),
    )
    running = await proxy(server, environ={"ONE": server.token, "TWO": other}, credentials=specs)

    statuses = [(await running.get(f"/{repo}/latest/simple/")).status for repo in ("one", "two", "one")]

    assert statuses == [200, 200, 200]
    assert tokens_seen(server) == [server.token, other, server.token]


async def test_a_repository_without_a_source_gets_no_token(server, proxy):
    running = await proxy(server, credentials=(CredentialSpec("env", repos=("another",)),))

    assert (await outcome(running))[0] == 407
    assert tokens_seen(server) == [None]


async def test_reading_and_uploading_have_their_own_tokens(package_manager, proxy):
    server = await package_manager()
    writing = server.issue_token(("sources:write:internal",))
    server.add(wheel("hello"))
    specs = (
        CredentialSpec("env", use=Use.UPLOAD, variable="WRITE"),
        CredentialSpec("env", use=Use.READ, variable="READ"),
    )
    running = await proxy(
        server, environ={"READ": server.token, "WRITE": writing}, credentials=specs, uploads=True, scheme=Scheme.BEARER
    )

    await running.get(PAGE)
    await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert tokens_seen(server) == [server.token, writing]


# --- no token ---


async def test_every_source_of_the_standard_chain_says_why_it_has_no_token(server, proxy, tmp_path):
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "PPMPROXY_AUDIENCE": "packagemanager"}
    running = await proxy(server, environ=environ, home=tmp_path)

    _, detail = await outcome(running)
    reasons = await passed_over(running)

    unset = "PPMPROXY_TOKEN, PPMPROXY_TOKEN_FILE, PACKAGEMANAGER_TOKEN, PACKAGEMANAGER_IDENTITY_TOKEN_FILE"
    assert {name: reasons.pop(f"environment variable {name}") for name in unset.split(", ")} == dict.fromkeys(
        unset.split(", "), "not set"
    )
    assert reasons.pop("keyring")
    assert reasons == {
        f"file {tmp_path / 'token'} (systemd credential)": "no such file",
        "GitHub Actions' identity token": "this is no job of GitHub Actions",
        str(tmp_path / ".ppm" / "tokens.toml"): "no such file",
        str(tmp_path / ".netrc"): "no such file",
    }
    assert "and none was found; run `ppmproxy login`" in detail
    assert len(detail) <= LONGEST_MESSAGE


async def test_the_error_in_a_github_job_without_the_permission_names_it(server, proxy):
    running = await proxy(server, environ={"GITHUB_ACTIONS": "true", "PPMPROXY_AUDIENCE": "packagemanager"})

    status, detail = await outcome(running)

    assert status == 407
    assert "GitHub Actions' identity token gives no token: " in detail
    assert "add `id-token: write` to the job's permissions" in detail


async def test_the_error_in_a_github_job_without_an_audience_names_the_variable(server, proxy):
    environ = {"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x", "PPMPROXY_TOKEN_FILE": ""}
    running = await proxy(server, environ=environ)

    assert (await outcome(running))[0] == 407
    assert (await passed_over(running))["environment variable PPMPROXY_AUDIENCE"] == "not set"


async def test_the_error_for_an_unnamed_identity_token_names_the_variable(server, proxy):
    running = await proxy(server, environ={}, credentials=(CredentialSpec("identity-token"),))

    _, detail = await outcome(running)
    assert "environment variable PACKAGEMANAGER_IDENTITY_TOKEN_FILE gives no token: not set" in detail


# --- status and readiness ---


async def test_status_shows_each_token_in_use_with_its_purposes(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    writing = server.issue_token(("sources:write:internal",))
    specs = (
        CredentialSpec("env", use=Use.UPLOAD, variable="WRITE"),
        CredentialSpec("env", use=Use.READ, variable="READ"),
    )
    running = await proxy(server, environ={"READ": server.token, "WRITE": writing}, credentials=specs, uploads=True)
    await running.get(PAGE)
    await running.ask("POST", "/upload/pypi/internal", data=b"x")

    (shown,) = (await running.get("/-/status")).json()["upstreams"]

    assert [(one["source"], one["purposes"], one["scopes"]) for one in shown["credentials"]] == [
        ("environment variable READ", ["read pypi"], ["repos:read"]),
        ("environment variable WRITE", ["upload internal"], ["sources:write:internal"]),
    ]


async def test_a_rejected_token_makes_the_daemon_unready_during_its_back_off(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "not-the-token"})
    for _ in range(2):
        await outcome(running)

    refused = await running.get("/-/ready")
    until = running.state.upstream("default").lookup.retry_at

    assert (refused.status, refused.text()) == (
        503,
        "default: the token from environment variable PPMPROXY_TOKEN was refused\n",
    )
    assert unready_reason(running.state, until - 0.1) != ""
    assert unready_reason(running.state, until) == ""


# --- the public default ---


class Watched(Mapping):
    """An environment that records the names that are read."""

    def __init__(self, values):
        self.values = values
        self.looked_for = []

    def __getitem__(self, key):
        self.looked_for.append(key)
        return self.values[key]

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


async def test_an_upstream_that_nobody_configured_never_gets_a_token(package_manager, proxy, token_file, tmp_path):
    server = await package_manager(open_repos=("pypi",))
    server.add(wheel("hello"))
    token_file.write_text(server.token)
    (tmp_path / ".netrc").write_text(f"default login __token__ password {server.token}\n")
    environ = Watched({"PPMPROXY_TOKEN": server.token, "PPMPROXY_TOKEN_FILE": str(token_file)})
    running = await proxy(server, environ=environ, home=tmp_path, configured=False)

    reply = await running.get(PAGE)

    assert reply.status == 200
    assert tokens_seen(server) == [None]
    assert not [name for name in environ.looked_for if "TOKEN" in name]


# --- the chain ---


class Source:
    """A source that waits for an event before it answers."""

    name = "a source"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.may_answer = asyncio.Event()

    def find_now(self, _request):
        return None

    async def find(self, _request):
        self.asked += 1
        await self.may_answer.wait()
        return self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)


REQUEST = TokenRequest("https://pm.example.com", "pypi")
TOKEN = Credential.of_secret(Secret("a-token"), "a source")


async def test_concurrent_requests_share_one_look_up():
    source = Source(TOKEN)
    chain = CredentialChain([ChainEntry(source)], lambda _: None)

    waiting = [asyncio.create_task(chain.find(REQUEST)) for _ in range(20)]
    await asyncio.sleep(0)
    source.may_answer.set()
    found = await asyncio.gather(*waiting)

    assert {search.credential for search in found} == {TOKEN}
    assert source.asked == 1


async def test_a_cancelled_look_up_does_not_cancel_the_shared_one():
    source = Source(TOKEN)
    chain = CredentialChain([ChainEntry(source)], lambda _: None)

    leaving, staying = (asyncio.create_task(chain.find(REQUEST)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    source.may_answer.set()

    assert (await staying).credential == TOKEN
    assert leaving.cancelled()


async def test_a_credential_is_registered_for_masking_before_it_is_returned():
    known = []
    source = Source(TOKEN)
    source.may_answer.set()

    search = await CredentialChain([ChainEntry(source)], known.append).find(REQUEST)

    assert known == [search.credential]


async def test_a_result_explains_what_every_source_returned():
    nothing, broken = Source(NothingFound("one", "not set")), Source(SourceBroken("two", "is not text"))
    for source in (nothing, broken):
        source.may_answer.set()

    search = await CredentialChain([ChainEntry(nothing), ChainEntry(broken)], lambda _: None).find(REQUEST)

    assert search.credential is None
    assert search.explanation() == "two: is not text; one: not set"


async def test_a_rejection_in_one_repository_does_not_affect_another(package_manager, proxy):
    # Servers answer 401 or 403 to a token without the scope; both must work.
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    await running.get(PAGE)
    server.add_fault("/internal/*", Status(401))
    refused = await running.get("/internal/latest/simple/")
    reply = await running.get(PAGE)

    assert refused.code == "token-rejected"
    assert reply.status == 200


async def test_no_repr_of_a_chain_or_a_result_shows_the_token():
    source = Source(TOKEN)
    source.may_answer.set()
    chain = CredentialChain([ChainEntry(source)], lambda _: None)

    search = await chain.find(REQUEST)

    assert leaked_forms("a-token", f"{chain!r} {search!r} {search.credential!s}") == []
