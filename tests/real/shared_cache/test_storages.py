"""Claims about real storages: a second machine downloads no file, whatever the storage promises."""

import asyncio
import hashlib
import os
import secrets

import pytest
from cached_upstream import word
from downloads import MAY_DOWNLOAD
from storages import PATIENCE

from ppmproxy.cache.stores.opening import store_for
from ppmproxy.cache.stores.protocol import key_of
from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.config.model import CacheUrlMode, Settings
from ppmproxy.testing.package_manager import wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]


@pytest.fixture(params=["moto", "ceph", "rclone", "azurite"])
def storage(request, storages, use):
    """Each of them; a test's own prefix in it is `url`."""
    found = storages(request.param)
    use(found)
    return found


@pytest.fixture
def url(storage):
    return storage.at(secrets.token_hex(8))


def files_asked(it):
    return [request for request in it.server.requests if "/packages/" in request.path]


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


async def stored(url, data, tmp_path):
    """Have these bytes under the key of others."""
    store, path = store_for(Settings(cache_url=url), os.environ), tmp_path / "stored"
    content, key = data
    path.write_bytes(content)
    await store.put(key, path)
    return store


async def read(store, key):
    async with store.open(key) as blob:
        return None if blob is None else b"".join([chunk async for chunk in blob.chunks])


@pytest.mark.parametrize("size", [10_000, 30_000_000], ids=["small", "in parts"])
async def test_what_one_machine_downloads_a_second_one_has_from_the_storage(machine, url, size):
    first = await machine("first", payload=os.urandom(size), cache_url=url)
    await first.fill()
    await first.running.daemon.stop()
    second = await machine("second", cache_url=url)
    await second.page()
    second.server.clear()

    reply, again = await second.get(), await second.get()

    assert reply.body == again.body == first.file.data
    assert (word(reply), word(again)) == ("hit; detail=shared", "hit")
    assert files_asked(second) == []


async def test_a_token_without_the_right_gets_nothing_from_the_storage(machine, url):
    first = await machine("first", options={"scopes": ("repos:read:pypi",)}, cache_url=url)
    await first.fill()
    await first.running.daemon.stop()
    token = first.server.issue_token(("repos:read:elsewhere",))

    second = await machine("second", token=token, cache_url=url)
    replies = [await second.page(), await second.get()]

    assert {reply.status for reply in replies} <= {403, 407, 451}
    assert second.running.daemon.services.shared.reads.hits == 0


@pytest.mark.parametrize("wrong", ["other", "truncated", "html", "empty"])
async def test_a_poisoned_blob_is_never_sent_and_is_replaced(machine, url, tmp_path, logs, wrong):
    second = await machine("second", cache_url=url)
    data, key = second.file.data, key_of(digest_of(second.file.data))
    spoilt = {"other": os.urandom(len(data)), "truncated": data[:-100], "html": b"<html>", "empty": b""}[wrong]
    store = await stored(url, (spoilt, key), tmp_path)
    await second.page()

    reply = await second.get()
    await second.running.daemon.stop()

    assert (reply.body, word(reply)) == (data, "fwd=uri-miss; stored")
    assert len(logs.events("shared_blob_wrong")) == 1
    assert await read(store, key) == data


async def test_two_machines_upload_the_same_blob_at_once(machine, url, observed):
    machines = [await machine(name, payload=os.urandom(9_000_000), cache_url=url) for name in ("one", "two")]
    await asyncio.gather(*(it.page() for it in machines))

    replies = await asyncio.gather(*(it.get() for it in machines))
    await asyncio.gather(*(it.running.daemon.stop() for it in machines))
    store = store_for(Settings(cache_url=url), os.environ)

    observed("two machines upload the same file at once", "it is there, whole")
    assert {reply.body for reply in replies} == {machines[0].file.data}
    assert await read(store, key_of(digest_of(machines[0].file.data))) == machines[0].file.data


async def test_in_the_mode_read_nothing_is_written(machine, url):
    it = await machine("first", cache_url=url, cache_url_mode=CacheUrlMode.READ)
    await it.fill()
    await it.running.daemon.stop()
    store = store_for(Settings(cache_url=url), os.environ)

    assert await store.size(key_of(digest_of(it.file.data))) is None


async def test_what_a_lifecycle_rule_deletes_is_fetched_and_uploaded_anew(machine, url):
    first = await machine("first", cache_url=url)
    await first.fill()
    await first.running.daemon.stop()
    store = store_for(Settings(cache_url=url), os.environ)
    key = key_of(digest_of(first.file.data))
    await store.delete(key)

    second = await machine("second", cache_url=url)
    await second.page()
    reply = await second.get()
    await second.running.daemon.stop()

    assert (reply.body, word(reply)) == (first.file.data, "fwd=uri-miss; stored")
    assert await store.size(key) == len(first.file.data)


@pytest.mark.parametrize("mode", CacheUrlMode)
async def test_doctor_tries_it_and_leaves_nothing(url, mode):
    settings = Settings(cache_url=url, cache_url_mode=mode, cache_url_timeout=PATIENCE)

    (result,) = await shared_cache_checks(settings, os.environ)

    assert result.outcome is Outcome.OK, result


async def test_a_bucket_that_does_not_exist_is_said(machine, storage, logs, observed):
    missing = storage.url.replace("wheels", "no-such-bucket")
    it = await machine("first", cache_url=missing)
    await it.page()

    reply = await it.get()
    await it.running.daemon.stop()
    (result,) = await shared_cache_checks(Settings(cache_url=missing, cache_url_timeout=PATIENCE), os.environ)

    observed("the bucket does not exist", "files from the Package Manager; said once, with what to do; in `doctor`")
    assert reply.body == it.file.data
    assert (result.outcome, "does not exist" in result.what) == (Outcome.WARNING, True), result
    said = logs.events("shared_cache_paused") + logs.events("shared_cache_upload_failed")
    assert said
    assert all("does not exist" in event["why"] for event in said), said


async def test_many_files_at_once(machine, url):
    first = await machine("first", cache_url=url)
    files = [first.server.add(wheel("hello", f"{number}.0", payload=os.urandom(50_000))) for number in range(2, 42)]
    paths = [f"/pypi/latest/packages/{file.id}/{file.filename}" for file in files]
    await first.page()
    await asyncio.gather(*(first.running.get(path) for path in paths))
    await first.running.daemon.stop()

    second = await machine("second", cache_url=url)
    await second.page()
    second.server.clear()
    replies = await asyncio.gather(*(second.running.get(path) for path in paths))

    assert [reply.body for reply in replies] == [file.data for file in files]
    assert {word(reply) for reply in replies} == {"hit; detail=shared"}
    assert files_asked(second) == []


async def test_uploads_go_on_after_the_storage_was_away(machine, url, logs, use, storage):
    """The variables lead to a port where nobody listens; a new daemon has the right ones."""
    use(storage, **{name: "http://127.0.0.1:9" for name in storage.environ if "ENDPOINT" in name})
    first = await machine("first", cache_url=url)
    await first.fill()
    await first.running.daemon.stop()
    use(storage)
    second = await machine("second", cache_url=url)
    await second.fill()
    await second.running.daemon.stop()

    store = store_for(Settings(cache_url=url), os.environ)
    assert await store.size(key_of(digest_of(second.file.data))) == len(second.file.data)
    assert len(logs.events("shared_cache_paused")) == 1
