"""Claims about the scheme in which a token is sent."""

import pytest
from proxy_client import UV, path_of_file

from ppmproxy.auth.policy import Scheme
from ppmproxy.testing.package_manager import Accepts, Status, wheel

PAGE = "/pypi/latest/simple/hello/"


MISSING = "/pypi/latest/simple/missing/"


def schemes_seen(server):
    """The kinds of Authorization, in the order in which they came."""
    return [(seen.authorization or "none").split(" ")[0] for seen in server.requests]


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
    path = path_of_file(server)

    for _ in range(3):
        await running.get(path)

    assert schemes_seen(server) == ["Bearer", "Basic", "Basic", "Basic"]


async def test_the_user_name_for_basic_is_token(package_manager, proxy):
    server = await package_manager(accepts=Accepts.BASIC, token="abc-def")
    running = await proxy(server, scheme=Scheme.BASIC)

    await running.get(PAGE)

    assert server.requests[0].authorization == "Basic X190b2tlbl9fOmFiYy1kZWY="  # __token__:abc-def
