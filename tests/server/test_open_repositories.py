"""Claims about repositories that need no token: what proves one, and what does not."""

import asyncio
import time

import pytest
from proxy_client import UV, path_of_file, wait_until

from ppmproxy.auth.origin import Origin
from ppmproxy.testing.package_manager import LoginPage, NoAnswer, RedirectTo, Status, jwt, wheel

PAGE = "/pypi/latest/simple/hello/"


MISSING = "/pypi/latest/simple/missing/"


ROOT = "/pypi/latest/simple/"


HTML = (("Content-Type", "text/html"),)


@pytest.fixture
async def without_root(package_manager):
    """An open repository whose list of projects is missing, on a server that hides what needs a token."""
    server = await package_manager(anonymous_status=404, open_repos=("pypi",))
    server.add(wheel("hello"))
    server.add_fault(ROOT, Status(404))
    return server


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["page", "file"])
async def test_after_a_success_without_a_token_a_404_of_the_same_index_is_one(without_root, proxy, method, kind):
    running = await proxy(without_root, environ={})

    seen = await running.ask(method, PAGE if kind == "page" else path_of_file(without_root))
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert (seen.status, missing.status, missing.code) == (200, 404, None)
    assert without_root.requests_for(ROOT) == []


@pytest.mark.parametrize(
    ("status", "body"), [(203, b"<!DOCTYPE html>"), (201, b"<!DOCTYPE html>"), (206, b"<!DOCTYPE html>"), (204, b"")]
)
async def test_every_success_without_a_token_counts(without_root, proxy, status, body):
    without_root.add_fault(PAGE, Status(status, None, body, HTML))
    running = await proxy(without_root, environ={})

    await running.get(PAGE)
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert (missing.status, missing.code) == (404, None)
    assert without_root.requests_for(ROOT) == []


@pytest.mark.parametrize(
    ("method", "there", "counts"),
    [
        ("GET", Status(200, None, b"PK\x03\x04"), True),
        ("GET", LoginPage(), False),
        ("GET", Status(403), False),
        ("HEAD", LoginPage(), False),
    ],
)
async def test_a_file_that_is_redirected_to_a_storage_counts_if_it_is_a_file(
    without_root, package_manager, proxy, method, there, counts
):
    storage = await package_manager()
    storage.add_fault("/o/1", there)
    file = path_of_file(without_root)
    without_root.add_fault(file, RedirectTo(f"{storage.origin}/o/1"))
    running = await proxy(without_root, environ={})

    await running.ask(method, file)
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert missing.status == (404 if counts else 407)
    assert len(without_root.requests_for(ROOT)) == (0 if counts else 1)


async def test_a_file_of_another_host_proves_nothing(without_root, package_manager, proxy):
    storage = await package_manager()
    storage.add_fault("/pypi/*", Status(200, None, b"PK\x03\x04"))
    host = Origin.of(storage.origin)
    running = await proxy(without_root, environ={}, file_hosts=(host,))

    seen = await running.get(f"/-/files/default/{host.netloc}/pypi/latest/packages/1/hello-1.0-py3-none-any.whl")
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert (seen.status, missing.status) == (200, 407)


@pytest.mark.parametrize("shown", ["/pypi/2020-01-01/simple/hello/", "/pypi/latest/simple/hello/"])
@pytest.mark.parametrize("snapshot", ["2024-01-01", "latest", "2020-01-01"])
async def test_a_repository_is_as_public_as_any_of_its_snapshots(without_root, proxy, shown, snapshot):
    without_root.add_fault("/pypi/*/simple/", Status(404))
    without_root.add_fault(shown, Status(200, None, b"<!DOCTYPE html>", HTML))
    running = await proxy(without_root, environ={})

    await running.get(shown)
    missing = await running.get(f"/pypi/{snapshot}/simple/missing/", {"User-Agent": UV})

    assert (missing.status, missing.code) == (404, None)


async def test_a_missing_snapshot_hides_no_other_one(without_root, proxy):
    without_root.add_fault("/pypi/2024-01-01/*", Status(404))
    without_root.add_fault(ROOT, Status(200, None, b"<!DOCTYPE html>", HTML))
    running = await proxy(without_root, environ={})

    absent = await running.get("/pypi/2024-01-01/simple/hello/", {"User-Agent": UV})
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert (absent.code, missing.status, missing.code) == ("token-missing", 404, None)


async def test_a_success_without_a_token_overrides_what_the_root_said_before(without_root, proxy):
    running = await proxy(without_root, environ={})

    before = await running.get(MISSING, {"User-Agent": UV})
    await running.get(PAGE)
    after = await running.get(MISSING, {"User-Agent": UV})

    assert (before.code, after.status) == ("token-missing", 404)


async def test_a_success_during_the_probe_of_the_root_counts(package_manager, proxy):
    server = await package_manager(anonymous_status=404)
    server.add_fault(ROOT, NoAnswer())
    server.add_fault(PAGE, Status(200, body=b"<!DOCTYPE html><a href=x.whl>x.whl</a>", headers=HTML))
    running = await proxy(server, environ={})

    missing = asyncio.create_task(running.get(MISSING, {"User-Agent": UV}))
    await wait_until(lambda: server.requests_for(ROOT))
    seen = await running.get(PAGE)
    server.release()

    assert (seen.status, (await missing).status) == (200, 404)


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (Status(200, None, b"<!DOCTYPE html>", HTML), "/internal/latest/simple/hello/"),
        (LoginPage(), PAGE),
        (Status(302), PAGE),
        (Status(500), PAGE),
    ],
    ids=["another repository", "sign-in page", "redirect without target", "error"],
)
@pytest.mark.usefixtures("short_retries")
async def test_another_response_without_a_token_proves_nothing(without_root, proxy, fault, first):
    without_root.add_fault(first, fault)
    running = await proxy(without_root, environ={})

    await running.get(first, {"User-Agent": UV})
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert (missing.status, missing.code) == (407, "token-missing")


async def test_a_success_with_a_token_proves_nothing(package_manager, proxy):
    server = await package_manager(anonymous_status=404, rejected_status=404)
    server.add(wheel("hello"))
    expired = jwt({"exp": time.time() - 60})
    server.accept_token(expired, expires_at=time.time() + 60)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": expired})

    seen = await running.get(PAGE)
    server.revoke(expired)
    missing = await running.get(MISSING, {"User-Agent": UV})

    assert seen.status == 200
    assert (missing.status, missing.code) == (407, "token-expired")
