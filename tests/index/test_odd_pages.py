"""Claims about odd index pages: read as clients read them, or refused with the reason."""

import asyncio
import contextlib
import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_pages import page_answer
from proxy_client import JSON, PIP, UV

from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.link_map import LONGEST_TARGET, LinkMap
from ppmproxy.index.page import PageRequest, buffer, rewritten
from ppmproxy.index.rewriter import PageFormat
from ppmproxy.testing.package_manager import Status

PAGE = "/pypi/latest/simple/hello/"


GZIP = {"Accept-Encoding": "gzip, deflate"}


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
