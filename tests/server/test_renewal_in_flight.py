"""Claims about a token that changes, expires or is refused while clients go on asking."""

import asyncio
import base64
import json
import sys
import time

import pytest
from proxy_client import UV, wait_until

from ppmproxy.auth.credential import moment
from ppmproxy.config.model import CredentialSpec
from ppmproxy.testing.package_manager import Accepts, IdentityProviderTrust, Status, jwt, wheel

PAGE = "/pypi/latest/simple/hello/"
AUDIENCE = "packagemanager"


@pytest.fixture
async def server(package_manager):
    started = await package_manager(accepts=Accepts.BEARER, trusts=(IdentityProviderTrust(AUDIENCE),))
    started.add(wheel("hello"))
    return started


@pytest.fixture
def identity_file(tmp_path):
    path = tmp_path / "identity-token"
    path.write_text(jwt({"aud": AUDIENCE, "sub": "job-1", "exp": 4_000_000_000}))
    path.chmod(0o600)
    return path


def exchanges(server):
    return server.requests_for("*/__api__/token")


async def test_an_identity_token_is_exchanged_once_for_all_waiting_requests(server, proxy, identity_file):
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)})

    replies = await asyncio.gather(*(running.get(PAGE, {"User-Agent": UV}) for _ in range(20)))

    assert {reply.status for reply in replies} == {200}
    assert len(exchanges(server)) == 1
    assert all(seen.authorization is None for seen in exchanges(server))


async def test_a_token_that_is_revoked_in_mid_build_is_renewed_once_and_no_client_sees_it(server, proxy, identity_file):
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)})
    await running.get(PAGE)
    issued = server.requests_for("*/simple/hello/")[-1].authorization.removeprefix("Bearer ")
    server.revoke(issued)
    server.clear()

    replies = await asyncio.gather(*(running.get(PAGE) for _ in range(20)))

    assert {reply.status for reply in replies} == {200}
    assert len(exchanges(server)) == 1


async def test_a_token_that_expires_is_renewed_before_the_upstream_sees_it(server, proxy, identity_file):
    server.access_token_lifetime = 60.0
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)})
    await running.get(PAGE)
    links = running.daemon.services.sessions["default"].chain._entries
    kept = next(link.source for link in links if link.source.name == f"identity token {identity_file}")
    kept._now = lambda: time.time() + 120
    server.clear()

    reply = await running.get(PAGE)

    assert reply.status == 200
    assert len(exchanges(server)) == 1
    assert [seen.status for seen in server.requests_for("*/simple/hello/")] == [200]


async def test_a_renewal_that_fails_costs_no_request_and_shows_in_readiness(server, proxy, identity_file):
    server.access_token_lifetime = 60.0
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)})
    await running.get(PAGE)
    links = running.daemon.services.sessions["default"].chain._entries
    kept = next(link.source for link in links if link.source.name == f"identity token {identity_file}")
    kept._now = lambda: time.time() + 55  # its last seconds
    server.add_fault("*/__api__/token", Status(400, body=b'{"error": "invalid_target"}'))
    server.clear()

    during = await running.get(PAGE)
    await wait_until(lambda: kept.warning)
    after = await running.get(PAGE)
    ready, shown = await running.get("/-/ready"), (await running.get("/-/status")).json()["upstreams"][0]

    assert (during.status, after.status, ready.status) == (200, 200, 200)
    assert len(exchanges(server)) == 1
    assert ready.text().startswith(f"ready, but default: identity token {identity_file} could not be renewed: ")
    assert "invalid_target" in ready.text()
    assert shown["credential"]["source"] == kept.name
    assert shown["troubles"] == [kept.warning]


async def test_the_error_of_a_refused_identity_token_names_its_audience(server, proxy, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text(jwt({"aud": "somebody-else", "sub": "job-1"}))
    wrong.chmod(0o600)
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(wrong)})

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-missing")
    assert "somebody-else" in reply.json()["detail"]


@pytest.mark.parametrize(("content", "why"), [(None, "no such file"), ("", "is empty"), ("a\nb", "has a line break")])
async def test_an_identity_token_file_without_a_token_is_reported(server, proxy, tmp_path, content, why):
    path = tmp_path / "identity"
    if content is not None:
        path.write_text(content)
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(path)})

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "token-missing"
    assert why in reply.json()["detail"]


async def test_a_rejected_token_is_not_offered_again_and_again(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "not-the-token"})

    replies = [await running.get(PAGE, {"User-Agent": UV}) for _ in range(5)]

    assert {reply.code for reply in replies} == {"token-rejected"}
    offered = [seen for seen in server.requests_for("*/simple/hello/") if seen.authorization]
    assert len(offered) == 2  # once as Bearer, once as Basic


async def test_a_rejected_token_is_offered_again_after_a_minute(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "becomes-valid-later"})
    assert (await running.get(PAGE, {"User-Agent": UV})).code == "token-rejected"
    server.accept_token("becomes-valid-later")
    chain = running.daemon.services.sessions["default"].chain
    chain._now = lambda: time.time() + 61

    assert (await running.get(PAGE)).status == 200


async def test_the_next_source_is_used_when_the_first_one_is_rejected(server, proxy, tmp_path):
    other = tmp_path / "token"
    other.write_text(server.token)
    other.chmod(0o600)
    environ = {"PPMPROXY_TOKEN": "not-the-token", "PPMPROXY_TOKEN_FILE": str(other)}
    running = await proxy(server, environ=environ)

    replies = [await running.get(PAGE) for _ in range(3)]

    assert {reply.status for reply in replies} == {200}


async def test_an_expired_token_is_passed_over_while_there_is_another(server, proxy, tmp_path):
    other = tmp_path / "token"
    other.write_text(server.token)
    other.chmod(0o600)
    environ = {"PPMPROXY_TOKEN": jwt({"exp": 1000}), "PPMPROXY_TOKEN_FILE": str(other)}
    running = await proxy(server, environ=environ)

    assert (await running.get(PAGE)).status == 200
    assert [seen.status for seen in server.requests_for("*/simple/hello/")] == [200]


async def test_an_expired_token_is_offered_when_there_is_no_other_because_our_clock_may_be_wrong(server, proxy):
    token = jwt({"exp": 1000, "sub": "somebody"})
    server.accept_token(token, expires_at=4_000_000_000)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    expired_there = await running.get(PAGE)
    server.revoke(token)

    refused = await running.get(PAGE, {"User-Agent": UV})

    assert expired_there.status == 200
    assert refused.code == "token-expired"


async def test_a_command_is_run_again_when_its_token_is_refused(server, proxy, tmp_path):
    program = tmp_path / "helper.py"
    counter = tmp_path / "count"
    program.write_text(
        "import pathlib, sys\n"
        f"counter = pathlib.Path({str(counter)!r})\n"
        "n = int(counter.read_text()) + 1 if counter.exists() else 1\n"
        "counter.write_text(str(n))\n"
        "print(f'token-number-{n}')\n"
    )
    spec = CredentialSpec("command", argv=(sys.executable, str(program)))
    for number in (1, 2):
        server.accept_token(f"token-number-{number}")
    running = await proxy(server, credentials=(spec,), environ={})
    await running.get(PAGE)
    server.revoke("token-number-1")

    replies = await asyncio.gather(*(running.get(PAGE) for _ in range(10)))

    assert {reply.status for reply in replies} == {200}
    assert counter.read_text() == "2"


async def test_a_query_to_the_api_is_sent_again_with_the_new_token(server, proxy, identity_file):
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)})
    await running.get(PAGE)
    server.revoke(server.requests_for("*/simple/hello/")[-1].authorization.removeprefix("Bearer "))
    server.clear()
    body = json.dumps({"repo": "pypi", "names": ["hello"]}).encode()

    reply = await running.ask("POST", "/__api__/filter/packages", {"Content-Type": "application/json"}, data=body)

    sent = server.requests_for("*/filter/packages")
    assert reply.status == 200
    assert {seen.body for seen in sent} == {body}
    assert [seen.status for seen in sent] == [401, 401, 200]  # as Bearer, as Basic, with the new token


async def test_an_upload_is_not_sent_twice(server, proxy, identity_file):
    running = await proxy(server, environ={"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(identity_file)}, uploads=True)
    server.add_fault("*/upload/*", Status(401))

    reply = await running.ask("POST", "/upload/pypi/internal", {"Content-Type": "x/y"}, data=b"x" * 1000)

    assert (reply.status, reply.code) == (407, "token-rejected")
    assert len(server.requests_for("*/upload/*")) == 1


async def test_connections_of_one_identity_are_not_used_for_another(server, proxy, tmp_path):
    path = tmp_path / "token"
    tokens = [jwt({"sub": subject, "n": 1}) for subject in ("alice", "bob")] + [jwt({"sub": "bob", "n": 2})]
    for token in tokens:
        server.accept_token(token)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(path)})
    for token in tokens:
        path.write_text(token)
        path.chmod(0o600)
        assert (await running.get(PAGE)).status == 200

    alice, bob, bob_renewed = (seen.connection for seen in server.requests_for("*/simple/hello/"))

    assert alice != bob
    assert bob == bob_renewed


async def test_a_secret_that_is_swapped_by_symlink_is_read_again(server, proxy, tmp_path):
    for name, token in (("one", "token-one"), ("two", "token-two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
        server.accept_token(token)
    data = tmp_path / "..data"
    data.symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(tmp_path / "token")})
    await running.get(PAGE)
    swap = tmp_path / "..data_tmp"
    swap.symlink_to("two")
    swap.rename(data)
    await running.get(PAGE)

    used = [seen.authorization for seen in server.requests_for("*/simple/hello/")]

    assert used == ["Bearer token-one", "Bearer token-two"]


async def test_a_secret_that_everybody_can_read_is_warned_about_once(server, proxy, tmp_path, logs):
    path = tmp_path / "token"
    path.write_text(server.token)
    path.chmod(0o644)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(path)})
    for _ in range(3):
        await running.get(PAGE)

    warned = logs.events("credential_warning")

    assert len(warned) == 1
    assert "can be read by every user" in warned[0]["why"]


async def test_a_token_is_logged_once_by_its_source_expiry_and_scopes(server, proxy, logs):
    token = server.issue_token(lifetime=3600)
    claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    for _ in range(3):
        await running.get(PAGE)

    (found,) = logs.events("credential_found")

    assert found["source"] == "environment variable PPMPROXY_TOKEN"
    assert found["expires_at"] == moment(json.loads(claims)["exp"])
    assert found["scopes"] == ["repos:read"]
    assert token not in logs.text
