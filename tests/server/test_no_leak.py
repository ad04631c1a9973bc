"""Claims about the token: in no form is it in a header, body, log line or error, whatever goes wrong.

Besides what is claimed here, every test that uses `proxy` ends with a look through the whole log and all heads.
"""

import base64
import gzip
import logging
from urllib.parse import quote

import pytest
import structlog
from proxy_client import PIP, UV, head_of, leaked_forms, request_head

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.policy import Scheme
from ppmproxy.auth.secret import Secret, encoded_forms
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.environment import Environment
from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    Cut,
    ExpiredToken,
    LoginPage,
    NoAnswer,
    RedirectTo,
    Status,
    jwt,
    wheel,
)

PAGE = "/pypi/latest/simple/hello/"
FILE = "/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"
ODD_TOKEN = 'pa/ss+w"or=d~%41&\\x'  # changes in every encoding


def everything(reply):
    return f"{head_of(reply)}\n{reply.body.decode('latin-1')}"


@pytest.fixture(params=["jwt", "odd"])
async def server(request, package_manager):
    server = await package_manager(token="" if request.param == "jwt" else ODD_TOKEN)
    server.add(wheel("hello"))
    return server


# --- what an upstream may say of it ---


def echoes(token):
    """Every form in which a server could give the token back."""
    return " ".join(sorted(form for form in encoded_forms(token) if form.isprintable()))


@pytest.mark.parametrize("user_agent", [PIP, UV])
@pytest.mark.parametrize("path", [PAGE, FILE])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_that_shows_the_token_does_not_pass_it_on(server, proxy, status, path, user_agent):
    words = echoes(server.token)
    server.add_fault("*", Status(status, f"No: {words}", words.encode(), (("WWW-Authenticate", words),)))
    running = await proxy(server)

    reply = await running.get(path, {"User-Agent": user_agent})

    assert reply.code is not None
    assert leaked_forms(server.token, everything(reply)) == []


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("path", [PAGE, FILE, "/pypi/latest/other"])
@pytest.mark.parametrize("status", [400, 404, 410, 451])
async def test_an_error_that_shows_the_token_comes_without_its_body(server, proxy, status, path, is_compressed):
    body = f'{{"you sent": "{echoes(server.token)}"}}'.encode()
    headers = (("Content-Encoding", "gzip"),) if is_compressed else ()
    server.add_fault("*", Status(status, body=gzip.compress(body) if is_compressed else body, headers=headers))
    running = await proxy(server)

    reply = await running.get(path, {"User-Agent": UV})

    assert (reply.status, reply.body) == (status, b"")
    assert leaked_forms(server.token, everything(reply)) == []


@pytest.mark.parametrize("size", [0, 10, 65_000, 66_000])
async def test_an_error_that_does_not_keeps_its_body_unless_it_is_too_long_to_tell(server, proxy, size):
    server.add_fault("*", Status(404, body=b"x" * size))
    running = await proxy(server)

    reply = await running.get(FILE)

    assert (reply.status, len(reply.body)) == (404, size if size < 1 << 16 else 0)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("br", bytes),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
        ("gzip", lambda body: gzip.compress(b"no") + body),
        ("", lambda body: body.decode().encode("utf-16")),
        ("", lambda body: body.replace(b"/", b"\\/")),
        ("", lambda body: body.replace(b"+", b"\\u002b").replace(b"-", b"\\u002D")),
    ],
    ids=["another coding", "two codings", "more behind it", "UTF-16", "an escaped slash", "escaped letters"],
)
async def test_an_error_body_that_cannot_be_searched_is_left_out(server, proxy, coding, encode):
    body = encode(echoes(server.token).encode())
    headers = (("Content-Encoding", coding),) if coding else ()
    server.add_fault("*", Status(404, body=body, headers=headers))
    running = await proxy(server)

    reply = await running.get("/cran/latest/src/contrib/PACKAGES", {"Accept-Encoding": "br"})

    assert (reply.status, reply.body) == (404, b"")


async def test_a_redirect_to_an_address_with_the_token_in_it_is_not_followed(server, package_manager, proxy):
    other = await package_manager()
    server.add_fault("*", RedirectTo(f"{other.origin}/x?token={quote(server.token, safe='')}"))
    running = await proxy(server)

    reply = await running.get(FILE)

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert other.requests == []
    assert leaked_forms(server.token, everything(reply)) == []


@pytest.mark.parametrize("status", [200, 404, 400, 416, 304])
async def test_heads_that_show_the_token_do_not_pass_it_on(server, proxy, status):
    words = echoes(server.token)
    headers = (
        ("X-Debug", words),
        ("Content-Location", f"https://x:{server.token}@pm.example.com/"),
        ("ETag", f'"{words}"'),
    )
    server.add_fault("*", Status(status, f"Fine: {words}", b"", headers))
    running = await proxy(server)

    reply = await running.get("/x")

    assert reply.status == status
    assert "****" in reply.headers["X-Debug"]
    assert leaked_forms(server.token, everything(reply)) == []


@pytest.mark.parametrize("status", [500, 504])
async def test_a_failing_server_that_shows_the_token_does_not_pass_it_on(server, proxy, logs, status):
    server.add_fault("*", Status(status, f"Failed for {server.token}", server.token.encode()))
    running = await proxy(server, read_timeout=0.4)

    reply = await running.get(FILE)

    assert leaked_forms(server.token, everything(reply)) == []
    assert "****" in logs.requests[0]["detail"] or server.token not in logs.requests[0]["detail"]


@pytest.mark.parametrize("location", ["ftp://x:{0}@elsewhere.example/{0}", "https://{0}.invalid/", "https://{0}:1/"])
async def test_a_redirect_that_shows_the_token_does_not_pass_it_on(server, proxy, logs, location):
    server.add_fault("*", RedirectTo(location.format(server.token)))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 424
    assert leaked_forms(server.token, everything(reply) + logs.text) == []
    assert server.token.lower() not in (everything(reply) + logs.text).lower()


# --- what can go wrong ---


@pytest.mark.parametrize(
    "trouble",
    [NoAnswer(), CloseBeforeHead(reset=True), LoginPage(), ExpiredToken(), Cut(10), Status(403), Status(503)],
)
async def test_no_trouble_shows_the_token(server, proxy, logs, trouble):
    server.add_fault("*", trouble)
    running = await proxy(server, scheme=Scheme.BASIC, read_timeout=0.2)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert leaked_forms(server.token, everything(reply) + logs.text) == []
    assert len(logs.requests) == 1


@pytest.mark.parametrize("change", [{"ca_file": None}, {"url": "https://pm.invalid"}, {"url": "https://127.0.0.1:1"}])
async def test_no_way_to_the_upstream_shows_the_token(server, upstream, proxy, logs, change):
    running = await proxy(upstream(server, read_timeout=0.3, **change))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert leaked_forms(server.token, everything(reply) + logs.text) == []


async def test_a_token_of_the_url_itself_is_not_logged(server, proxy, logs):
    running = await proxy(server)

    await running.get(f"/pypi/latest/simple/?token={quote(server.token)}")
    await running.raw(request_head("/x", f"Authorization: Bearer {server.token}"))

    assert leaked_forms(server.token, logs.text) == []


async def test_the_tokens_that_a_file_held_before_stay_masked(package_manager, proxy, tmp_path, logs):
    server = await package_manager()
    old, new = server.token, server.issue_token()
    file = tmp_path / "token"
    file.write_text(old)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(file)})
    await running.get(PAGE)
    file.write_text(new)
    await running.get(PAGE)

    structlog.get_logger("ppmproxy").warning("said", words=f"{old} {new}")

    assert leaked_forms(old, logs.text) + leaked_forms(new, logs.text) == []


# --- whatever is logged, by whomever ---


@pytest.mark.parametrize(
    "fields",
    [
        lambda token: {"token": token},
        lambda token: {"nested": {"a": [token, {token: 1}]}},
        lambda token: {"object": ValueError(token)},
        lambda token: {"data": token.encode()},
        lambda token: {"exc_info": ValueError(token)},
    ],
)
async def test_every_field_of_our_events_is_masked(server, proxy, logs, fields):
    running = await proxy(server)
    await running.get(PAGE)

    for form in encoded_forms(server.token):
        structlog.get_logger("ppmproxy").info(f"said {form}", **fields(form))

    assert logs.text.count('"event": "said') == len(encoded_forms(server.token))
    assert leaked_forms(server.token, logs.text) == []


@pytest.mark.parametrize("name", ["aiohttp.server", "aiohttp.client", "asyncio", "somebody.else"])
async def test_every_event_of_others_is_masked(server, proxy, logs, name):
    running = await proxy(server)
    await running.get(PAGE)
    log = logging.getLogger(name)

    for form in encoded_forms(server.token):
        log.error("said %s", form)
        log.error("said", extra={"token": form})
        log.error("said", exc_info=ValueError(form))

    assert logs.text.count('"event": "said') == 3 * len(encoded_forms(server.token))
    assert leaked_forms(server.token, logs.text) == []


async def test_the_debugging_of_the_libraries_is_masked(server, proxy, logs):
    running = await proxy(server)
    server.add_fault("*", CloseBeforeHead(reset=True), times=1)

    await running.get(PAGE)

    assert leaked_forms(server.token, logs.text) == []


# --- what can be printed ---


async def test_nothing_that_lives_long_prints_the_token(server, proxy):
    running = await proxy(server, headers=(("X-Ingress", "hush-hush"),), proxy="none")
    await running.get(PAGE)
    services = running.daemon.services
    session = services.sessions["default"]

    printed = " ".join(
        map(
            repr,
            [services, session, session.chain, session.client, services.redactor, services.state, services.settings],
        )
    )

    assert leaked_forms(server.token, printed) == []
    assert "hush-hush" not in printed


@pytest.mark.parametrize(
    "thing",
    [
        Credential.of_secret(Secret(ODD_TOKEN), "somewhere"),
        Environment({"PPMPROXY_TOKEN": ODD_TOKEN}, None),
        Upstream(headers=(("X", ODD_TOKEN),), proxy=f"http://me:{ODD_TOKEN}@proxy.example"),
        CredentialSpec("command", argv=("pass", ODD_TOKEN)),
    ],
)
def test_data_that_holds_a_secret_does_not_print_it(thing):
    assert leaked_forms(ODD_TOKEN, f"{thing!r} {thing!s} {thing}") == []


async def test_the_own_pages_show_no_token(server, proxy):
    running = await proxy(server)
    await running.get(PAGE)

    for path in ("/-/status", "/-/ready", "/-/live", "/-/startup", "/-/", "/-/nothing"):
        assert leaked_forms(server.token, everything(await running.get(path))) == []


async def test_a_configured_header_is_not_logged(server, proxy, logs):
    running = await proxy(server, headers=(("X-Ingress", "hush-hush"),))
    server.add_fault("*", Status(403, "hush", b"x"))

    await running.get(PAGE)

    assert "hush-hush" not in logs.text


# --- the other origin ---


@pytest.mark.parametrize("place", ["host", "port", "scheme"])
async def test_the_token_stays_at_its_scheme_host_and_port(server, package_manager, upstream, proxy, place):
    other = await package_manager(tls=place != "scheme", host="127.0.0.2" if place == "host" else "127.0.0.1",
                           certificate_for=("127.0.0.1", "127.0.0.2"), refuses_authorization=True)  # fmt: skip
    server.add_fault("*", RedirectTo(other.origin + "/pypi/latest/simple/hello/"))
    running = await proxy(server)

    await running.get(PAGE)

    seen = "\n".join(str(seen.headers) + seen.target for seen in other.requests)
    assert leaked_forms(server.token, seen) == []
    assert {request.authorization for request in other.requests} <= {None}
    assert bool(other.requests) == (place != "scheme")


async def test_a_link_with_the_token_in_it_loses_it(package_manager, proxy):
    server = await package_manager()
    page = (
        f'<!DOCTYPE html><a href="{server.origin.replace("//", f"//__token__:{server.token}@")}/x/hello-1.0.zip">x</a>'
    )
    server.add_fault("*", Status(200, None, page.encode(), (("Content-Type", "text/html"),)))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert reply.body == b'<!DOCTYPE html><a href="/x/hello-1.0.zip">x</a>'


def test_basic_is_one_of_the_forms():
    assert base64.b64encode(b"__token__:a-token").decode() in encoded_forms("a-token")
    assert jwt({}).split(".")[2] in encoded_forms(jwt({}))
