"""Claims about who may have what is cached: nobody without a fresh proof, or an answer of the moment."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from proxy_client import PAGE, wait_until

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.cache.rights import FORM, Proofs, RightHolder, token_of
from ppmproxy.config.model import Upstream
from ppmproxy.testing.package_manager import CloseBeforeHead, LoginPage, LoginRedirect, RedirectTo, Stall, Status, jwt

ENDINGS = [401, 403, 404, 410, 451]


# --- proofs and holders ---


def test_a_proof_ends_with_its_time():
    now = [0.0]
    proofs = Proofs(10.0, lambda: now[0])
    token = token_of(Credential.of_secret(Secret("a"), "here"))

    proofs.record("page", token)
    seen = []
    for now[0] in (0.0, 9.9, 10.0, 5.0):
        seen.append(proofs.has("page", token))

    assert seen == [True, True, False, True]


def test_a_proof_is_for_one_token_and_one_thing():
    proofs = Proofs(10.0, lambda: 0.0)
    mine, other = (
        token_of(Credential.of_secret(Secret("a"), "here")),
        token_of(Credential.of_secret(Secret("b"), "here")),
    )

    proofs.record("page", mine)

    assert proofs.has("page", mine)
    assert not proofs.has("page", other)
    assert not proofs.has("page", None)
    assert not proofs.has("other page", mine)


def test_a_page_that_ends_ends_in_all_its_forms():
    proofs = Proofs(10.0, lambda: 0.0)
    for what in ("page", f"page{FORM}text/html", "page/other"):
        proofs.record(what, None)

    proofs.end("page")

    assert [proofs.has(what, None) for what in ("page", f"page{FORM}text/html", "page/other")] == [False, False, True]


def holder_of(token, source="here", repo="pypi", url="https://pm.example.com", key=b"k", **upstream):
    return RightHolder.of(
        key, Upstream(url=url, **upstream), repo, Credential.of_secret(Secret(token), source) if token else None
    )


def test_a_renewed_token_of_the_same_person_has_the_same_holder():
    claims = {"sub": "alice", "scopes": ["repos:read"]}
    old, new = jwt({**claims, "jti": "1"}), jwt({**claims, "jti": "2"})

    assert holder_of(old) == holder_of(new)


@pytest.mark.parametrize(
    "other",
    [
        holder_of(jwt({"sub": "bob", "scopes": ["repos:read"]})),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read", "more"]})),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), source="elsewhere"),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), repo="other"),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), url="https://other.example.com"),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), key=b"of another folder"),
        holder_of(None),
        holder_of("no-jwt"),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), headers=(("X-Tenant", "b"),)),
        holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}), client_cert=Path("/b.pem")),
    ],
    ids=[
        *("subject", "scopes", "source", "repository", "upstream", "folder", "no token", "no JWT"),
        *("fixed headers", "client certificate"),
    ],
)
def test_whatever_differs_makes_another_holder(other):
    assert other != holder_of(jwt({"sub": "alice", "scopes": ["repos:read"]}))


def test_a_holder_shows_nothing_of_a_token():
    assert holder_of("a-token").digest != holder_of("another").digest
    assert b"a-token" not in holder_of("a-token").digest


# --- on the wire ---


async def test_another_token_has_to_be_proved_before_it_gets_a_file(cached):
    it = await cached()
    await it.fill()
    it.use(it.server.issue_token())

    first, second = await it.seen(), await it.seen()

    assert (first[0], first[2]) == (200, 1)
    assert second == (200, "hit", 0)


async def test_other_fixed_headers_get_nothing_of_what_the_first_ones_were_shown(cached):
    it = await cached(headers=(("X-Tenant", "a"),))
    await it.fill()
    other = await cached(headers=(("X-Tenant", "b"),))
    it.server.add_fault("*", CloseBeforeHead())

    assert [(await other.seen(page=page))[0] for page in (True, False)] == [424, 424]


async def test_another_token_has_to_be_proved_before_it_gets_a_page(cached):
    it = await cached()
    await it.fill()
    it.use(it.server.issue_token())

    first, second = await it.seen(page=True), await it.seen(page=True)

    assert (first[0], first[2]) == (200, 1)
    assert second == (200, "hit", 0)


@pytest.mark.parametrize("page", [True, False], ids=["page", "file"])
@pytest.mark.parametrize("token", ["unknown", jwt({"sub": "nobody"})], ids=["opaque", "JWT"])
async def test_a_token_that_the_upstream_does_not_know_gets_nothing(cached, page, token):
    it = await cached()
    await it.fill()
    it.use(token)

    status, said, _ = await it.seen(page=page)

    assert status == 407
    assert "hit" not in said


async def test_a_token_of_another_repository_gets_nothing(cached):
    it = await cached(options={"scopes": ("repos:read:pypi",)})
    await it.fill()
    it.use(it.server.issue_token(("repos:read:elsewhere",)))

    statuses = [(await it.seen(page=page))[0] for page in (False, True)]

    assert all(status in {403, 451, 407} for status in statuses)


@pytest.mark.parametrize("status", ENDINGS)
async def test_a_refusal_of_the_file_ends_it_and_its_page(cached, status):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.server.add_fault(it.path, Status(status))

    refused = await it.get()
    it.server.clear_faults()
    it.server.add_fault("*", CloseBeforeHead())
    later = [(await it.seen(page=page))[:2] for page in (False, True)]

    assert refused.status in {403, 404, 407, 410, 451}
    assert [found[0] for found in later] == [424, 424]


@pytest.mark.parametrize("status", ENDINGS)
async def test_a_refusal_of_the_page_ends_it_and_its_files(cached, status):
    it = await cached(cache_recheck=600.0, cache_pages_for=0.0)
    await it.page()
    await it.get()
    it.cache.state.proofs.end(it.server.url + it.path)  # only the page vouches for it
    it.server.add_fault("*/simple/*", Status(status))
    refused = await it.page()
    it.server.clear_faults()
    it.server.add_fault("*", CloseBeforeHead())

    later = [(await it.seen(page=page))[0] for page in (False, True)]

    assert refused.status in {403, 404, 407, 410, 451}
    assert later == [424, 424]


async def test_a_revoked_token_gets_a_file_no_longer_than_it_is_vouched_for(cached):
    now = [0.0]
    it = await cached()
    it.cache.state.clock = it.cache.state.proofs._clock = lambda: now[0]
    await it.fill()
    it.server.revoke(it.server.token)

    within = await it.seen()
    now[0] = 600.0
    after = await it.seen()

    assert within == (200, "hit", 0)
    assert (after[0], "hit" in after[1]) == (407, False)


async def test_a_revoked_token_has_no_stale_right_either(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.server.revoke(it.server.token)
    await it.get()
    it.server.add_fault("*", CloseBeforeHead())

    assert [(await it.seen(page=page))[0] for page in (False, True)] == [424, 424]


async def test_a_blocked_project_is_gone_at_once_for_a_page_asked_anew(cached):
    it = await cached()
    await it.fill()
    it.server.add_fault("*/simple/hello/", Status(403, body=b"hello is blocked"))

    page = await it.page(**{"Cache-Control": "no-cache"})
    file = await it.seen()

    assert page.status == 451
    assert file[2] >= 1


@pytest.mark.parametrize(
    "answer", [LoginRedirect(), RedirectTo("https://elsewhere.invalid/x"), LoginPage(), Status(500)]
)
async def test_what_a_gateway_says_is_no_proof(cached, answer):
    it = await cached(cache_recheck=0.0, cache_stale_for=0.0)
    await it.fill()
    it.server.add_fault(it.path, answer)

    status, said, _ = await it.seen()

    assert status in {424, 403}
    assert "hit" not in said
    assert "fwd-status" not in said


async def test_a_redirect_to_a_storage_that_had_the_right_file_is_a_proof(cached, package_manager, upstream):
    server = await package_manager()
    storage = await package_manager(refuses_authorization=True, catalog=server.catalog)
    server.files_redirect_to = storage.origin
    it = await cached(server, cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    storage.clear()

    status, said, requests = await it.seen()

    assert (status, said, requests) == (200, "fwd=stale; fwd-status=302", 1)
    assert storage.requests == []


async def test_the_token_that_was_accepted_counts_not_the_one_that_was_looked_up(cached):
    it = await cached()
    await it.fill()
    good, bad = it.server.token, "unknown"
    proofs = it.cache.state.proofs

    it.use(bad)
    refused = await it.seen()

    assert refused[0] == 407
    assert proofs.has(it.server.url + PAGE, token_of(Credential.of_secret(Secret(good), "x")))
    assert not proofs.has(it.server.url + PAGE, token_of(Credential.of_secret(Secret(bad), "x")))


async def test_a_download_under_way_is_not_joined_by_another_token(cached):
    it = await cached(payload=os.urandom(2_000_000), read_timeout=15.0)
    await it.page()
    it.server.add_fault(it.path, Stall(500_000), times=1)
    first = asyncio.create_task(it.get())
    await wait_until(lambda: len(it.cache.files.downloads) == 1 and it.server.requests_for(it.path))
    it.use("unknown")

    other = await it.get()
    it.server.release()

    assert other.status == 407
    assert (await first).body == it.file.data


async def test_a_download_under_way_is_not_joined_by_its_own_token_once_that_is_refused(cached):
    it = await cached(payload=os.urandom(2_000_000), read_timeout=15.0)
    await it.page()
    it.server.add_fault(it.path, Stall(500_000), times=1)
    first = asyncio.create_task(it.get())
    await wait_until(lambda: len(it.cache.files.downloads) == 1 and it.server.requests_for(it.path))
    it.server.add_fault("*/simple/*", Status(403))
    it.server.add_fault(lambda seen: seen.path == it.path and seen.method == "HEAD", Status(403))
    it.server.add_fault(lambda seen: seen.path == it.path and len(it.server.requests_for(it.path)) > 1, Status(403))
    await it.page(**{"Cache-Control": "no-cache"})
    it.cache.state.proofs.end(it.server.url + it.path)

    other = await it.get()
    it.server.clear_faults()

    assert other.status == 403
    assert (await first).status == 200


@pytest.mark.parametrize("headers", [{"Range": "bytes=0-9"}, {"If-None-Match": "*"}], ids=["range", "condition"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_part_of_a_file_is_had_without_a_proof(cached, method, headers):
    it = await cached()
    await it.fill()
    it.use("unknown")

    reply = await it.running.ask(method, it.path, headers)

    assert reply.status == 407
    assert "ETag" not in reply.headers


@pytest.mark.parametrize("etags", [True, False], ids=["by its etag", "by its date"])
async def test_a_file_that_is_no_longer_vouched_for_is_asked_about(cached, etags):
    it = await cached(cache_recheck=0.0, options={"offers_etags": etags})
    await it.fill()

    assert await it.seen() == (200, "fwd=stale; fwd-status=304", 1)


async def test_a_page_of_another_repository_vouches_for_nothing(cached):
    it = await cached(options={"repos": ("pypi", "other")})
    await it.fill()
    digest = hashlib.sha256(it.file.data).hexdigest()
    link = f'<a href="/pypi/latest/packages/1/secret-1.0.whl#sha256={digest}">secret-1.0.whl</a>'
    head = (("Content-Type", "text/html"),)
    page = f"<!DOCTYPE html><title>Links for x</title>{link}".encode()
    it.server.add_fault("/other/*", Status(200, body=page, headers=head))
    await it.running.get("/other/latest/simple/secret/", {"Accept": "text/html"})

    reply = await it.running.get("/pypi/latest/packages/1/secret-1.0.whl")

    assert reply.status == 404
