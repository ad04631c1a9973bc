"""Claims about error responses on the wire: each client can show the reason to its user."""

import json

import pytest
from proxy_client import PIP, UV

from ppmproxy.errors import LONGEST_MESSAGE
from ppmproxy.testing.package_manager import Cut, LoginPage, NoAnswer, Status, wheel

PAGE = "/pypi/latest/simple/hello/"
MISSING = "/pypi/latest/simple/missing/"


ASKED = {
    "pip-page": ("GET", PAGE, PIP),
    "uv-page": ("GET", PAGE, UV),
    "file": ("GET", "/pypi/latest/packages/x/hello-1.0-py3-none-any.whl", PIP),
    "upload": ("POST", "/upload/pypi/internal", "twine/7.0.0"),
}
STATUSES = {
    "token-missing": {"uv-page": 407, "file": 407, "upload": 407},
    "token-expired": {"uv-page": 407, "file": 407, "upload": 407},
    "token-rejected": {"uv-page": 407, "file": 407, "upload": 407},
    "not-permitted": {"uv-page": 451, "file": 403, "upload": 403},
    "upstream-unreachable": {"uv-page": 424, "file": 424, "upload": 424},
    "upstream-untrusted": {"uv-page": 424, "file": 424, "upload": 424},
    "upstream-timeout": {"uv-page": 424, "file": 424, "upload": 424},
    "upstream-unexpected": {"uv-page": 424, "file": 424, "upload": 424},
}


async def proxy_with_trouble(code, package_manager, proxy):
    """A proxy in front of an upstream that causes one error."""
    server = await package_manager(scopes=() if code == "not-permitted" else ("repos:read:*", "sources:write:*"))
    tokens = {
        "token-missing": {},
        "token-expired": {"PPMPROXY_TOKEN": server.issue_token(lifetime=-60)},
        "token-rejected": {"PPMPROXY_TOKEN": "somebody-elses-token"},
    }
    options = {"uploads": True}
    if code == "upstream-unreachable":
        await server.close()
        options["read_timeout"] = 0.3
    elif code == "upstream-untrusted":
        options["ca_file"] = None
    elif code == "upstream-timeout":
        server.add_fault("*", NoAnswer())
        options["read_timeout"] = 0.2
    elif code == "upstream-unexpected":
        server.add_fault("*", LoginPage())
    return await proxy(server, environ=tokens.get(code), **options)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("code", STATUSES)
async def test_each_error_is_sent_in_the_form_that_the_client_shows(package_manager, proxy, code, asked):
    running = await proxy_with_trouble(code, package_manager, proxy)
    method, path, user_agent = ASKED[asked]

    reply = await running.ask(method, path, {"User-Agent": user_agent}, data=b"x" if method == "POST" else None)

    problem = reply.json()
    assert reply.code == problem["code"] == code
    assert reply.headers["Cache-Control"] == "no-store"
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert problem["detail"].endswith(".")
    beginning = problem["detail"][:30]
    if asked == "pip-page":
        assert (reply.status, reply.reason) == (200, "OK")
        assert reply.headers["Content-Type"].startswith(f"text/x-ppmproxy; {beginning}")
        assert reply.headers["Content-Type"].isascii()
    else:
        assert reply.status == problem["status"] == STATUSES[code][asked]
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.reason.startswith(beginning)
        assert len(reply.reason) <= LONGEST_MESSAGE
        assert reply.reason.isascii()
        assert reply.reason.isprintable()


@pytest.mark.parametrize("code", ["token-missing", "not-permitted", "upstream-unreachable"])
async def test_head_gets_the_same_error_without_a_body(package_manager, proxy, code):
    running = await proxy_with_trouble(code, package_manager, proxy)

    reply = await running.ask("HEAD", PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code, reply.body) == (STATUSES[code]["uv-page"], code, b"")


async def test_words_in_other_scripts_do_not_break_the_status_line(package_manager, proxy):
    server = await package_manager()
    words = "gesperrt für \u00bbhello\u00ab \U0001f512\r\nX-Injected: yes".encode()
    server.add_fault("*", Status(403, "Verboten", words, (("Content-Type", "text/plain; charset=utf-8"),)))
    running = await proxy(server)

    reply = await running.get("/pypi/latest/packages/x/hello-1.0-py3-none-any.whl")

    assert reply.reason.isascii()
    assert "X-Injected" not in reply.headers
    assert "gesperrt für \u00bbhello\u00ab" in json.loads(reply.body)["detail"]


async def test_an_upload_is_answered_with_the_upstreams_words(package_manager, proxy):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("/upload/*", Status(409, "Conflict", b"hello-1.0 exists already"))
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.body) == (409, b"hello-1.0 exists already")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_page_that_is_cut_before_the_client_has_any_of_it_is_fetched_again(package_manager, proxy, reset):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    server.add_fault("*/hello/", Cut(60, reset=reset), times=1)

    page = await running.get("/pypi/latest/simple/hello/")

    assert page.status == 200
    assert b"hello" in page.body
    assert len(server.requests_for("*/hello/")) == 2


@pytest.mark.parametrize("status", [400, 409, 451])
async def test_pip_shows_a_4xx_for_an_index_page_and_others_get_it_unchanged(package_manager, proxy, status):
    server = await package_manager()
    running = await proxy(server)
    server.add_fault("*/hello/", Status(status, body=b"not in your country"))

    to_pip = await running.get("/pypi/latest/simple/hello/", {"User-Agent": PIP})
    to_uv = await running.get("/pypi/latest/simple/hello/", {"User-Agent": UV})

    assert (to_pip.status, to_pip.code) == (200, "upstream-unexpected")
    assert f"answered {status}" in to_pip.headers["Content-Type"]
    assert "not in your country" in to_pip.headers["Content-Type"]
    assert (to_uv.status, to_uv.code, to_uv.body) == (status, None, b"not in your country")
