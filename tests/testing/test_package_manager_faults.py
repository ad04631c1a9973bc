"""Claims about the faults of the fake Package Manager: the bytes that a client receives, and how it recovers."""

import asyncio
import contextlib
import gzip
import json
import sys

import aiohttp
import pytest
from yarl import URL

from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    Cut,
    Delay,
    FakePackageManager,
    LoginPage,
    LoginRedirect,
    NoAnswer,
    RedirectLoop,
    RedirectTo,
    Stall,
    Status,
    Trickle,
    Unsized,
    WrongEncoding,
)
from ppmproxy.testing.package_manager.sending import close_connection

# Python 3.10's client-side TLS transport does not know that it was closed when the server ended the connection.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
pytestmark = [UNCLOSED] if sys.version_info < (3, 11) else []

SIZE = 200_000
END = b"\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
async def package_manager(request):
    async with FakePackageManager(tls=request.param, open_repos=("pypi",)) as server:
        server.add_large("big-1.0-py3-none-any.whl", SIZE)
        yield server


@pytest.fixture
def file_path(package_manager):
    return URL(package_manager.file_url(package_manager.catalog.files("pypi", "big")[0])).path


@contextlib.asynccontextmanager
async def connected(package_manager):
    context = package_manager.client_context() if package_manager.tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(package_manager.origin).port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer_to(package_manager, path, method="GET"):
    """All bytes until the connection ends; the error when it ends with one."""
    async with connected(package_manager) as (reader, writer):
        writer.write(f"{method} {path} HTTP/1.1".encode() + END)
        received = bytearray()
        try:
            while piece := await reader.read(65536):
                received += piece
        except OSError as error:
            return bytes(received), error
        return bytes(received), None


async def until(true, seconds=5):
    for _ in range(seconds * 100):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true")


def body_of(received):
    return received.partition(b"\r\n\r\n")[2]


async def test_status_with_its_words(package_manager):
    package_manager.add_fault("*", Status(403, "Blocked By Policy", b"ask Kim", (("Retry-After", "600"),)))

    received, _ = await answer_to(package_manager, "/pypi/latest/simple/")

    assert received.startswith(b"HTTP/1.1 403 Blocked By Policy\r\n")
    assert b"Retry-After: 600\r\n" in received
    assert body_of(received) == b"ask Kim"


async def test_an_early_status_comes_before_the_body_was_sent(package_manager):
    package_manager.add_fault("/upload/*", Status(413, early=True))

    async with connected(package_manager) as (reader, writer):
        writer.write(b"POST /upload/pypi/internal HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert head.startswith(b"HTTP/1.1 413 ")
    assert package_manager.requests[0].body_length == 0


async def test_login_page(package_manager):
    package_manager.add_fault("*", LoginPage())

    received, _ = await answer_to(package_manager, "/pypi/latest/simple/")

    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/html" in received
    assert b"<form" in received


@pytest.mark.parametrize(
    ("how", "location"),
    [
        (LoginRedirect(), b"https://login.invalid/login?return_to=%2F"),
        (RedirectTo("https://files.example.com/x?a=%2F"), b"https://files.example.com/x?a=%2F"),
        (RedirectLoop(), b"/pypi/latest/simple/?a=%7E"),
    ],
)
async def test_redirects(package_manager, how, location):
    package_manager.add_fault("*", how)

    received, _ = await answer_to(package_manager, "/pypi/latest/simple/?a=%7E")

    assert received.startswith(b"HTTP/1.1 302 ")
    assert b"Location: " + location + b"\r\n" in received


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_the_connection_ends_before_any_answer(package_manager, reset):
    package_manager.add_fault("*", CloseBeforeHead(reset=reset))

    received, error = await answer_to(package_manager, "/pypi/latest/simple/")

    assert received == b""
    assert isinstance(error, ConnectionResetError) is reset
    assert package_manager.requests[0].status is None


async def test_the_connection_ends_while_the_client_uploads(package_manager):
    package_manager.add_fault("/upload/*", CloseBeforeHead(reset=True, after=1000))

    async with connected(package_manager) as (reader, writer):
        writer.write(b"POST /upload/pypi/internal HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + bytes(2000))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)

    assert package_manager.requests[0].body_length == 2000


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("after", [0, 1, 100_000])
async def test_the_body_is_cut(package_manager, file_path, after, reset):
    package_manager.add_fault("*", Cut(after, reset=reset))

    received, error = await answer_to(package_manager, file_path)

    assert b"Content-Length: %d\r\n" % SIZE in received
    assert len(body_of(received)) == after == package_manager.requests[0].sent
    assert isinstance(error, ConnectionResetError) is reset


@pytest.mark.parametrize("how", [NoAnswer(), Delay(60), Stall(1000)], ids=repr)
async def test_what_waits_goes_on_when_released(package_manager, file_path, how):
    package_manager.add_fault("*", how)
    waiting = asyncio.ensure_future(answer_to(package_manager, file_path))
    await until(lambda: package_manager.requests)
    await asyncio.sleep(0.1)
    assert not waiting.done()

    package_manager.release()

    received, _ = await asyncio.wait_for(waiting, 5)
    assert len(body_of(received)) == SIZE


async def test_a_stalled_body_has_begun(package_manager, file_path):
    package_manager.add_fault("*", Stall(1000))

    async with connected(package_manager) as (reader, writer):
        writer.write(f"GET {file_path} HTTP/1.1".encode() + END)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)


async def test_a_delayed_answer_is_the_right_one(package_manager, file_path):
    package_manager.add_fault("*", Delay(0.2))
    start = asyncio.get_running_loop().time()

    received, _ = await answer_to(package_manager, file_path)

    assert asyncio.get_running_loop().time() - start >= 0.2
    assert len(body_of(received)) == SIZE


async def test_a_trickle_comes_in_small_pieces(package_manager):
    package_manager.add_fault("*", Trickle(piece=2, every=0.02))
    start = asyncio.get_running_loop().time()

    received, _ = await answer_to(package_manager, "/__api__/nothing")

    assert asyncio.get_running_loop().time() - start >= len(body_of(received)) / 2 * 0.02
    assert json.loads(body_of(received))


async def test_unsized_is_chunked(package_manager, file_path):
    package_manager.add_fault("*", Unsized())

    received, _ = await answer_to(package_manager, file_path)

    assert b"Transfer-Encoding: chunked" in received
    assert b"Content-Length" not in received
    assert received.endswith(b"0\r\n\r\n")


async def test_a_wrong_encoding_is_never_right(package_manager):
    package_manager.add_fault("*", WrongEncoding("gzip"))

    async with connected(package_manager) as (reader, writer):
        writer.write(b"GET /pypi/latest/simple/ HTTP/1.1\r\nAccept-Encoding: gzip" + END)
        received = await reader.read()

    assert received.count(b"Content-Encoding: gzip\r\n") == 1
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(body_of(received))


async def test_the_latest_rule_wins_and_behave_forgets_them_all(package_manager):
    package_manager.add_fault("*", Status(500))
    package_manager.add_fault("*/simple/*", Status(503))
    package_manager.add_fault(lambda seen: seen.method == "HEAD", Status(410))

    async def status(path, method="GET"):
        return int((await answer_to(package_manager, path, method))[0].split()[1])

    assert await status("/pypi/latest/simple/big/") == 503
    assert await status("/__ping__") == 500
    assert await status("/__ping__", "HEAD") == 410
    package_manager.clear_faults()
    assert await status("/__ping__") == 200


async def test_times_counts_the_requests_that_fit(package_manager):
    package_manager.add_fault("/__ping__", Status(500), times=2)

    statuses = [
        (await answer_to(package_manager, path))[0].split()[1] for path in ("/__ping__", "/", "/__ping__", "/__ping__")
    ]

    assert statuses == [b"500", b"200", b"500", b"200"]


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_client_that_leaves_during_the_answer_is_no_error(package_manager, reset, caplog):
    file = package_manager.add_large("huge-1.0-py3-none-any.whl", 1_000_000_000)

    async with connected(package_manager) as (reader, writer):
        writer.write(f"GET {URL(package_manager.file_url(file)).path} HTTP/1.1".encode() + END)
        await reader.readexactly(100_000)
        close_connection(writer.transport, reset=reset)

    await until(lambda: package_manager.requests[0].client_left)
    assert package_manager.requests[0].status == 200
    assert package_manager.requests[0].sent < 1_000_000_000
    assert caplog.records == []


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 9000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nffff\r\n"])
async def test_a_client_that_leaves_during_its_upload_is_no_error(package_manager, framing, reset, caplog):
    async with connected(package_manager) as (_, writer):
        writer.write(b"POST /upload/pypi/internal HTTP/1.1\r\nHost: x\r\n" + framing.encode() + bytes(2000))
        await until(lambda: package_manager.requests and package_manager.requests[0].body_length == 2000)
        close_connection(writer.transport, reset=reset)

    await until(lambda: package_manager.requests[0].client_left)
    assert package_manager.requests[0].status is None
    assert caplog.records == []


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("how", [NoAnswer(), Stall(10), Trickle(every=5), Delay(60), Cut(10)], ids=repr)
async def test_it_stops_at_once_whoever_waits(how, tls):
    server = FakePackageManager(tls=tls)
    await server.start()
    server.add_fault("*", how)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=server.client_context() if tls else False)
    ) as session:
        asking = asyncio.ensure_future(session.get(server.url))
        await until(lambda: server.requests)

        await asyncio.wait_for(server.close(), 20)  # each fault lasts longer, but for a cut

        with contextlib.suppress(aiohttp.ClientError):
            (await asking).close()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
