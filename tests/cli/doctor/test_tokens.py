"""Claims about what doctor finds of the token: none, expired, refused, without a scope, not permitted."""

import pytest
from examined_person import SECRET
from proxy_client import leaked_forms

from ppmproxy.testing.package_manager import jwt, wheel


async def test_no_token_is_reported_with_what_each_source_said(configured, server):
    configured.environ.pop("PPMPROXY_TOKEN")
    configured.has(".netrc", f"machine elsewhere.example.com login x password {SECRET}\n")

    report = await configured.doctor()

    finding = report.of("token", "failed")
    assert "environment variables PPMPROXY_TOKEN, PPMPROXY_TOKEN_FILE, " in finding["what"]
    assert "no entry for 127.0.0.1" in finding["what"]
    assert "ppmproxy login" in finding["fix"]


async def test_no_token_is_no_fault_where_none_is_wanted(configured, server, package_manager, ca_file):
    free = await package_manager(open_repos=("pypi",))
    free.add(wheel("pip"))
    configured.environ.pop("PPMPROXY_TOKEN")

    report = await configured.doctor(PPMPROXY_UPSTREAM=free.url)

    assert "wants none" in report.of("token", "ok")["what"]


@pytest.mark.parametrize(
    ("claims", "said"),
    [({"exp": 1_000_000_000}, "it has expired"), ({"scopes": ["sources:write"]}, "repos:read is missing")],
)
async def test_a_token_that_is_over_or_lacks_the_scope_is_reported(configured, server, claims, said):
    token = server.accept_token(jwt({"sub": "kim", **claims}))

    report = await configured.doctor(PPMPROXY_TOKEN=token)

    assert said in report.of("token", "failed")["what"]
    assert leaked_forms(token, report.text) == []


@pytest.mark.parametrize(
    ("scopes", "outcome", "said"),
    [
        (("sources:write:internal",), "ok", "with the scopes sources:write:internal"),
        (("repos:read",), "failed", "the scope sources:write is missing"),
        (None, "warning", "none found"),
    ],
)
async def test_the_token_for_uploads_is_reported_where_they_are_on(configured, server, scopes, outcome, said):
    token = server.issue_token(scopes) if scopes else ""
    specs = '[{from = "env", use = "read"}, {from = "env", variable = "WRITE", use = "upload", repos = ["internal"]}]'
    environ = {"PPMPROXY_CREDENTIALS": specs} | ({"WRITE": token} if token else {})

    report = await configured.doctor(PPMPROXY_UPLOADS="true", **environ)

    assert report.of("token", "ok")
    assert said in report.of("upload-token", outcome)["what"]
    assert server.requests_for("*/upload/*") == []


async def test_where_uploads_are_off_nothing_is_reported_of_their_token(configured):
    report = await configured.doctor()

    assert [one for one in report.found if one["check"] == "upload-token"] == []


async def test_a_repository_without_the_project_that_is_asked_for_is_there(configured, package_manager):
    other = await package_manager(repos=("internal",))
    configured.environ |= {"PPMPROXY_UPSTREAM": other.url, "PPMPROXY_TOKEN": other.token}

    assert "taken for internal" in (await configured.doctor("--repo", "internal")).of("token", "ok")["what"]


@pytest.mark.parametrize("has_own", [True, False])
async def test_a_netrc_line_that_cannot_be_read_is_reported(configured, server, has_own):
    del configured.environ["PPMPROXY_TOKEN"]
    own = f"machine 127.0.0.1 login __token__ password {server.token}\n" if has_own else ""
    configured.has(".netrc", f'machine other.example login x password "{SECRET}\n{own}').chmod(0o600)

    token = (await configured.doctor()).of("token")

    assert token["outcome"] == ("warning" if has_own else "failed")
    assert "line 1 cannot be read as netrc" in token["what"] + token["fix"]
