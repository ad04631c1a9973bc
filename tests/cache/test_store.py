"""Claims about the folder on disk: whatever is wrong with it, the client gets its file and the log says it once."""

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest
from cache_damage import DAMAGES, OF_DATABASES, deleted
from cached_upstream import word
from processes import plain_environment
from proxy_client import PAGE, wait_until

from ppmproxy.cache.catalog_rows import UrlRow
from ppmproxy.cache.folder import CacheFolder, CacheUnusableError, cache_folder
from ppmproxy.cache.store import Store
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment


async def test_hits_and_misses_of_a_running_daemon_are_on_disk_soon(cached):
    it = await cached()
    await it.stored()
    await it.seen()

    async def found():
        totals = await it.cache.state.store.catalog.ask(lambda catalog: catalog.totals())
        return totals.hits, totals.misses

    for _ in range(200):
        if await found() == (1, 2):
            break
        await asyncio.sleep(0.05)
    assert await found() == (1, 2)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_what_is_wrong_on_disk_is_fetched_anew(cached, damage, restart):
    it = await cached()
    damage(await it.stored())
    if restart:
        await it.running.daemon.stop()
        it = await cached()
        await it.page()
        it.server.clear()

    first, second = await it.get(), await it.get()

    assert (first.status, first.body, word(first)) == (200, it.file.data, "fwd=uri-miss; stored")
    assert (second.body, word(second)) == (it.file.data, "hit")
    assert it.blob.is_file()


@pytest.mark.parametrize("damage", OF_DATABASES, ids=lambda one: one.__name__)
async def test_without_its_database_the_proxy_goes_on_and_says_so_once(cached, damage, logs):
    it = await cached()
    await it.stored()
    await it.running.daemon.stop()
    damage(it.folder / "index.sqlite3")
    again = await cached()

    replies = [await again.get() for _ in range(3)]

    assert {reply.body for reply in replies} == {it.file.data}
    assert not any(word(reply).startswith("hit") for reply in replies)
    assert len(logs.events("cache_unusable")) == 1
    assert again.cache.state.store.trouble.what


async def test_a_deleted_database_begins_anew(cached, logs):
    it = await cached()
    await it.stored()
    await it.running.daemon.stop()
    deleted(it.folder / "index.sqlite3")
    again = await cached()

    await again.fill()

    assert (await again.seen())[1] == "hit"
    assert logs.events("cache_unusable") == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="another user's folder takes root to make")
async def test_a_folder_of_another_user_is_not_used(cached, tmp_path, logs):
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 12345, 12345)
    it = await cached()

    replies = [await it.get() for _ in range(2)]

    assert {reply.body for reply in replies} == {it.file.data}
    assert list((tmp_path / "cache").iterdir()) == []
    (event,) = logs.events("cache_unusable")
    assert "belongs to another user" in event["why"]
    assert "cache_dir" in event["hint"]


async def test_a_file_in_place_of_the_folder_is_gone_without(cached, tmp_path, logs):
    (tmp_path / "cache").write_text("")
    it = await cached()

    replies = [await it.get() for _ in range(2)]

    assert {reply.body for reply in replies} == {it.file.data}
    assert len(logs.events("cache_unusable")) == 1


async def test_a_folder_that_others_may_read_becomes_private(cached, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o755)
    it = await cached()

    await it.fill()

    assert it.folder.stat().st_mode & 0o777 == 0o700


async def test_a_folder_with_other_files_that_others_use_is_left_as_it_is(cached, tmp_path, logs):
    shared = tmp_path / "cache"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "of somebody").touch()
    it = await cached()

    replies = [await it.get() for _ in range(2)]

    assert [reply.body for reply in replies] == [it.file.data] * 2
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert [path.name for path in shared.iterdir()] == ["of somebody"]
    assert "has other files, and other users can read it" in logs.events("cache_unusable")[0]["why"]


async def test_partial_files_of_a_process_that_ended_are_removed(cached, tmp_path):
    it = await cached()
    await it.fill()
    await it.running.daemon.stop()
    (it.folder / "partial" / "4711-abc.partial").write_bytes(b"x")

    again = await cached()
    await again.page()

    await wait_until(lambda: list((it.folder / "partial").iterdir()) == [])


async def _totals(it):
    await wait_until(lambda: len(it.cache.files.downloads) == 0)
    return await it.cache.state.store.catalog.ask(lambda catalog: catalog.totals())


async def test_what_was_used_least_recently_goes_first(package_manager, cached):
    from ppmproxy.testing.package_manager import wheel

    server = await package_manager()
    files = [server.add(wheel("hello", f"{number}.0", payload=os.urandom(100_000))) for number in range(2, 8)]
    it = await cached(server, settings={"cache_max_size": 420_000})
    paths = [f"/pypi/latest/packages/{file.id}/{file.filename}" for file in files]
    await it.page()
    for path in paths[:4]:
        await it.running.get(path)
        await _totals(it)  # of a file that is kept by now
        await it.running.get(paths[0])

    for path in paths[4:]:
        await it.running.get(path)
        totals = await _totals(it)
    words = [word(await it.running.get(path)) for path in (paths[0], paths[5], paths[1])]

    assert totals.file_bytes + totals.page_bytes <= 420_000
    assert words == ["hit", "hit", "fwd=uri-miss; stored"]


async def test_a_file_that_is_being_read_is_not_evicted(package_manager, cached):
    from proxy_client import request_head

    from ppmproxy.testing.package_manager import wheel

    server = await package_manager()
    large = server.add(wheel("hello", "9.0", payload=os.urandom(20_000_000)))
    others = [server.add(wheel("hello", f"{number}.0", payload=os.urandom(3_000_000))) for number in range(2, 5)]
    it = await cached(server, settings={"cache_max_size": 21_000_000}, read_timeout=15.0)
    path = f"/pypi/latest/packages/{large.id}/{large.filename}"
    await it.page()
    await it.running.get(path)
    async with it.running.connected() as (reader, writer):
        writer.write(request_head(path))
        head = await reader.readuntil(b"\r\n\r\n")
        for other in others:
            await it.running.get(f"/pypi/latest/packages/{other.id}/{other.filename}")
        body = await asyncio.wait_for(reader.read(-1), 15)

    assert b"ppmproxy; hit" in head
    assert body == large.data


async def test_two_daemons_share_one_folder(cached):
    one = await cached()
    two = await cached()

    await one.stored()
    await two.page()
    reply = await two.get()

    assert (word(reply), reply.body) == ("hit", one.file.data)


# --- where it is ---


@pytest.mark.parametrize(
    ("settings", "environ", "path"),
    [
        ({}, {}, "/home/alice/.cache/ppmproxy"),
        ({}, {"XDG_CACHE_HOME": "/x"}, "/x/ppmproxy"),
        ({}, {"XDG_CACHE_HOME": "relative"}, "/home/alice/.cache/ppmproxy"),
        ({}, {"CACHE_DIRECTORY": "/var/cache/ppmproxy"}, "/var/cache/ppmproxy"),
        ({"cache_dir": Path("/c")}, {"CACHE_DIRECTORY": "/var/cache/ppmproxy"}, "/c"),
    ],
)
def test_the_folder_is_where_the_settings_or_the_system_say(settings, environ, path):
    found = cache_folder(Settings(**settings), Environment(environ, Path("/home/alice")))

    assert found == CacheFolder(Path(path))


def test_tests_that_are_not_about_the_cache_run_without(tmp_path):
    assert plain_environment(tmp_path)["PPMPROXY_CACHE"] == "false"


async def test_status_says_what_is_wrong_with_the_cache(cached, tmp_path):
    (tmp_path / "cache").write_text("")
    it = await cached()
    await it.get()

    assert "cannot use the cache" in (await it.running.get("/-/status")).json()["cache"]["trouble"]


async def test_no_request_can_switch_the_cache_off(cached):
    it = await cached()
    await it.fill()
    odd = b"GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \xff\xfe\r\nAccept: \xff\r\nConnection: close\r\n\r\n"

    for path in (it.path, it.path + "%ff", PAGE, "/cran/latest/src/contrib/PACKAGES.gz", "/pypi/latest/simple/%ff%fe/"):
        await it.running.raw(odd % path.encode())

    assert (await it.seen())[1] == "hit"
    assert it.cache.state.store.trouble.what == ""


async def test_a_disk_that_was_full_is_no_trouble_once_it_has_room(tmp_path, logs):
    clock = [100.0]
    store = Store(CacheFolder(tmp_path / "cache"), 1 << 20, clock=lambda: clock[0])
    await store.open()
    row = UrlRow(b"me", "url", "", hashlib.sha256(b"a").hexdigest(), {}, 1.0)
    troubles = []

    for later in (0.0, 61.0):
        store.trouble.report_full(OSError(errno.ENOSPC, "No space left on device"))
        clock[0] += later
        await store.keep(b"a", row, 0)
        troubles.append(store.trouble.what)
    await store.close()

    assert ["no space left on device" in trouble for trouble in troubles] == [True, False]
    assert [event["hint"] for event in logs.events("cache_unusable")] == [
        "free disk space there, or lower cache_max_size"
    ]


@pytest.mark.parametrize("name", ["", "cache"])
def test_a_folder_that_cannot_be_looked_into_is_an_error_and_no_empty_cache(tmp_path, name):
    too_long = tmp_path / ("a" * 300) / name  # the system refuses to look there, root's processes too

    with pytest.raises(CacheUnusableError, match="cannot use the cache"):
        CacheFolder(too_long).exists()
    assert not CacheFolder(tmp_path / "none").exists()
    assert CacheFolder(tmp_path).exists()
