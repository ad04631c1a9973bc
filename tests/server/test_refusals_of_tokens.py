"""Claims about what a refusal of the Package Manager means."""

import asyncio
import time

import pytest
from proxy_client import DEADLINE, UV, path_of_file

from ppmproxy.testing.package_manager import Accepts, RedirectTo, Status, jwt, wheel

PAGE = "/pypi/latest/simple/hello/"


MISSING = "/pypi/latest/simple/missing/"


@pytest.mark.parametrize("kind", ["page", "file"])
@pytest.mark.parametrize("anonymous_status", [401, 403, 404])
async def test_without_a_token_every_kind_of_refusal_is_a_missing_token(package_manager, proxy, anonymous_status, kind):
    server = await package_manager(anonymous_status=anonymous_status)
    server.add(wheel("hello"))
    running = await proxy(server, environ={})

    reply = await running.get(PAGE if kind == "page" else path_of_file(server), {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-missing")
    assert "PPMPROXY_TOKEN" in reply.json()["detail"]


@pytest.mark.parametrize("anonymous_status", [401, 403, 404])
async def test_a_project_that_does_not_exist_is_404_with_a_token(package_manager, proxy, anonymous_status):
    server = await package_manager(anonymous_status=anonymous_status)
    running = await proxy(server)

    replies = [await running.get(MISSING, {"User-Agent": UV}) for _ in range(2)]

    assert [(reply.status, reply.code) for reply in replies] == [(404, None)] * 2


@pytest.mark.parametrize("anonymous_status", [401, 403, 404])
async def test_a_project_that_does_not_exist_is_404_in_an_open_repository(package_manager, proxy, anonymous_status):
    server = await package_manager(anonymous_status=anonymous_status, open_repos=("pypi",))
    running = await proxy(server, environ={})

    reply = await running.get(MISSING, {"User-Agent": UV})

    assert (reply.status, reply.code) == (404, None)


async def test_a_package_missing_from_an_open_r_repository_is_404(package_manager, proxy):
    server = await package_manager(open_repos=("cran",))
    running = await proxy(server, environ={})

    paths = ["PACKAGES", "PACKAGES.rds", "missing_1.0.tar.gz"]
    replies = [await running.get(f"/cran/latest/src/contrib/{path}") for path in paths]

    assert [reply.status for reply in replies] == [200, 404, 404]


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("/cran/__linux__/jammy/latest/src/contrib/x_1.0.tar.gz", "/cran/__linux__/jammy/latest/src/contrib/PACKAGES"),
        (
            "/bioconductor/3.18/bioc/src/contrib/PACKAGES.rds",
            "/bioconductor/3.18/bioc/src/contrib/PACKAGES",
        ),
        ("/cran/latest/bin/windows/contrib/4.4/x_1.0.zip", "/cran/latest/src/contrib/PACKAGES"),
        ("/src/contrib/x_1.0.tar.gz", "/src/contrib/PACKAGES"),
        ("/cran/latest/src/contrib/Archive/simple/simple_0.1.tar.gz", "/cran/latest/src/contrib/PACKAGES"),
        ("/pypi/latest/simple/x/", "/pypi/latest/simple/"),
        ("/pypi/latest/packages/1/x-1.0.whl", "/pypi/latest/simple/"),
    ],
)
async def test_a_missing_project_differs_from_a_hidden_one_by_its_own_index(package_manager, proxy, path, index):
    server = await package_manager(anonymous_status=404)
    server.add_fault(index, Status(200, body=b"here"))
    running = await proxy(server, environ={})

    reply = await running.get(path, {"User-Agent": UV})

    assert reply.status == 404
    assert [seen.path for seen in server.requests] == [path, index]


async def test_a_repository_of_r_packages_that_hides_itself_is_a_missing_token(package_manager, proxy):
    server = await package_manager(anonymous_status=404)
    running = await proxy(server, environ={})

    for path in ("PACKAGES", "PACKAGES.gz", "x_1.0.tar.gz"):
        reply = await running.get(f"/cran/latest/src/contrib/{path}")
        assert (reply.status, reply.code) == (407, "token-missing")


async def test_an_upload_without_a_token_is_never_a_place_that_is_not_there(package_manager, proxy):
    server = await package_manager(anonymous_status=404)
    running = await proxy(server, uploads=True, environ={})

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.code) == (407, "token-missing")


async def test_the_error_of_a_rejected_upload_names_the_scheme(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BEARER)
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.code) == (407, "token-rejected")
    assert 'set scheme = "bearer"' in reply.json()["detail"]


async def test_an_upload_that_waits_to_be_asked_for_its_body_is_asked(package_manager, proxy):
    server = await package_manager(scopes=("sources:write",))
    running = await proxy(server, uploads=True)

    async with running.connected() as (reader, writer):
        writer.write(b"POST /upload/pypi/internal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n")
        writer.write(b"Expect: 100-continue\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        writer.write(b"x")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)

    assert head == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 4")  # x is no package


async def test_whether_a_repository_shows_itself_is_asked_once(package_manager, proxy):
    server = await package_manager(anonymous_status=404, open_repos=("pypi",))
    running = await proxy(server, environ={})

    for number in range(5):
        await running.get(f"/pypi/latest/simple/missing-{number}/")

    assert [seen.method for seen in server.requests].count("HEAD") == 1


async def test_a_missing_file_of_an_open_repository_is_404(package_manager, proxy):
    server = await package_manager(anonymous_status=404, open_repos=("pypi",))
    running = await proxy(server, environ={})

    reply = await running.get("/pypi/latest/packages/0/x-1.0-py3-none-any.whl.metadata")

    assert (reply.status, reply.code) == (404, None)


@pytest.mark.parametrize("rejected_status", [401, 403])
async def test_an_expired_token_is_called_expired(package_manager, proxy, rejected_status):
    server = await package_manager(rejected_status=rejected_status)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": server.issue_token(lifetime=-60)})

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-expired")
    assert "environment variable PPMPROXY_TOKEN" in reply.json()["detail"]


async def test_an_expired_token_that_the_server_takes_is_used(package_manager, proxy):
    # The server decides; what a token says of itself only explains.
    server = await package_manager()
    server.add(wheel("hello"))
    token = server.accept_token(jwt({"exp": time.time() - 60}), expires_at=time.time() + 60)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})

    assert (await running.get(PAGE)).status == 200


async def test_an_unknown_token_is_called_rejected(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "somebody-elses-token"})

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-rejected")


@pytest.mark.parametrize("accepts", Accepts)
async def test_a_token_without_the_scope_is_not_permitted(package_manager, proxy, accepts):
    server = await package_manager(scopes=("repos:read:other",), accepts=accepts)
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(path_of_file(server))

    assert (reply.status, reply.code) == (403, "not-permitted")
    assert "has no scope repos:read for pypi" in reply.json()["detail"]


async def test_the_administrators_words_about_a_blocked_package_are_kept(package_manager, proxy):
    server = await package_manager()
    words = b"<html><head><style>p{}</style></head><body><p>hello 1.0 is <b>blocked</b>: see policy 7</p></body></html>"
    server.add_fault("*", Status(403, "Blocked By Policy", words, (("Content-Type", "text/html"),)))
    running = await proxy(server)

    reply = await running.get("/pypi/latest/packages/x/hello-1.0-py3-none-any.whl")

    assert (reply.status, reply.code) == (403, "not-permitted")
    assert "Blocked By Policy" in reply.reason
    assert "hello 1.0 is blocked : see policy 7" in reply.json()["detail"]


async def test_a_long_refusal_is_read_no_further_than_needed(package_manager, proxy):
    server = await package_manager()
    server.add_fault("*", Status(403, "No", b"blocked " * 1_000_000))
    running = await proxy(server)

    reply = await running.get("/pypi/latest/packages/x/hello-1.0-py3-none-any.whl")

    assert reply.code == "not-permitted"
    assert len(reply.body) < 2000


EXPIRED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_elsewhere_stays_one_and_is_no_matter_of_the_token(package_manager, proxy, status, method):
    server = await package_manager()
    storage = await package_manager(open_repos=("pypi",))
    storage.add_fault("*", Status(status, "Denied", EXPIRED, (("Content-Type", "application/xml"),)))
    server.add(wheel("hello"))
    server.files_redirect_to = storage.origin
    running = await proxy(server)

    reply = await running.ask(method, path_of_file(server))

    assert (reply.status, reply.code) == (403, "upstream-unexpected")
    assert f"{status} Denied" in reply.reason
    assert method == "HEAD" or "AccessDenied Request has expired" in reply.reason
    assert {seen.authorization for seen in storage.requests} == {None}
    assert len(storage.requests) == 1


async def test_a_file_that_is_missing_elsewhere_is_404(package_manager, proxy):
    server = await package_manager()
    storage = await package_manager(refuses_authorization=True)
    server.add(wheel("hello"))
    server.files_redirect_to = storage.origin
    running = await proxy(server)

    replies = [await running.get(path_of_file(server)) for _ in range(2)]

    assert [(reply.status, reply.code) for reply in replies] == [(404, None)] * 2


async def test_the_error_of_an_unconfigured_upstream_says_that(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, configured=False)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-missing")
    assert "PPMPROXY_UPSTREAM" in reply.json()["detail"]


async def test_a_redirect_to_a_missing_place_within_the_upstream_is_404(package_manager, proxy):
    server = await package_manager()
    server.add_fault("/a", RedirectTo("/pypi/latest/simple/missing/"))
    running = await proxy(server)

    assert (await running.get("/a")).status == 404
