"""Claims about the way out: through which forward proxy, and whose certificate is believed."""

import asyncio
import base64
import contextlib
import datetime as dt
import ssl
import time

import pytest
import trustme
from aiohttp import web
from proxy_client import UV
from yarl import URL

from ppmproxy.errors import ConfigError
from ppmproxy.testing.package_manager import RedirectTo, wheel

PAGE = "/pypi/latest/simple/hello/"
MIB = 1 << 20


@contextlib.asynccontextmanager
async def tls_server(context):
    """A server of one page, for certificates that the stand-in does not have; the port it listens on."""

    async def answer(_request):
        return web.Response(text="<!DOCTYPE html><a href='x'>x</a>", content_type="text/html")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Tunnels:
    """A forward proxy that knows CONNECT alone, and leads every host to this machine."""

    def __init__(self, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
        self.asked = []
        self._answer = answer
        self._pipes = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._pipes.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            if " 200 " not in self._answer.decode():
                writer.write(self._answer)
                await writer.drain()
                return
            port = int(head.split()[1].rpartition(":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self._answer)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._pipes.discard(task)


async def _pump(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


# --- forward proxies ---


@pytest.fixture
async def far_away(package_manager):
    """A stand-in whose name only a forward proxy knows, and its URL by that name."""
    server = await package_manager(base_path="/rspm", certificate_for=("pm.invalid",))
    server.add(wheel("hello"))
    return server, server.url.replace("127.0.0.1", "pm.invalid")


async def test_the_configured_forward_proxy_is_used(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert tunnels.asked[0].startswith(f"CONNECT pm.invalid:{URL(url).port} HTTP/1.1\r\n")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_the_environments_forward_proxy_is_used(far_away, upstream, proxy, monkeypatch, variable):
    server, url = far_away
    async with Tunnels() as tunnels:
        monkeypatch.setenv(variable, tunnels.url)
        running = await proxy(upstream(server, url=url))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert len(tunnels.asked) == 1


async def test_the_forward_proxy_never_sees_the_token(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url, headers=(("X-Ingress", "secret"),)))

        await running.get(PAGE)

        assert "authorization" not in "".join(tunnels.asked).lower()
        assert "X-Ingress" not in "".join(tunnels.asked)


async def test_the_forward_proxys_own_password_goes_to_it_alone(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        with_password = tunnels.url.replace("http://", "http://me:pass%40word@")
        running = await proxy(upstream(server, url=url, proxy=with_password))

        reply = await running.get(PAGE)

        assert reply.status == 200
        assert base64.b64encode(b"me:pass@word").decode() in tunnels.asked[0]
        assert {seen.header("Proxy-Authorization") for seen in server.requests} == {None}


@pytest.mark.parametrize("environment", [{"NO_PROXY": "127.0.0.1"}, {"NO_PROXY": "*"}, {}])
async def test_an_upstream_on_this_machine_is_asked_directly(package_manager, proxy, monkeypatch, environment):
    server = await package_manager()
    server.add(wheel("hello"))
    async with Tunnels() as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", tunnels.url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        running = await proxy(server)

        assert (await running.get(PAGE)).status == 200
        assert tunnels.asked == []


async def test_no_forward_proxy_where_the_settings_say_none(far_away, upstream, proxy, monkeypatch):
    server, url = far_away
    async with Tunnels() as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", tunnels.url)
        running = await proxy(upstream(server, url=url, proxy="none"))

        assert (await running.get(PAGE, {"User-Agent": UV})).code == "upstream-unreachable"
        assert tunnels.asked == []


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_forward_proxy_that_refuses_is_named(far_away, upstream, proxy, status):
    server, url = far_away
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    async with Tunnels(refusal) as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url.replace("http://", "http://me:hush@")))

        reply = await running.get(PAGE, {"User-Agent": UV})

        assert (reply.status, reply.code) == (502, "upstream-unreachable")
        assert "forward proxy" in reply.json()["detail"]
        assert "hush" not in reply.text()


async def test_a_forward_proxy_that_is_not_there_is_named(far_away, upstream, proxy, unused_tcp_port):
    server, url = far_away
    running = await proxy(upstream(server, url=url, proxy=f"http://me:hush@127.0.0.1:{unused_tcp_port}"))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-unreachable"
    assert "forward proxy" in reply.json()["detail"]
    assert "hush" not in reply.text()


async def test_an_untrusted_upstream_behind_a_forward_proxy_is_called_untrusted(far_away, upstream, proxy):
    server, url = far_away
    async with Tunnels() as tunnels:
        running = await proxy(upstream(server, url=url, proxy=tunnels.url, ca_file=None))

        assert (await running.get(PAGE, {"User-Agent": UV})).code == "upstream-untrusted"


# --- trust ---


async def test_an_untrusted_upstream_names_who_issued_its_certificate(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, ca_file=None)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (502, "upstream-untrusted")
    assert "O=trustme" in reply.json()["detail"]
    assert "ca_file" in reply.json()["detail"]
    assert server.requests == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE"])
async def test_the_systems_store_is_believed(package_manager, proxy, ca_file, monkeypatch, variable):
    server = await package_manager()
    server.add(wheel("hello"))
    monkeypatch.setenv(variable, str(ca_file))
    running = await proxy(server, ca_file=None)

    assert (await running.get(PAGE)).status == 200


async def test_a_certificate_for_another_name_is_not_believed(package_manager, proxy):
    server = await package_manager(certificate_for=("other.example",))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-untrusted"
    assert "127.0.0.1" in reply.json()["detail"]
    assert "mismatch" in reply.json()["detail"]


async def test_an_expired_certificate_is_not_believed(upstream, package_manager, proxy, tmp_path):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    ca.issue_cert("127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1)).configure_cert(context)
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(ca.cert_pem.bytes())
    server = await package_manager()
    async with tls_server(context) as port:
        running = await proxy(upstream(server, url=f"https://127.0.0.1:{port}", ca_file=trusted))

        reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-untrusted"
    assert "expired" in reply.json()["detail"]


async def test_tls_on_a_plain_port_is_told(package_manager, upstream, proxy):
    server = await package_manager(tls=False)
    running = await proxy(upstream(server, url=server.url.replace("http:", "https:")))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (502, "upstream-unreachable")
    assert "TLS" in reply.json()["detail"]


async def test_plain_http_on_a_tls_port_is_told(package_manager, upstream, proxy):
    server = await package_manager()
    running = await proxy(upstream(server, url=server.url.replace("https:", "http:")))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 502
    assert reply.code in {"upstream-unreachable", "upstream-unexpected"}


async def test_a_client_certificate_is_shown_to_the_upstream(package_manager, proxy, tmp_path):
    server = await package_manager(demands_client_certificate=True)
    server.add(wheel("hello"))
    certificate, key = server.write_client_identity(tmp_path)
    running = await proxy(server, client_cert=certificate, client_key=key)

    assert (await running.get(PAGE)).status == 200


async def test_certificate_and_key_may_share_a_file(package_manager, proxy, tmp_path):
    server = await package_manager(demands_client_certificate=True)
    server.add(wheel("hello"))
    certificate, key = server.write_client_identity(tmp_path)
    certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
    running = await proxy(server, client_cert=certificate)

    assert (await running.get(PAGE)).status == 200


async def test_a_missing_client_certificate_is_told(package_manager, proxy):
    server = await package_manager(demands_client_certificate=True)
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (502, "upstream-unreachable")
    assert "client_cert" in reply.json()["detail"]


async def test_the_client_certificate_is_shown_to_nobody_else(package_manager, proxy, tmp_path):
    server = await package_manager()
    other = await package_manager(demands_client_certificate=True, refuses_authorization=True)
    certificate, key = server.write_client_identity(tmp_path)
    server.add_fault("/x", RedirectTo(other.origin + "/y"))
    running = await proxy(server, client_cert=certificate, client_key=key)

    reply = await running.get("/x")

    assert reply.status == 502
    assert other.requests == []


@pytest.mark.parametrize(
    ("option", "content", "why"),
    [
        ("ca_file", None, "no such file"),
        ("ca_file", b"nothing of the kind", "cannot be used"),
        ("client_cert", None, "no such file"),
        ("client_cert", b"nothing of the kind", "cannot be used"),
    ],
)
async def test_a_certificate_file_that_cannot_be_used_is_a_configuration_error(
    package_manager, proxy, tmp_path, option, content, why
):
    server = await package_manager()
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        await proxy(server, **{option: file})

    assert str(file) in str(caught.value)
    assert why in str(caught.value).lower()


async def test_a_key_with_a_passphrase_does_not_ask_on_the_terminal(package_manager, proxy, tmp_path):
    from cryptography.hazmat.primitives import serialization

    server = await package_manager()
    certificate, key = server.write_client_identity(tmp_path)
    locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"hush")
    )
    key.write_bytes(locked)

    with pytest.raises(ConfigError, match="passphrase"):
        await proxy(server, client_cert=certificate, client_key=key)


async def test_time_to_connect_is_limited(package_manager, upstream, proxy):
    server = await package_manager()
    # 192.0.2.0/24 is for documentation (RFC 5737): nobody answers, or somebody says at once that there is no way.
    running = await proxy(upstream(server, url="https://192.0.2.1", connect_timeout=0.1))
    started = time.monotonic()

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-unreachable"
    assert time.monotonic() - started < 5
