"""Claims about what each client sees of an upstream that fails after a good page."""

import asyncio
import os

import pytest
from proxy_client import request_head, wait_until

from ppmproxy.testing.package_manager import CloseBeforeHead, Cut, NoAnswer, Stall, Status

PAYLOAD = os.urandom(2_000_000)
LASTING = {
    "upstream down": CloseBeforeHead(),
    "upstream silent": NoAnswer(),
    "upstream 500": Status(500),
    "upstream 503": Status(503),
}
REFUSING = {f"upstream {status}": Status(status) for status in (401, 403, 404, 410, 451)}


def shown(found):
    return f"{found[0]} ({found[1] or 'no word of the cache'}, {found[2]} requests)"


@pytest.mark.parametrize("name", [*LASTING, *REFUSING])
async def test_after_a_good_page(cached, observed, name):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    if name in REFUSING:
        it.wait_for_answers()
    it.server.add_fault("*", (LASTING | REFUSING)[name])

    page, file = await it.seen(page=True), await it.seen()
    it.server.release()

    observed(f"{name} after a good page", f"page {shown(page)}; file {shown(file)}")
    if name in LASTING:
        assert (page[0], file[0]) == (200, 200)
    else:
        assert page[0] != 200
        assert file[0] != 200


@pytest.mark.parametrize("kind", ["revoked", "of another repository", "unknown", "changed to a good one"])
async def test_a_token_that_is(cached, observed, kind):
    it = await cached(options={"scopes": ("repos:read:pypi",)})
    await it.fill()
    if kind == "revoked":
        it.server.revoke(it.server.token)
        it.cache.state.proofs.end_all()  # as after cache_recheck
    else:
        scopes = ("repos:read:pypi",) if kind == "changed to a good one" else ("repos:read:elsewhere",)
        it.use("unknown" if kind == "unknown" else it.server.issue_token(scopes))
    it.wait_for_answers()

    page, file = await it.seen(page=True), await it.seen()

    observed(f"a token that is {kind}", f"page {shown(page)}; file {shown(file)}")
    assert not page[1].startswith("hit")
    assert (file[0] == 200) == (kind == "changed to a good one")


async def test_a_blocked_project(cached, observed):
    it = await cached()
    now = [0.0]
    it.cache.state.clock = it.cache.state.proofs._clock = lambda: now[0]
    await it.fill()
    it.wait_for_answers()
    it.server.add_fault("*hello*", Status(403, body=b"hello is blocked"))

    within = await it.seen()
    anew = (await it.page(**{"Cache-Control": "no-cache"})).status
    now[0] = 600.0
    after = await it.seen()

    observed(
        "a project that is blocked", f"within cache_recheck {shown(within)}; page asked anew {anew}; after {after[0]}"
    )
    assert (within[0], anew, after[0]) == (200, 451, 403)


@pytest.mark.parametrize("name", ["at once", "after it was continued"])
async def test_a_wrong_hash(cached, observed, name):
    it = await cached(payload=PAYLOAD)
    await it.page()
    if name == "at once":
        it.server.add_fault(it.path, Status(200, body=PAYLOAD[::-1]))
    else:
        size = len(it.file.data)
        head = (("Content-Range", f"bytes 500000-{size - 1}/{size}"),)
        rest = Status(206, body=b"x" * (size - 500_000), headers=head)
        it.server.add_fault(lambda seen: seen.path == it.path and seen.header("Range") is not None, rest)
        it.server.add_fault(lambda seen: seen.path == it.path and seen.header("Range") is None, Cut(500_000))

    received = await it.running.raw(request_head(it.path))

    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await wait_until(lambda: not list((it.folder / "partial").iterdir()))
    kept = [path for path in (it.folder / "blobs").glob("*/*") if path.is_file()]
    observed(
        f"a wrong hash, {name}", f"{len(body)} of {length} bytes, then the connection ends; {len(kept)} files kept"
    )
    assert len(body) < length
    assert kept == []


async def test_a_broken_body(cached, observed):
    it = await cached(payload=PAYLOAD)
    await it.page()
    it.server.add_fault(it.path, Cut(500_000), times=1)

    reply = await it.get()

    statuses = [seen.status for seen in it.server.requests_for(it.path)]
    observed("a body that is cut once", f"{reply.status}, whole; the upstream answered {statuses}")
    assert reply.body == it.file.data


async def test_clients_that_leave(cached, observed):
    it = await cached(payload=PAYLOAD)
    await it.page()
    it.server.add_fault(it.path, Stall(500_000))

    for _ in range(200):
        async with it.running.connected() as (reader, writer):
            writer.write(request_head(it.path))
            await reader.readuntil(b"\r\n\r\n")
    await wait_until(lambda: len(it.cache.files.downloads) == 0 and not list((it.folder / "partial").iterdir()))
    await wait_until(
        lambda: not [task for task in asyncio.all_tasks() if "ppmproxy/cache" in repr(task.get_stack(limit=9))]
    )

    observed("200 clients leave in a row", "no task, no partial file, no download left")


@pytest.mark.parametrize("which", [0, 1, 2], ids=["first", "middle", "last"])
async def test_one_client_of_three_leaves(cached, observed, which):
    it = await cached(payload=PAYLOAD)
    await it.page()
    it.server.add_fault(it.path, Stall(500_000))
    clients = []
    for number in range(3):
        clients.append(asyncio.create_task(it.running.raw(request_head(it.path))))
        await wait_until(lambda expected=number + 1: _waiting(it) == expected)

    clients[which].cancel()
    await wait_until(lambda: _waiting(it) == 2)
    it.server.release()
    bodies = [(await client).partition(b"\r\n\r\n")[2] for number, client in enumerate(clients) if number != which]

    name = ("first", "middle", "last")[which]
    observed(f"the {name} of three clients leaves", "the others get the file; one request")
    assert bodies == [it.file.data] * 2
    assert len(it.server.requests_for(it.path)) == 1


def _waiting(it):
    return sum(download.clients for download in it.cache.files.downloads._running.values())


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
async def test_offline(cached, observed, full):
    it = await cached()
    if full:
        await it.fill()
    await it.running.daemon.stop()
    again = await cached(offline=True)

    page, file = await again.seen(page=True), await again.seen()

    observed(f"offline with {'a full' if full else 'an empty'} cache", f"page {shown(page)}; file {shown(file)}")
    assert (page[0], file[0]) == ((200, 200) if full else (424, 424))
