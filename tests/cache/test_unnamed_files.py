"""Claims about files for which no page names a hash: R's lists and packages, and files on other hosts."""

from dataclasses import replace

import pytest
from cached_upstream import word
from proxy_client import JSON, PAGE

from ppmproxy.auth.origin import Origin
from ppmproxy.testing.package_manager import RPackage, Status, wheel

CONTRIB = "/cran/latest/src/contrib/"
R = "R (4.4.1 x86_64-pc-linux-gnu x86_64 linux-gnu)"


@pytest.fixture
async def it(cached):
    made = await cached(options={"file_cache_control": "max-age=3600"})
    made.package = made.server.add_r(RPackage("hello"))
    return made


@pytest.mark.parametrize("name", ["PACKAGES", "PACKAGES.gz", "hello_1.0.tar.gz"])
async def test_what_r_asks_for_is_kept_for_the_same_agent(it, name):
    path = CONTRIB + name

    first = await it.running.get(path, {"User-Agent": R})
    second = await it.running.get(path, {"User-Agent": R})
    other = await it.running.get(path, {"User-Agent": R.replace("4.4.1", "4.3.0")})

    assert (first.status, word(first)) == (200, "fwd=uri-miss; stored")
    assert (second.body, word(second)) == (first.body, "hit")
    assert word(other) == "fwd=uri-miss; stored"
    assert len(it.server.requests_for(path)) == 2


async def test_what_may_change_is_not_said_to_last(it):
    replies = [await it.running.get(CONTRIB + "PACKAGES", {"User-Agent": R}) for _ in range(2)]

    assert replies[1].headers["Cache-Control"] == "no-cache"
    assert replies[1].headers["ETag"]


async def test_a_list_of_r_that_has_changed_is_had_and_kept_in_its_place(cached):
    it = await cached(cache_pages_for=0)
    it.server.add_r(RPackage("hello"))
    path = CONTRIB + "PACKAGES"
    before = await it.running.get(path, {"User-Agent": R})
    it.server.add_r(RPackage("another"))

    changed, again = [await it.running.get(path, {"User-Agent": R}) for _ in range(2)]

    assert changed.body == again.body != before.body
    assert (changed.status, word(changed)) == (200, "fwd=uri-miss; stored")
    assert word(again).startswith("fwd=stale")


async def test_an_answer_that_varies_with_something_else_is_not_kept(it):
    path = CONTRIB + "PACKAGES.gz"
    it.server.add_fault(path, Status(200, body=b"a list", headers=(("Vary", "Accept-Language"),)))

    replies = [await it.running.get(path, {"User-Agent": R}) for _ in range(2)]

    assert [word(reply) for reply in replies] == ["fwd=uri-miss; detail=not-stored"] * 2


async def test_a_list_of_r_is_kept_from_a_token_that_may_not_have_it(it):
    path = CONTRIB + "PACKAGES"
    await it.running.get(path, {"User-Agent": R})
    it.use("another-token")

    reply = await it.running.get(path, {"User-Agent": R})

    assert reply.status == 407


async def test_a_file_on_another_host_is_kept_under_its_url(cached, package_manager):
    files = await package_manager(refuses_authorization=True)
    file = files.add(wheel("hello"))
    it = await cached(file_hosts=(Origin.of(files.origin),))
    it.server.add(replace(file, href=files.file_url(file)))
    page = await it.running.get(PAGE, {"Accept": JSON})
    link = next(found["url"] for found in page.json()["files"] if found["url"].startswith("/-/files/"))

    replies = [await it.running.get(link) for _ in range(2)]

    assert [(reply.status, reply.body, word(reply)) for reply in replies] == [
        (200, file.data, "fwd=uri-miss; stored"),
        (200, file.data, "hit"),
    ]
    assert [seen.authorization for seen in files.requests] == [None]
