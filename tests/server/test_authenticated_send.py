"""Claims about `authenticated_send`: the schemes in which a token is offered, and the errors for a rejection."""

import asyncio
import time

import pytest
from proxy_client import DEADLINE, UV, wait_until

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import Scheme
from ppmproxy.testing.package_manager import Accepts, LoginPage, NoAnswer, RedirectTo, Status, jwt, wheel

PAGE = "/pypi/latest/simple/hello/"
MISSING = "/pypi/latest/simple/missing/"


def schemes_seen(server):
    """The kinds of Authorization, in the order in which they came."""
    return [(seen.authorization or "none").split(" ")[0] for seen in server.requests]


async def path_of_file(server):
    file = server.catalog.files("pypi", "hello")[0]
    return f"/pypi/latest/packages/{file.id}/{file.filename}"


# --- the scheme ---


@pytest.mark.parametrize(
    ("scheme", "accepts", "offered"),
    [
        (Scheme.AUTO, Accepts.EITHER, ["Bearer", "Bearer"]),
        (Scheme.AUTO, Accepts.BEARER, ["Bearer", "Bearer"]),
        (Scheme.AUTO, Accepts.BASIC, ["Bearer", "Basic", "Basic"]),
        (Scheme.BASIC, Accepts.BASIC, ["Basic", "Basic"]),
        (Scheme.BEARER, Accepts.BEARER, ["Bearer", "Bearer"]),
    ],
)
async def test_bearer_is_tried_first_and_the_accepted_scheme_is_remembered(
    package_manager, proxy, scheme, accepts, offered
):
    server = await package_manager(accepts=accepts)
    server.add(wheel("hello"))
    running = await proxy(server, scheme=scheme)

    replies = [await running.get(PAGE) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert schemes_seen(server) == offered


@pytest.mark.parametrize("rejected_status", [401, 403])
async def test_basic_is_tried_after_bearer_is_refused_with_401_or_403(package_manager, proxy, rejected_status):
    server = await package_manager(accepts=Accepts.BASIC, rejected_status=rejected_status)
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert reply.status == 200
    assert schemes_seen(server) == ["Bearer", "Basic"]


@pytest.mark.parametrize(("scheme", "accepts"), [(Scheme.BEARER, Accepts.BASIC), (Scheme.BASIC, Accepts.BEARER)])
async def test_only_the_configured_scheme_is_offered(package_manager, proxy, scheme, accepts):
    server = await package_manager(accepts=accepts)
    running = await proxy(server, scheme=scheme)

    reply = await running.get(PAGE)

    assert reply.code == "token-rejected"
    assert len(server.requests) == 1


async def test_the_scheme_is_remembered_for_each_repository(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BASIC, repos=("pypi", "internal"), scopes=("repos:read:*",))
    running = await proxy(server)

    for path in [MISSING, "/internal/latest/simple/", "/internal/latest/simple/", "/pypi/latest/simple/"]:
        await running.get(path)

    offered = {"/internal/latest/simple/": [], "/pypi/latest/simple/": []}
    for seen, scheme in zip(server.requests, schemes_seen(server), strict=True):
        if seen.path in offered:
            offered[seen.path].append(scheme)
    assert offered["/internal/latest/simple/"] == ["Bearer", "Basic", "Basic"]


async def test_a_server_that_changes_its_mind_is_asked_in_both_schemes_again(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BEARER)
    server.add(wheel("hello"))
    running = await proxy(server)
    await running.get(PAGE)
    server.accepts = Accepts.BASIC
    server.clear()

    replies = [await running.get(PAGE) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert schemes_seen(server) == ["Bearer", "Basic", "Basic"]


async def test_a_blocked_package_costs_one_request_once_the_scheme_is_known(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    await running.get(PAGE)
    server.clear()
    server.add_fault("*", Status(403, "Blocked"))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "not-permitted"
    assert len(server.requests) == 1


async def test_a_missing_project_costs_one_request_once_the_scheme_is_known(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    await running.get(PAGE)
    server.clear()

    reply = await running.get(MISSING)

    assert reply.status == 404
    assert len(server.requests) == 1


async def test_files_that_are_redirected_do_not_cost_a_refusal_each(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BASIC)
    server.add(wheel("hello"))
    storage = await package_manager(refuses_authorization=True, catalog=server.catalog)
    server.files_redirect_to = storage.origin
    running = await proxy(server)
    path = await path_of_file(server)

    for _ in range(3):
        await running.get(path)

    assert schemes_seen(server) == ["Bearer", "Basic", "Basic", "Basic"]


async def test_the_user_name_for_basic_is_token(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BASIC, token="abc-def")
    running = await proxy(server, scheme=Scheme.BASIC)

    await running.get(PAGE)

    assert server.requests[0].authorization == "Basic X190b2tlbl9fOmFiYy1kZWY="  # __token__:abc-def


# --- what a no means ---


@pytest.mark.parametrize("kind", ["page", "file"])
@pytest.mark.parametrize("anonymous_status", [401, 403, 404])
async def test_without_a_token_every_kind_of_refusal_is_a_missing_token(package_manager, proxy, anonymous_status, kind):
    server = await package_manager(anonymous_status=anonymous_status)
    server.add(wheel("hello"))
    running = await proxy(server, environ={})

    reply = await running.get(PAGE if kind == "page" else await path_of_file(server), {"User-Agent": UV})

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

    seen = await running.ask(method, PAGE if kind == "page" else await path_of_file(without_root))
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
    file = await path_of_file(without_root)
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
async def test_another_response_without_a_token_proves_nothing(without_root, proxy, fault, first):
    without_root.add_fault(first, fault)
    running = await proxy(without_root, environ={}, read_timeout=1.0)  # 5xx are retried as long

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

    reply = await running.get(await path_of_file(server))

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

    reply = await running.ask(method, await path_of_file(server))

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

    replies = [await running.get(await path_of_file(server)) for _ in range(2)]

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
