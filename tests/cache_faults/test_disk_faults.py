"""Claims about disks that fail, processes that are killed, and several processes with one folder."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import AsyncExitStack

import pytest
from cache_damage import DAMAGES, OF_DATABASES, deleted
from cached_upstream import word
from processes import plain_environment, ppmproxy_run, run_program, running_server
from proxy_client import DEADLINE, JSON, request_head, wait_until

from ppmproxy.testing.package_manager import Stall, wheel

AS_ROOT = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 10 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m,mode=700", "tmpfs", place], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@AS_ROOT
@pytest.mark.parametrize("when", ["before", "in the middle", "in the middle of a large file", "at its end"])
async def test_a_full_disk(cached, observed, small_disk, logs, when):
    size = {"in the middle": 12_000_000, "in the middle of a large file": 40_000_000}.get(when, 3_000_000)
    it = await cached(payload=os.urandom(size), settings={"cache_dir": small_disk / "cache"})
    await it.page()
    free = os.statvfs(small_disk)
    left = {"before": 0, "at its end": len(it.file.data) - 4096}.get(when, 5_000_000)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        file.write(b"x" * max(0, free.f_bavail * free.f_frsize - left))
        if not left:
            while file.write(b"x" * 4096):
                pass

    replies = await asyncio.gather(*(it.get() for _ in range(3)))

    observed(f"a disk that is full {when}", "every client gets the whole file; said once")
    assert [reply.body == it.file.data for reply in replies] == [True] * 3
    assert len(logs.events("cache_unusable")) == 1


@AS_ROOT
@pytest.mark.parametrize("owner", [12345, 0], ids=["another user's", "read-only"])
async def test_a_folder_that_is_not_for_us(cached, observed, small_disk, logs, owner):
    folder = small_disk / "cache"
    folder.mkdir()
    os.chown(folder, owner, owner)
    if not owner:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    it = await cached(settings={"cache_dir": folder})

    replies = [await it.get() for _ in range(2)]

    observed(f"a folder that is {'another user' if owner else 'read-only'}", "no cache; said once, with what to do")
    assert [reply.body == it.file.data for reply in replies] == [True] * 2
    assert len(logs.events("cache_unusable")) == 1


def environment(server, ca_file, folder):
    return {
        "PPMPROXY_UPSTREAM": server.url,
        "PPMPROXY_CA_FILE": str(ca_file),
        "PPMPROXY_TOKEN": server.token,
        "PPMPROXY_CACHE": "true",
        "PPMPROXY_CACHE_DIR": str(folder),
    }


async def fetched(url, path, ua="uv/0.13.9"):
    """A file by a client of its own."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_head(path, f"User-Agent: {ua}", f"Accept: {JSON}", host=f"localhost:{port}"))
    received = await asyncio.wait_for(reader.read(-1), DEADLINE)
    writer.close()
    return received.partition(b"\r\n\r\n")


async def test_no_home(package_manager, ca_file, tmp_path, observed):
    server = await package_manager()
    file = server.add(wheel("hello"))
    environ = environment(server, ca_file, "/nonexistent/cache")
    async with ppmproxy_run(tmp_path, **environ) as running:
        head, _, body = await fetched(running.url, f"/pypi/latest/packages/{file.id}/{file.filename}")
    said = [line for line in running.server.lines if "cache_unusable" in line] if os.geteuid() else []

    observed("a folder that cannot be made, or no HOME", "no cache; the file is had all the same")
    assert body == file.data
    assert b"200" in head.partition(b"\r\n")[0]
    assert len(said) <= 1
    subprocess.run(["rm", "-rf", "/nonexistent"], check=True)


async def test_a_kill_in_the_middle_of_a_download(package_manager, ca_file, tmp_path, observed):
    server = await package_manager()
    file = server.add(wheel("hello", payload=os.urandom(2_000_000)))
    path, page = f"/pypi/latest/packages/{file.id}/{file.filename}", "/pypi/latest/simple/hello/"
    environ = environment(server, ca_file, tmp_path / "cache")
    server.add_fault(path, Stall(500_000))
    home = tmp_path / "home"
    home.mkdir()
    run = [sys.executable, "-m", "ppmproxy", "run"]
    async with running_server(run, plain_environment(home, PPMPROXY_LISTEN="127.0.0.1:0") | environ, home) as running:
        line = await running.line_with('"event": "daemon_listening"')
        url = json.loads(line)["urls"][0]
        await fetched(url, page)
        client = asyncio.create_task(fetched(url, path))
        await wait_until(lambda: list((tmp_path / "cache" / "partial").glob("*")))
        os.kill(running.process.pid, signal.SIGKILL)
        await running.process.wait()
        await asyncio.gather(client, return_exceptions=True)
    left = len(list((tmp_path / "cache" / "partial").iterdir()))
    server.clear_faults()
    (tmp_path / "second").mkdir()

    async with ppmproxy_run(tmp_path / "second", **environ) as running:
        await fetched(running.url, page)
        _, _, body = await fetched(running.url, path)
        head, _, again = await fetched(running.url, path)

    observed("kill -9 in the middle of a download", "after the restart the partial file is gone and the file is had")
    assert left == 1
    assert list((tmp_path / "cache" / "partial").iterdir()) == []
    assert body == again == file.data
    assert b"ppmproxy; hit" in head


async def test_two_daemons_and_three_execs_with_one_folder(package_manager, ca_file, tmp_path, observed):
    server = await package_manager()
    files = [server.add(wheel("hello", f"{n}.0", payload=os.urandom(200_000))) for n in range(1, 13)]
    paths = [f"/pypi/latest/packages/{file.id}/{file.filename}" for file in files]
    environ = environment(server, ca_file, tmp_path / "cache")
    page = "/pypi/latest/simple/hello/"
    ask = (
        "import os, sys, urllib.request as r\n"
        "base = os.environ['PIP_INDEX_URL'].partition('/pypi/')[0]\n"
        "for path in sys.argv[1:]: assert r.urlopen(base + path).read()"
    )

    async def used(number, stack):
        (tmp_path / f"d{number}").mkdir()
        running = await stack.enter_async_context(ppmproxy_run(tmp_path / f"d{number}", **environ))
        await fetched(running.url, page)
        return [await fetched(running.url, path) for path in paths]

    async def executed(number):
        (tmp_path / f"e{number}").mkdir()
        own = plain_environment(tmp_path / f"e{number}", PPMPROXY_LISTEN="127.0.0.1:0") | environ
        command = [sys.executable, "-m", "ppmproxy", "exec", "--", sys.executable, "-c", ask, page, *paths]
        return await run_program(command, own, tmp_path / f"e{number}")

    async with AsyncExitStack() as stack:
        results = await asyncio.gather(*(used(n, stack) for n in range(2)), *(executed(n) for n in range(3)))

    check = plain_environment(tmp_path) | environ
    verified = await run_program([sys.executable, "-m", "ppmproxy", "cache", "verify"], check, tmp_path)
    info = await run_program([sys.executable, "-m", "ppmproxy", "cache", "info", "--json"], check, tmp_path)

    observed("two daemons and three exec with one folder", "every client gets every file; all that is kept is right")
    for answers in results[:2]:
        assert [body for _, _, body in answers] == [file.data for file in files]
    assert [end.code for end in results[2:]] == [0, 0, 0], [end.output for end in results[2:]]
    assert verified.code == 0, verified.output
    assert json.loads(info.output)["files"] == len(files)


async def test_eviction_while_twenty_clients_read(package_manager, cached, observed):
    server = await package_manager()
    large = server.add(wheel("hello", "9.0", payload=os.urandom(6_000_000)))
    others = [server.add(wheel("hello", f"{n}.0", payload=os.urandom(2_000_000))) for n in range(2, 7)]
    it = await cached(server, settings={"cache_max_size": 7_000_000})
    path = f"/pypi/latest/packages/{large.id}/{large.filename}"
    await it.page()
    await it.running.get(path)

    readers = [asyncio.create_task(it.running.raw(request_head(path))) for _ in range(20)]
    for other in others:
        await it.running.get(f"/pypi/latest/packages/{other.id}/{other.filename}")
    bodies = [(await reader).partition(b"\r\n\r\n")[2] for reader in readers]

    observed("eviction while 20 clients read", "all of them get the whole file")
    assert bodies == [large.data] * 20


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_bytes_on_disk_that_are(cached, observed, damage, restart):
    it = await cached()
    damage(await it.stored())
    if restart:
        await it.running.daemon.stop()
        it = await cached()
        await it.page()

    first, second = await it.get(), await it.get()

    what = damage.__name__.replace("_", " ")
    observed(f"bytes on disk {what}{', after a restart' if restart else ''}", f"{first.status} ({word(first)})")
    assert first.body == second.body == it.file.data
    assert (word(first), word(second)) == ("fwd=uri-miss; stored", "hit")


@pytest.mark.parametrize("damage", [*OF_DATABASES, deleted], ids=lambda damage: damage.__name__)
async def test_a_database_that_is(cached, observed, damage, logs):
    it = await cached()
    await it.fill()
    await it.running.daemon.stop()
    damage(it.folder / "index.sqlite3")
    again = await cached()

    replies = [await again.get() for _ in range(2)]

    said = len(logs.events("cache_unusable"))
    what = damage.__name__.replace("_", " ")
    observed(f"a database that is {what}", f"{replies[1].status} ({word(replies[1]) or 'no cache'}); said {said} times")
    assert [reply.body == it.file.data for reply in replies] == [True] * 2
    assert said == (0 if damage is deleted else 1)


async def test_a_database_that_another_process_has_locked(cached, observed, logs):
    it = await cached()
    await it.fill()
    other = sqlite3.connect(it.folder / "index.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    during = await it.get()
    other.execute("ROLLBACK")
    other.close()
    after = await it.get()

    observed("a database that another process has locked", f"during: {word(during)}; after: {word(after)}")
    assert during.body == after.body == it.file.data


async def test_a_clock_that_goes_back_and_forth(cached, observed):
    it = await cached()
    await it.fill()

    found = []
    for days in (-7, 7, 0):
        it.cache.state.wall = lambda days=days: time.time() + days * 86400
        found.append(await it.seen())

    observed("a clock that goes a week back and forth", f"{found[0][1]}, {found[1][1]}, {found[2][1]}: no request")
    assert found == [(200, "hit", 0)] * 3
