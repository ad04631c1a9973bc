"""Claims about a daemon whose cache shares a folder with others: a second machine downloads no file, and no right."""

import asyncio
import hashlib
import sys

import pytest
from cached_upstream import word
from proxy_client import wait_until

from ppmproxy.cache.stores.protocol import key_of
from ppmproxy.config.model import CacheUrlMode
from ppmproxy.errors import ConfigError


@pytest.fixture
async def machine(cached, tmp_path):
    """Starts a daemon with a disk of its own and the shared folder: `await machine("second")`."""

    async def start(name, settings=None, **more):
        own = {"cache_dir": tmp_path / name, "cache_url": f"file://{tmp_path / 'shared'}"}
        own |= {"cache_url_timeout": 20.0, "drain_timeout": 20.0}
        return await cached(settings=own | (settings or {}), **more)

    return start


def shared_file(tmp_path, data):
    return tmp_path / "shared" / key_of(hashlib.sha256(data).hexdigest())


@pytest.fixture
async def filled(machine, tmp_path):
    """A machine that has downloaded the file and uploaded it, and has ended."""
    it = await machine("first")
    await it.fill()
    await it.running.daemon.stop()
    assert shared_file(tmp_path, it.file.data).read_bytes() == it.file.data
    return it


def file_requests(it):
    return [request for request in it.server.requests if "/packages/" in request.path]


async def test_a_second_machine_gets_the_file_from_there_and_none_from_the_package_manager(machine, filled, logs):
    it = await machine("second")
    await it.page()
    filled.server.clear()

    first, again = await it.get(), await it.get()

    assert (first.body, again.body) == (it.file.data, it.file.data)
    assert (word(first), word(again)) == ("hit; detail=shared", "hit")
    assert file_requests(it) == []
    assert logs.requests[-2]["cache"] == "hit; detail=shared"
    assert it.running.state.by_cache["shared"] == 1


async def test_a_part_of_a_file_comes_from_there_too_and_a_head_does_not(machine, filled):
    it = await machine("second")
    await it.page()

    head = await it.running.ask("HEAD", it.path)
    part = await it.get(Range="bytes=10-19")

    assert "shared" not in word(head)
    assert (part.status, part.body, word(part)) == (206, it.file.data[10:20], "hit; detail=shared")


async def test_pages_are_never_there(filled, tmp_path):
    names = [path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()]

    assert names == [hashlib.sha256(filled.file.data).hexdigest()]


# --- rule 2: who may have it ---


async def test_a_token_without_a_right_gets_nothing_from_there(machine, filled):
    it = await machine("second")
    it.use("no-such-token")

    page, file = await it.page(), await it.get()

    assert filled.file.data not in (page.body, file.body)
    assert file.status == 407


async def test_of_two_tokens_only_the_one_with_the_right_gets_a_repository_s_file_from_there(machine):
    first = await machine("first", options={"scopes": ("repos:read:pypi-internal", "repos:read:pypi")})
    await first.fill()
    await first.running.daemon.stop()
    other = first.server.issue_token(("repos:read:elsewhere",))

    with_right, without = await machine("second"), await machine("third")
    await with_right.page()
    allowed = await with_right.get()
    without.use(other)
    refused = [await without.page(), await without.get(), await without.get(Range="bytes=0-9")]

    assert (allowed.body, word(allowed)) == (first.file.data, "hit; detail=shared")
    assert {reply.status for reply in refused} <= {403, 407, 451}
    assert without.running.daemon.services.shared.reads.hits == 0


async def test_a_right_that_ends_ends_for_what_is_there_too(machine, filled):
    it = await machine("second", cache_recheck=0.0)
    await it.page()
    it.server.revoke(it.server.token)

    reply = await it.get()

    assert reply.status == 407


async def test_a_file_that_no_page_named_to_this_token_is_not_looked_for_there(machine, filled):
    it = await machine("second")
    it.server.clear()

    reply = await it.get()

    assert (reply.status, reply.body) == (200, it.file.data)  # this token may have it
    assert len(file_requests(it)) == 1  # and the Package Manager said so


async def test_an_old_right_is_proved_anew_before_a_file_from_there_is_sent(machine, filled):
    it = await machine("second", cache_recheck=0.0)
    await it.page()
    it.server.clear()

    reply = await it.get()

    assert reply.body == it.file.data
    assert word(reply) == "fwd=stale; fwd-status=200; detail=shared"
    assert [request.method for request in file_requests(it)] == ["HEAD"]


async def test_offline_nothing_leaves_for_there_either(machine, filled):
    it = await machine("second")
    await it.page()
    await it.running.daemon.stop()

    again = await machine("second", offline=True)
    reply = await again.get()

    assert (reply.status, again.running.daemon.services.shared.reads.hits) == (424, 0)


# --- wrong, missing, refused ---


@pytest.mark.parametrize(
    "wrong", [b"", b"<html>sign in</html>", "truncated", "flipped"], ids=["empty", "html", "truncated", "flipped"]
)
async def test_a_wrong_file_there_is_never_sent_and_is_replaced(machine, filled, tmp_path, logs, wrong):
    place, data = shared_file(tmp_path, filled.file.data), filled.file.data
    spoilt = {"truncated": data[:-7], "flipped": data[:50] + b"?" + data[51:]}
    place.write_bytes(spoilt.get(wrong, wrong))
    it = await machine("second")
    await it.page()

    reply = await it.get()

    assert (reply.body, word(reply)) == (data, "fwd=uri-miss; stored")
    assert len(logs.events("shared_blob_wrong")) == 1
    await wait_until(lambda: place.read_bytes() == data)


async def test_in_the_mode_read_nothing_is_written_there(machine, filled, tmp_path):
    place = shared_file(tmp_path, filled.file.data)
    place.write_bytes(b"wrong")
    it = await machine("second", {"cache_url_mode": CacheUrlMode.READ})
    await it.page()

    reply = await it.get()
    await it.running.daemon.stop()

    assert reply.body == it.file.data
    assert place.read_bytes() == b"wrong"


async def test_a_folder_that_cannot_be_used_is_a_miss(machine, tmp_path, logs):
    (tmp_path / "shared").write_text("no folder")
    it = await machine("first")
    await it.page()

    replies = [await it.get(), await it.get()]
    await wait_until(lambda: logs.events("shared_cache_upload_failed"))
    await it.running.daemon.stop()

    assert [reply.body == it.file.data for reply in replies] == [True, True]
    said = logs.events("shared_cache_paused") + logs.events("shared_cache_upload_failed")
    assert {bool(event["hint"]) for event in said} == {True}
    assert len(said) == 2


async def test_two_machines_may_upload_the_same_file_at_once(machine, tmp_path):
    one, two = await machine("first"), await machine("second")

    await asyncio.gather(one.page(), two.page())
    replies = await asyncio.gather(one.get(), two.get())
    await asyncio.gather(one.running.daemon.stop(), two.running.daemon.stop())

    assert [reply.body for reply in replies] == [one.file.data] * 2
    assert shared_file(tmp_path, one.file.data).read_bytes() == one.file.data
    assert [path.name[0] for path in shared_file(tmp_path, one.file.data).parent.iterdir()] != ["."]


async def test_status_says_what_was_read_and_uploaded(machine, filled):
    it = await machine("second")
    await it.page()
    await it.get()

    shared = (await it.running.get("/-/status")).json()["cache"]["shared"]
    metrics = (await it.running.get("/-/metrics")).text()

    assert (shared["reachable"], shared["reads"]["hit"], shared["read_bytes"]) == (True, 1, len(it.file.data))
    assert 'ppmproxy_shared_cache_reads_total{result="hit"} 1.0' in metrics
    assert "ppmproxy_shared_cache_up 1.0" in metrics
    assert 'ppmproxy_cache_requests_total{result="shared"} 1.0' in metrics


async def test_without_the_extra_the_daemon_does_not_start_and_says_what_to_install(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError) as caught:
        await machine("first", {"cache_url": "s3://bucket"})

    assert "install the extra ppmproxy[shared-cache]" in caught.value.hint
