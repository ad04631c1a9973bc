"""Claims about `ppmproxy cache`: what it says, what it removes, what it fetches."""

import asyncio
import hashlib
import json
import signal
import sys
import time

import pytest
from processes import plain_environment, run_program, running_server
from proxy_client import wait_until

from ppmproxy.testing.package_manager import NoAnswer, wheel


@pytest.fixture
async def person(package_manager, ca_file, tmp_path):
    """A person with a fake Package Manager: `await person("info")` runs the command."""
    server = await package_manager()
    for name in ("hello", "world"):
        for version in ("1.0", "2.0"):
            server.add(wheel(name, version))
    home = tmp_path / "home"
    home.mkdir()
    environ = plain_environment(
        home,
        PPMPROXY_UPSTREAM=server.url,
        PPMPROXY_CA_FILE=str(ca_file),
        PPMPROXY_TOKEN=server.token,
        PPMPROXY_CACHE="true",
        PPMPROXY_LISTEN="127.0.0.1:0",
    )

    async def command(*arguments, **more):
        program = [sys.executable, "-m", "ppmproxy", "cache", *arguments]
        return await run_program(program, environ | more, tmp_path)

    command.server, command.home, command.folder, command.environ = server, home, tmp_path, environ
    return command


async def info(person):
    return json.loads((await person("info", "--json")).output)


async def test_info_of_a_cache_that_is_not_there(person):
    found = await info(person)
    shown = await person("info")

    assert found | {"path": "", "client_caches": {}} == {
        "path": "",
        "enabled": True,
        "max_size": 2 << 30,
        "bytes": 0,
        "files": 0,
        "file_bytes": 0,
        "pages": 0,
        "page_bytes": 0,
        "hits": 0,
        "misses": 0,
        "saved_bytes": 0,
        "oldest_use": None,
        "client_caches": {},
        "shared": None,
    }
    assert found["path"] == str(person.home / ".cache/ppmproxy")
    assert "0 files" in shown.output


def requirements(person, text):
    path = person.folder / "requirements.txt"
    path.write_text(text)
    return str(path)


async def test_prefetch_of_a_requirements_file_has_every_file_of_the_versions(person):
    path = requirements(person, "hello==1.0 \\\n  --hash=sha256:00\n# a comment\nworld==2.0 ; os_name > ''\nflask\n")

    first = await person("prefetch", path)
    person.server.clear()
    again = await person("prefetch", path)

    found = await info(person)
    assert first.code == again.code == 0, first.output
    assert "flask has no version in the file" in first.output
    assert found["files"] == 4  # each with its metadata
    assert found["hits"] >= 4
    assert [seen for seen in person.server.requests if seen.status == 200] == []


async def test_prefetch_of_a_uv_lock_has_the_files_that_it_names(person):
    file = wheel("hello", "1.0")
    url = person.server.file_url(person.server.catalog.files("pypi", "hello")[0])
    digest = hashlib.sha256(file.data).hexdigest()
    (person.folder / "uv.lock").write_text(
        f'[[package]]\nname = "hello"\nversion = "1.0"\nsource = {{ registry = "{person.server.index_url()}" }}\n'
        f'wheels = [{{ url = "{url}", hash = "sha256:{digest}" }}]\n'
    )

    end = await person("prefetch", str(person.folder / "uv.lock"))

    assert end.code == 0, end.output
    assert (await info(person))["files"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_prefetch_ends_at_the_first_ctrl_c_though_the_package_manager_is_silent(person):
    person.server.add_fault("*", NoAnswer())
    command = [sys.executable, "-m", "ppmproxy", "cache", "prefetch", requirements(person, "hello==1.0\n")]
    environ = person.environ | {"PPMPROXY_READ_TIMEOUT": "600s"}

    async with running_server(command, environ, person.folder) as running:
        await wait_until(lambda: person.server.requests)
        running.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        code = await asyncio.wait_for(running.process.wait(), 60)

    assert (code, running.log) == (130, "")
    assert time.monotonic() - began < 8  # of the ten seconds for which requests are waited for otherwise


async def test_what_cannot_be_had_is_named_and_is_exit_code_1(person):
    end = await person("prefetch", requirements(person, "nowhere==1.0\nhello==1.0\n"))

    assert end.code == 1
    assert "nowhere: 404" in end.output
    assert (await info(person))["files"] == 2


async def test_prefetched_files_are_had_offline(person):
    path = requirements(person, "hello==1.0\n")
    await person("prefetch", "--for-offline", path)
    person.server.clear()

    end = await person("prefetch", path, PPMPROXY_OFFLINE="true")

    assert end.code == 0, end.output
    assert person.server.requests == []


async def test_clear_removes_one_project_or_everything(person):
    await person("prefetch", requirements(person, "hello==1.0\nworld==1.0\n"))

    one = await person("clear", "Hello")
    left = await info(person)
    everything = await person("clear")
    nothing = await info(person)

    assert "2 files of Hello removed" in one.output
    assert (left["files"], left["pages"]) == (2, 1)
    assert everything.code == 0
    assert (nothing["files"], nothing["pages"], nothing["bytes"]) == (0, 0, 0)
    assert list((person.home / ".cache/ppmproxy/blobs").glob("*/*")) == []


async def test_verify_removes_what_is_damaged(person):
    await person("prefetch", requirements(person, "hello==1.0\n"))
    right = await person("verify")
    blob = next((person.home / ".cache/ppmproxy/blobs").glob("*/*"))
    blob.write_bytes(b"x")

    wrong = await person("verify")

    assert right.code == 0
    assert (wrong.code, blob.exists()) == (1, False)
    assert "1 were damaged" in wrong.output
    assert (await info(person))["files"] == 1


async def test_a_damaged_database_is_one_line_and_cleared(person):
    await person("prefetch", requirements(person, "hello==1.0\n"))
    for path in (person.home / ".cache/ppmproxy").glob("index.sqlite3*"):
        path.write_bytes(b"no database" * 1000)

    shown = await person("info")
    cleared = await person("clear")
    after = await info(person)

    assert shown.code == 1
    assert "cannot use the cache's database" in shown.output
    assert "ppmproxy cache clear" in shown.output
    assert "Traceback" not in shown.output
    assert (cleared.code, after["files"]) == (0, 0)


@pytest.mark.parametrize("text", ["", "not toml [", "a = 1"])
async def test_a_file_that_is_no_lock_is_a_usage_error(person, text):
    (person.folder / "uv.lock").write_text(text)

    end = await person("prefetch", str(person.folder / "uv.lock"))

    assert end.code == 2
    assert "Traceback" not in end.output


async def test_info_shows_the_tier_that_machines_share(person, tmp_path):
    shared = {"PPMPROXY_CACHE_URL": f"file://{tmp_path / 'shared'}"}

    text, document = await person("info", **shared), await person("info", "--json", **shared)

    assert f"shared: {shared['PPMPROXY_CACHE_URL']} (read-write): reachable" in text.output
    assert json.loads(document.output)["shared"]["reachable"] is True
    assert (await info(person))["shared"] is None


async def test_info_says_why_that_tier_cannot_be_reached(person, tmp_path):
    (tmp_path / "file").write_bytes(b"")

    said = await person("info", PPMPROXY_CACHE_URL=f"file://{tmp_path / 'file' / 'shared'}")

    assert said.code == 0
    assert "not reachable" in said.output
    assert "not a directory" in said.output


async def test_prefetch_fills_the_tier_that_machines_share(person, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("hello==1.0\nworld==2.0\n")

    end = await person("prefetch", str(requirements), PPMPROXY_CACHE_URL=f"file://{tmp_path / 'shared'}")
    uploaded = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]

    assert end.code == 0, end.output
    assert len(uploaded) >= 2
