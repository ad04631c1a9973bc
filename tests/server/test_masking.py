"""Claims about an upstream that echoes a token: no client receives any part of it."""

import asyncio
import gzip
import zlib
from dataclasses import replace
from urllib.parse import quote

import pytest
from proxy_client import PIP, UV, head_of

from ppmproxy.config.model import CredentialSpec
from ppmproxy.testing.package_manager import Status, jwt, wheel

PAGE = "/pypi/latest/simple/hello/"
FILE = "/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"
API = "/__api__/status"
INTERNAL = "/internal/latest/simple/hello/"
OPAQUE = "pm-7Hq2Lx9vTz4KcWbR8NdYfJ3sGmPa"
NEVER_FOLLOWED = [300, 302, 305, 306, 307]
ERRORS = [400, 404, 409, 410, 416, 418, 451]


@pytest.fixture(params=["jwt", "opaque"])
def other_token(request):
    """The token of another repository, which the daemon knows, and which the request in question does not carry."""
    return jwt({"sub": "other@example.com", "scopes": ["repos:read:internal"]}) if request.param == "jwt" else OPAQUE


@pytest.fixture
async def server(package_manager, other_token):
    server = await package_manager(tls=False)
    server.accept_token(other_token, ("repos:read",))
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy, other_token, short_retries):
    """A daemon that has used both tokens, each in its own repository."""
    credentials = tuple(
        CredentialSpec("env", variable=name, repos=(repo,)) for name, repo in (("OWN", "pypi"), ("OTHER", "internal"))
    )
    environ = {"OWN": server.token, "OTHER": other_token}
    running = await proxy(server, environ=environ, credentials=credentials)
    await running.get(INTERNAL)
    assert (await running.get(PAGE)).status == 200
    return running


def shown(token, reply):
    """The parts of a token, eight characters long, that can be read in an answer."""
    text = f"{head_of(reply)}\n{reply.body.decode('latin-1')}".lower()
    secret = token.lower().partition(".")[2] or token.lower()  # the header of a JWT is no secret
    return [secret[at : at + 8] for at in range(len(secret) - 7) if secret[at : at + 8] in text]


@pytest.mark.parametrize("path", [PAGE, FILE])
@pytest.mark.parametrize("status", [*NEVER_FOLLOWED, *ERRORS])
async def test_no_error_shows_the_token_of_another_repository(server, running, other_token, status, path):
    body = f"<p>debug: {other_token}</p>".encode()
    server.add_fault("/pypi/*", Status(status, "As Told", body, (("Content-Type", "text/html"),)))

    reply = await running.get(path, {"User-Agent": UV})

    assert (reply.status, reply.body) == (status, b"")
    assert shown(other_token, reply) == []


@pytest.mark.parametrize("written", [str, "\u200b".join, lambda token: token[-12:]])
@pytest.mark.parametrize("status", ERRORS)
async def test_pip_is_shown_an_error_without_the_token_of_another_repository(
    server, running, other_token, status, written
):
    body = f"blocked: {written(other_token)}".encode()
    server.add_fault("/pypi/*", Status(status, f"No {other_token}", body, (("Content-Type", "text/plain"),)))

    reply = await running.get(PAGE, {"User-Agent": PIP})

    assert shown(other_token, reply) == []
    assert shown("".join(char for char in other_token if char.isalnum()), squeezed(reply)) == []


def squeezed(reply):
    """An answer with nothing but letters and digits in its head and body."""
    keep = str.maketrans("", "", "-._ \r\n\t:;\u200b?")
    head = {name: value.translate(keep) for name, value in reply.headers.items()}
    return replace(reply, headers=head, body=reply.body.decode().translate(keep).encode())


@pytest.mark.parametrize("user_agent", [PIP, UV])
@pytest.mark.parametrize("status", [200, 204, 206, 302, 401, 403, 404, 407, 429, 500, 503])
async def test_no_part_of_a_head_shows_a_token(server, running, other_token, status, user_agent):
    headers = (
        ("X-Echo", f"you sent {other_token}"),
        ("X-Encoded", quote(other_token.encode().hex(" "))),
        (f"X-{other_token}", "name"),
        (f"x-{other_token.upper()}", "name"),
        ("X-In-Pieces", "-".join(other_token)),
        ("ETag", f'"{other_token[3:-3]}"'),
    )
    server.add_fault("/pypi/*", Status(status, f"No {other_token}", b"", headers))

    replies = [await running.get(path, {"User-Agent": user_agent}) for path in (PAGE, FILE)]

    assert [shown(other_token, reply) for reply in replies] == [[], []]


WRITTEN = {
    "zero-width": "\u200b".join,
    "percent": lambda token: "".join(f"%{ord(char):02x}" for char in token),
    "references": lambda token: "".join(f"&#{ord(char)};" for char in token),
    "escapes": lambda token: "".join(f"\\u{ord(char):04x}" for char in token),
    "hexdump": lambda token: token.encode().hex(" "),
    "tags": lambda token: "".join(f"<i>{char}</i>" for char in token),
    "a part": lambda token: token[-16:],  # not all of it need be letters and digits
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("is_own", [True, False])
async def test_an_error_with_a_token_in_pieces_or_encoded_comes_without_its_body(
    server, running, other_token, is_own, written
):
    token = server.token if is_own else other_token
    body = f"you sent: {written(token)}".encode()
    server.add_fault("/pypi/*", Status(404, "Not Found", body, (("Content-Type", "text/plain; charset=utf-8"),)))

    reply = await running.get(FILE)

    assert (reply.status, reply.body) == (404, b"")
    assert "Content-Encoding" not in reply.headers


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize(("rest", "is_passed_on"), [("", True), ("\0\0", True), ("x", False), ("token", False)])
async def test_an_error_with_something_after_its_coded_body_comes_without_it(
    server, running, other_token, coding, compress, rest, is_passed_on
):
    body = compress(b"no such file") + (other_token if rest == "token" else rest).encode()
    headers = (("Content-Type", "text/plain"), ("Content-Encoding", coding))
    server.add_fault("/pypi/*", Status(404, "Not Found", body, headers))

    reply = await running.get(FILE)

    assert (reply.status, reply.body) == (404, body if is_passed_on else b"")


@pytest.mark.parametrize(
    ("content_type", "body", "is_passed_on"),
    [
        ("text/plain", b"no such file", True),
        ("text/html; charset=UTF-8", b"<h1>no such file</h1>", True),
        ('text/html; charset="utf-8"', "<p>caf\u00e9</p>".encode(), True),
        ("application/json", b'{"error": "no such file"}', True),
        ("application/problem+json", b'{"title": "no such file"}', True),
        ("text/plain; charset=iso-8859-1", b"caf\xe9", True),
        ("text/plain", b"caf\xe9", False),
        ("text/plain; charset=utf-7", b"+ACs-", False),
        ("text/plain; charset=utf-16", "no".encode("utf-16"), False),
        ("text/plain; charset=ibm037", b"\x95\x96", False),
        ("text/plain", b"no\x00such\x00file", False),
        ("text/plain", b"no \x1b[31msuch file", False),
        ("image/png", b"\x89PNG", False),
        ("application/x-tar", b"no such file", False),
        ("text/plain", b"x" * 100_000, False),
    ],
)
async def test_a_body_that_shows_nothing_is_passed_on_when_it_is_short_text(
    server, running, content_type, body, is_passed_on
):
    server.add_fault("/pypi/*", Status(404, "Not Found", body, (("Content-Type", content_type),)))

    reply = await running.get(FILE)

    assert (reply.status, reply.body) == (404, body if is_passed_on else b"")


@pytest.mark.parametrize("coding", ["gzip", "br", "{token}", "gzip, {token}"])
async def test_an_error_in_a_coding_is_read_before_it_is_passed_on(server, running, other_token, coding):
    body = f"you sent {other_token}".encode()
    headers = (("Content-Type", "text/plain"), ("Content-Encoding", coding.format(token=other_token)))
    body = gzip.compress(body) if coding == "gzip" else body
    server.add_fault("/pypi/*", Status(404, "Not Found", body, headers))

    reply = await running.get(FILE)

    assert (reply.status, reply.body) == (404, b"")
    assert shown(other_token, reply) == []


@pytest.mark.parametrize("user_agent", [PIP, UV])
@pytest.mark.parametrize(
    "fault",
    [
        lambda token: Status(200, None, b"x", (("Content-Type", "text/html"), ("Content-Encoding", token))),
        lambda token: Status(200, None, b"x", (("Content-Type", "text/html"), ("Content-Encoding", f"x{token}"))),
        lambda token: Status(403, None, b"x " * 245 + token.encode(), (("Content-Type", "text/plain"),)),
        lambda token: Status(403, f"{'x' * 470} {token}"),
        lambda token: Status(500, f"{'x ' * 230}{token}"),
    ],
)
async def test_nothing_is_cut_before_it_is_masked(server, running, logs, other_token, fault, user_agent):
    server.add_fault("/pypi/*", fault(other_token))

    replies = [await running.get(path, {"User-Agent": user_agent}) for path in (PAGE, FILE)]

    assert [shown(other_token, reply) for reply in replies] == [[], []]
    assert shown_in_log(other_token, logs) == []


def shown_in_log(token, logs):
    secret = token.partition(".")[2] or token
    return [secret[at : at + 8] for at in range(len(secret) - 7) if secret[at : at + 8] in logs.text]


async def test_a_redirect_to_an_address_with_another_repositorys_token_is_not_followed(server, running, other_token):
    server.add_fault("/pypi/*", Status(302, None, b"", (("Location", f"/elsewhere?t={quote(quote(other_token))}"),)))

    reply = await running.get(FILE, {"User-Agent": UV})

    assert reply.code == "upstream-unexpected"
    assert server.requests_for("/elsewhere") == []


async def test_the_token_of_another_upstream_is_masked_as_well(package_manager, proxy, upstream):
    first, second = await package_manager(), await package_manager()
    first.add(wheel("hello"))
    credentials = [(CredentialSpec("env", variable=name),) for name in ("FIRST", "SECOND")]
    running = await proxy(
        upstream(first, credentials=credentials[0]),
        upstream(second, name="second", mount="/second", credentials=credentials[1]),
        environ={"FIRST": first.token, "SECOND": second.token},
    )
    await running.get(f"/second{PAGE}")
    first.add_fault("*", Status(404, f"No {second.token}", f"no {second.token}".encode(), (("X", second.token),)))

    reply = await running.get(PAGE)

    assert (reply.status, reply.body) == (404, b"")
    assert shown(second.token, reply) == []


# --- what is neither an error, nor a file, nor a page -----------------------------------------------------------------


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize(
    ("path", "content_type"), [(API, "application/json"), ("/__api__/repos", "application/json"), (PAGE, "text/plain")]
)
async def test_an_answer_of_the_api_with_a_token_is_not_passed_on(
    server, running, other_token, path, content_type, coding
):
    body = f'{{"token": "{other_token}"}}'.encode()
    headers = (("Content-Type", content_type), *([("Content-Encoding", coding)] if coding else []))
    server.add_fault("*", Status(200, None, gzip.compress(body) if coding else body, headers))

    reply = await running.get(path, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert shown(other_token, reply) == []


@pytest.mark.parametrize("before", [1 << 16, 300_000])
async def test_a_long_answer_of_the_api_is_cut_before_a_token(server, running, other_token, before):
    body = b"x" * before + other_token.encode() + b"y" * 100_000
    server.add_fault("/__api__/*", Status(200, None, body, (("Content-Type", "application/json"),)))

    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(f"GET {API} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {UV}\r\nConnection: close\r\n\r\n".encode())
    received = (await asyncio.wait_for(reader.read(), 15)).partition(b"\r\n\r\n")[2]
    writer.close()

    assert other_token.partition(".")[2][:8].encode() not in received or other_token == OPAQUE
    assert other_token[:8].encode() not in received
    assert len(received) < before + len(other_token)


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("size", [0, 10, 1 << 16, 300_000])
async def test_an_answer_of_the_api_without_one_passes(server, running, coding, size):
    body = b"[" + b"1" * size + b"]"
    headers = (("Content-Type", "application/json"), *([("Content-Encoding", coding)] if coding else []))
    server.add_fault("/__api__/*", Status(200, None, gzip.compress(body) if coding else body, headers))

    reply = await running.get(API)

    assert (reply.status, reply.body) == (200, body)


async def test_a_long_path_is_masked_before_it_is_cut_for_the_log(server, running, logs, other_token):
    await running.get("/pypi/" + "x" * 490 + other_token)

    assert shown_in_log(other_token, logs) == []
