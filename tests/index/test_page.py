"""How an index page passes: untouched where it can be, rewritten where it must be, flat in memory at any size."""

import asyncio
import contextlib
import gc
import gzip
import json
import resource
import zlib
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_client import JSON, PIP, UV, request_head, settled, wait_until

from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.link_map import LONGEST_TARGET, LinkMap
from ppmproxy.index.page import LONGEST_TURN, SLICES, PageRequest, buffer, rewritten, slice_after
from ppmproxy.index.rewriter import PageFormat
from ppmproxy.testing.package_manager import LinkStyle, Status, Unsized, wheel

PAGE = "/pypi/latest/simple/hello/"
ROOT = "/pypi/latest/simple/"
MIB = 1 << 20
STATM = Path("/proc/self/statm")
GZIP = {"Accept-Encoding": "gzip, deflate"}


async def direct(server, path, headers):
    """What the fake Package Manager itself answers."""
    connector = aiohttp.TCPConnector(ssl=server.client_context())
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
        session.get(server.url + path, headers={"Authorization": f"Bearer {server.token}", **headers}) as response,
    ):
        return response.headers, await response.read()


def page_answer(body, content_type="text/html", *more):
    return Status(200, None, body, (("Content-Type", content_type), *more))


async def read_and_drop(running, path, headers=None):
    """Read an answer without keeping it; how many bytes came, the first and the last ones, and the memory it took."""
    size, start, end = 0, b"", b""
    memory = Memory()
    patience = aiohttp.ClientTimeout(total=90)
    async with running.session.get(running.url + path, headers=headers, timeout=patience) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            size += len(chunk)
            start = (start + chunk)[:1000] if len(start) < 1000 else start
            end = (end + chunk)[-1000:]
            memory.look()
    return size, start, end, memory.grown


class Memory:
    """The most memory this process came to hold, over what it held at first; in bytes.

    Looked at for each chunk that arrives. `tracemalloc` would be exact, and thirty times slower.
    """

    def __init__(self):
        gc.collect()
        self._first = self._most = resident()

    def look(self):
        self._most = max(self._most, resident())

    @property
    def grown(self):
        return self._most - self._first


def resident():
    if not STATM.exists():
        pytest.skip("only Linux tells a process how much memory it holds")
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


# --- untouched ---


@pytest.mark.parametrize("links", [LinkStyle.RELATIVE, LinkStyle.ROOT_RELATIVE])
@pytest.mark.parametrize("headers", [GZIP, {"Accept-Encoding": "identity"}])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_a_page_whose_links_are_right_passes_byte_for_byte(package_manager, proxy, links, headers, accept):
    server = await package_manager(links=links)
    server.add(wheel("hello"))
    running = await proxy(server)
    asked = {**headers, "Accept": accept}

    reply = await running.get(PAGE, asked)
    upstreams, body = await direct(server, PAGE, asked)

    assert reply.body == body
    for name in ("Content-Encoding", "Content-Length", "ETag", "Content-Type", "Vary"):
        assert reply.headers.get(name) == upstreams.get(name)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_passes_is_still_compressed(package_manager, proxy, coding):
    server = await package_manager()
    page = b'<!DOCTYPE html><a href="hello-1.0.tar.gz">x</a>'
    body = gzip.compress(page) if coding == "gzip" else zlib.compress(page)
    server.add_fault("*", page_answer(body, "text/html", ("Content-Encoding", coding)))
    running = await proxy(server)

    reply = await running.get(PAGE, GZIP)

    assert (reply.body, reply.headers["Content-Encoding"]) == (body, coding)


async def test_something_that_is_no_page_passes_where_a_page_was(package_manager, proxy):
    server = await package_manager()
    body = bytes(range(256))
    server.add_fault("*", page_answer(body, "application/octet-stream"))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert (reply.body, reply.headers["Content-Type"]) == (body, "application/octet-stream")


# --- rewritten ---


@pytest.mark.parametrize("headers", [GZIP, {"Accept-Encoding": "identity"}])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_a_rewritten_page_has_the_right_length_and_no_coding(package_manager, proxy, headers, accept):
    server = await package_manager(links=LinkStyle.ABSOLUTE, base_path="/rspm")
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE, {**headers, "Accept": accept})

    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert "Content-Encoding" not in reply.headers
    assert "Transfer-Encoding" not in reply.headers
    assert reply.headers["ETag"]
    assert server.origin not in reply.text()
    assert "/pypi/latest/packages/" in reply.text()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate", "GZIP", "two members"])
async def test_every_coding_asked_for_is_read(package_manager, proxy, coding):
    server = await package_manager()
    page = f'<!DOCTYPE html><a href="{server.origin}/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>'.encode()
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "deflate": zlib.compress(page),
        "raw deflate": raw.compress(page) + raw.flush(),
        "two members": gzip.compress(page[:20]) + gzip.compress(page[20:]),
    }
    name = {"raw deflate": "deflate", "two members": "gzip"}.get(coding, coding)
    body = bodies.get(coding) or gzip.compress(page)
    server.add_fault("*", page_answer(body, "text/html", ("Content-Encoding", name)))
    running = await proxy(server)

    reply = await running.get(PAGE, GZIP)

    assert reply.body == b'<!DOCTYPE html><a href="/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>'


async def test_a_page_of_unknown_length_comes_whole(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    server.add_fault("*", Unsized())
    running = await proxy(server)

    reply = await running.get(PAGE, {"Accept": JSON})

    assert json.loads(reply.body)["files"][0]["url"].startswith("/pypi/")


async def test_the_clients_host_is_in_no_link(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    running = await proxy(server)

    received = await running.raw(
        request_head(PAGE, "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", host="localhost:1")
    )

    assert b'href="/pypi/latest/packages/' in received
    assert b"evil.example" not in received
    assert b"localhost" not in received


async def test_links_written_as_plain_http_by_a_server_behind_a_terminator_are_local(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.address = server.origin.replace("https:", "http:")
    server.add(wheel("hello"))
    running = await proxy(server)

    page = await running.get(PAGE, {"Accept": JSON})

    assert page.json()["files"][0]["url"].startswith("/pypi/latest/packages/")


async def test_a_page_broken_after_its_beginning_went_out_cuts_the_connection(package_manager, proxy, logs):
    server = await package_manager()
    good = f'<a href="{server.origin}/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>\n'.encode() * 40_000
    server.add_fault("*", page_answer(b"<!DOCTYPE html>" + good + b"<a href='" + b"x" * 2 * MIB))
    running = await proxy(server)

    received = await running.raw(request_head(PAGE))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert not received.endswith(b"0\r\n\r\n")
    assert logs.requests[0]["code"] == "upstream-unexpected"


# --- what servers send all the same ---

LINK = "/pypi/latest/packages/x/hello-1.0.tar.gz"
ODD_CODINGS = {
    "a name that is no coding": (["UTF-8"], lambda page: page),
    "another one": (["aws-chunked"], lambda page: page),
    "no coding, then gzip": (["aws-chunked,gzip"], gzip.compress),
    "gzip twice": (["gzip, gzip"], lambda page: gzip.compress(gzip.compress(page))),
    "two lines": (["deflate", "gzip"], lambda page: gzip.compress(zlib.compress(page))),
    "zeros at the end": (["gzip"], lambda page: gzip.compress(page) + bytes(512)),
    "rubbish at the end": (["gzip"], lambda page: gzip.compress(page) + b"garbage"),
    "zeros after deflate": (["deflate"], lambda page: zlib.compress(page) + bytes(20)),
    "br that is none": (["br"], bytes),
    "zstd that is none": (["zstd"], bytes),
    "br that is none, of gzip": (["gzip, br"], gzip.compress),
}


@pytest.mark.parametrize("kind", ODD_CODINGS)
async def test_an_odd_coding_is_read_as_clients_read_it(package_manager, proxy, kind):
    lines, coded = ODD_CODINGS[kind]
    server = await package_manager()
    page = f'<!DOCTYPE html><a href="{server.origin}{LINK}">x</a>'.encode()
    server.add_fault("*", page_answer(coded(page), "text/html", *[("Content-Encoding", line) for line in lines]))
    running = await proxy(server)

    reply = await running.get(PAGE, GZIP)

    assert (reply.status, reply.text()) == (200, f'<!DOCTYPE html><a href="{LINK}">x</a>')
    assert "Content-Encoding" not in reply.headers


@pytest.mark.parametrize("kind", [JSON, "text/html"])
async def test_a_label_that_is_not_true_does_not_stay_on_a_page_that_does_not_change(package_manager, proxy, kind):
    server = await package_manager()
    page = b'{"files": []}' if kind == JSON else b"<!DOCTYPE html>"
    server.add_fault("*", page_answer(page, kind, ("Content-Encoding", "br")))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert (reply.status, reply.body, reply.headers.get("Content-Encoding")) == (200, page, None)


@pytest.mark.parametrize("kind", [JSON, "text/html"])
@pytest.mark.parametrize(
    "body",
    [b"x", b"\x0b\x02\x80<!DOCTYPE html>", b"<!DOCTYPE html>\x00\x8f\xff", b'{"files": \x01', b"\x28\xb5\x2f\xfd", b""],
)
async def test_a_coding_that_cannot_be_undone_is_named(package_manager, proxy, body, kind):
    server = await package_manager()
    server.add_fault("*", page_answer(body, kind, ("Content-Encoding", "br")))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV, "Accept": kind})

    assert reply.code == "upstream-unexpected"
    assert "the unsupported coding br" in reply.json()["detail"]


@pytest.mark.parametrize("accept", [JSON, "text/html"])
@pytest.mark.parametrize("status", [200, 201, 202, 203, 205, 206, 207, 226, 299, 300, 302, 305])
async def test_a_page_is_a_page_whatever_its_status_if_that_is_no_error(package_manager, proxy, status, accept):
    server = await package_manager()
    link = f"{server.origin}{LINK}"
    pages = {JSON: json.dumps({"files": [{"url": link}]}), "text/html": f'<!DOCTYPE html><a href="{link}">x</a>'}
    server.add_fault("*", Status(status, None, pages[accept].encode(), (("Content-Type", accept),)))
    running = await proxy(server)

    reply = await running.get(PAGE, {"Accept": accept})

    assert reply.status == status
    assert reply.text() == pages[accept].replace(server.origin, "")


async def test_a_page_that_ends_inside_a_tag_passes_as_far_as_it_can_be_read(package_manager, proxy):
    server = await package_manager()
    page = f'<!DOCTYPE html><a href="{server.origin}{LINK}">x</a>'
    server.add_fault("*", page_answer(f'{page}<a href="{server.origin}/cut'.encode()))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert (reply.status, reply.text()) == (200, f'<!DOCTYPE html><a href="{LINK}">x</a>')


@pytest.mark.parametrize("accept", [JSON, "text/html"])
@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("packages/a%2Fhello-1.0.whl", "the path contains an encoded slash"),
        ("packages/hello-1.0.whl?" + "a" * 9000, "a URL has 90"),
    ],
)
@pytest.mark.parametrize("is_absolute", [True, False])
async def test_a_page_that_links_to_a_file_that_cannot_be_had_is_refused_and_that_is_logged(
    package_manager, proxy, logs, accept, link, reason, is_absolute
):
    server = await package_manager()
    place = f"{server.origin}/pypi/latest/{link}" if is_absolute else f"../../{link}"
    page = json.dumps({"files": [{"url": place}]}) if accept == JSON else f'<!DOCTYPE html><a href="{place}">x</a>'
    server.add_fault("*", page_answer(page.encode(), accept))
    running = await proxy(server)

    for_uv = await running.get(PAGE, {"Accept": accept, "User-Agent": UV})
    for_pip = await running.get(PAGE, {"Accept": accept, "User-Agent": PIP})

    assert for_uv.status == 424
    assert reason in for_uv.reason
    assert reason in for_pip.headers["Content-Type"]
    assert reason in logs.requests[0]["detail"]


async def test_a_link_as_long_as_a_page_may_have_is_taken(package_manager, proxy):
    server = await package_manager()
    size = LONGEST_TARGET - len(LINK) - 1
    page = f'<!DOCTYPE html><a href="{server.origin}{LINK}?{"a" * size}">x</a>'
    server.add_fault("*/simple/*", page_answer(page.encode()))
    server.add_fault("*/packages/*", Status(200, None, b"PK"))
    running = await proxy(server)

    link = (await running.get(PAGE)).text().split('"')[1]
    file = await running.get(link)

    assert (len(link), file.body) == (LONGEST_TARGET, b"PK")


async def test_empty_gzip_members_do_not_keep_others_waiting_and_are_given_up(package_manager, proxy):
    server = await package_manager()
    body = gzip.compress(b'<!DOCTYPE html><a href="x.whl">x</a>') + gzip.compress(b"") * 100_000
    server.add_fault("*", page_answer(body, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    reading = asyncio.create_task(running.get(PAGE, {**GZIP, "User-Agent": UV}))
    longest = 0.0
    clock = asyncio.get_running_loop().time
    while not reading.done():
        began = clock()
        await asyncio.sleep(0)
        longest = max(longest, clock() - began)
    reply = await reading

    assert "compressed in more than 1000 pieces" in reply.json()["detail"]
    assert longest < 0.5  # 0.01 is meant; without turns it was 2


LONG_NUMBER = "&#" + "7" * 5000 + ";"
LONG_NUMBERS = {
    "a link": (200, f'<!DOCTYPE html><a href="{LONG_NUMBER}/x.whl">x</a>'),
    "a base": (200, f'<!DOCTYPE html><base href="/{LONG_NUMBER}/"><a href="https://files.example.org/x.whl">x</a>'),
    "a provenance": (200, f'<!DOCTYPE html><a href="x.whl" data-provenance="{LONG_NUMBER}">x</a>'),
    "a type": (200, f'<!DOCTYPE html><input type="{LONG_NUMBER}"><a href="x.whl">x</a>'),
    "an error": (404, f"<p>{LONG_NUMBER} is not here</p>"),
    "a refusal": (403, f"<p>{LONG_NUMBER} is not for you</p>"),
}


@pytest.mark.parametrize("place", LONG_NUMBERS)
async def test_a_number_of_five_thousand_digits_is_no_failure_of_ours(package_manager, proxy, place):
    status, page = LONG_NUMBERS[place]
    server = await package_manager()
    server.add_fault("*", Status(status, None, page.encode(), (("Content-Type", "text/html"),)))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status in {200, 403, 404, 451}
    assert reply.code != "internal"


WORDS = rb"""
< > <a <base <!-- <script href= ' " / = ; & &# &#x &amp http:// https://pm.example.com :port [ ] // @ % %2F
\ .whl ../ ? # {"files":[{ "url": "\u0075rl" { } : , - null NaN 1e999
""".split()
ODD_BYTES = [b"9" * 5000, b"f" * 5000, b"[" * 2000, b"\xff\xfe", b"\xf0\x9f", b"\0", b"\n", b" "]
GARBAGE = st.lists(st.sampled_from([*WORDS, *ODD_BYTES]), max_size=30).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PageFormat),
    GARBAGE | st.binary(max_size=300),
    st.sampled_from([(), ("gzip",), ("deflate",), ("gzip", "gzip"), ("utf-8",), ("br",)]),
    st.sampled_from([bytes, gzip.compress, zlib.compress]),
    st.integers(1, 400),
)
def test_whatever_a_server_sends_as_a_page_only_errors_of_ours_come_out(form, body, codings, coded, size):
    async def passed():
        body_sent = coded(body)

        async def chunks():
            for at in range(0, len(body_sent), size):
                yield body_sent[at : at + size]

        upstream = Upstream(url="https://pm.example.com")
        page = PageRequest(form, upstream.url + PAGE, PAGE, codings, LinkMap(upstream))
        arriving = chunks()
        return [piece async for piece in rewritten(page, await buffer(page, arriving), arriving)]

    with contextlib.suppress(UpstreamUnexpectedError):
        asyncio.run(passed())


# --- size ---

PROJECTS = 200_000
FLAT = 8 * MIB  # less than any of these pages


@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_the_index_of_all_projects_streams(package_manager, proxy, accept):
    count = 2 * PROJECTS if accept == JSON else PROJECTS
    server = await package_manager(links=LinkStyle.ABSOLUTE, generated_projects=count)
    running = await proxy(server)
    await running.get(PAGE)

    size, start, end, grown = await read_and_drop(running, ROOT, {"Accept": accept})

    assert size > 10 * MIB
    assert grown < FLAT
    assert server.origin.encode() not in start + end
    assert f"project-{count - 1:07}".encode() in end


async def test_the_index_of_all_projects_streams_compressed_too(package_manager, proxy):
    server = await package_manager()
    count = PROJECTS // 2
    place, more = f"{server.url}/pypi/latest/simple", "x" * 100
    lines = (f'<a href="{place}/project-{n:07}/" data-more="{more}">project-{n:07}</a>\n' for n in range(count))
    body = gzip.compress("".join(["<!DOCTYPE html>\n", *lines]).encode(), 1)
    server.add_fault("*/simple/", page_answer(body, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    size, start, end, grown = await read_and_drop(running, ROOT, GZIP)

    assert size > 10 * MIB
    assert grown < FLAT
    assert b'href="/pypi/latest/simple/project-0000000/"' in start
    assert f'href="/pypi/latest/simple/project-{count - 1:07}/"'.encode() in end


@pytest.mark.parametrize("links", ["changed", "unchanged"])
async def test_a_compressed_bomb_stays_flat(package_manager, proxy, links):
    server = await package_manager()
    origin = server.url if links == "changed" else ""
    line = f'<a href="{origin}/pypi/latest/simple/project/" data-x="{"x" * 1000}">project</a>\n'.encode()
    squeeze = zlib.compressobj(6, wbits=31)
    piece = squeeze.compress(b"<!DOCTYPE html>\n")
    for _ in range(32):
        piece += squeeze.compress(line * (MIB // len(line)))
    bomb = piece + squeeze.flush()
    server.add_fault("*/simple/", page_answer(bomb, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    *_, grown = await read_and_drop(running, ROOT, GZIP)

    assert len(bomb) < MIB
    assert grown < FLAT


async def test_a_bomb_does_not_keep_others_waiting(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    line = f'<a href="{server.url}/pypi/latest/simple/project/" data-x="{"x" * 1000}">project</a>\n'.encode()
    bomb = gzip.compress(b"<!DOCTYPE html>\n" + line * (128 * MIB // len(line)), 1)
    server.add_fault("*/simple/", page_answer(bomb, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    reading = asyncio.create_task(read_and_drop(running, ROOT, GZIP))
    await wait_until(lambda: running.state.in_flight == 1)
    started = asyncio.get_running_loop().time()
    await running.get("/-/live")
    waited = asyncio.get_running_loop().time() - started
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert waited < 1


async def test_others_have_their_turn_while_a_page_of_nothing_but_tags_is_read():
    upstream = Upstream(url="https://ppm.example.com")
    page = PageRequest(PageFormat.HTML, upstream.url + PAGE, PAGE, (), LinkMap(upstream))
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    rewritten = await page.reading().rewritten(b"<A>" * (MIB // 3))
    waiting.cancel()

    assert rewritten == b"<A>" * (MIB // 3)
    assert turns > 3


@pytest.mark.parametrize("seconds_per_mib", [0.001, 0.02, 0.1, 0.3, 0.45, 0.6, 1, 2])
def test_slices_grow_where_a_page_is_quick_and_never_to_more_than_a_turn(seconds_per_mib):
    sizes = [SLICES[0]]
    for _ in range(20):
        sizes.append(slice_after(sizes[-1], sizes[-1] * seconds_per_mib / MIB))

    assert max(sizes) * seconds_per_mib / MIB < LONGEST_TURN
    assert (sizes[-1] == SLICES[2]) == (seconds_per_mib < 0.03)
    assert slice_after(SLICES[2], LONGEST_TURN * 2) == SLICES[0]


async def test_a_file_is_never_held(package_manager, proxy):
    server = await package_manager(tls=False)
    file = server.add_large("big-1.0-py3-none-any.whl", 64 * MIB)
    running = await proxy(server)

    size, _, _, grown = await read_and_drop(running, f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert size == 64 * MIB
    assert grown < FLAT


async def test_a_slow_reader_of_a_large_index_is_waited_for(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE, generated_projects=10 * PROJECTS)
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        memory = Memory()
        writer.write(request_head(ROOT, "Accept: text/html"))
        await reader.readuntil(b"\r\n\r\n")
        sent = await settled(lambda: server.requests[-1].sent)
        memory.look()

        assert running.state.in_flight == 1
        assert sent < 100 * MIB  # of 200: the kernel's buffers on both sides grow to 70 where it is generous
    assert memory.grown < FLAT


async def test_a_page_too_large_to_be_checked_as_a_whole_still_passes(package_manager, proxy):
    server = await package_manager()
    files = [{"filename": f"hello-{n}.tar.gz", "url": f"hello-{n}.tar.gz", "hashes": {}} for n in range(30_000)]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "hello", "files": files}).encode()
    server.add_fault("*", page_answer(body, JSON))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 200
    assert reply.json() == json.loads(body)
