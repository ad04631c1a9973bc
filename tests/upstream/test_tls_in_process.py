"""Claims about certificates and client certificates of a daemon in this process."""

import contextlib
import ssl
import time
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from aiohttp import web
from proxy_client import UV

from ppmproxy.errors import ConfigError
from ppmproxy.testing.package_manager import RedirectTo, wheel

PAGE = "/pypi/latest/simple/hello/"


@contextlib.asynccontextmanager
async def tls_server(context):
    """A server of one page, for certificates that the fake Package Manager does not have; the port it listens on."""

    async def answer(_request):
        return web.Response(text="<!DOCTYPE html><a href='x'>x</a>", content_type="text/html")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_an_untrusted_upstream_names_who_issued_its_certificate(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, ca_file=None)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-untrusted")
    assert "O=trustme" in reply.json()["detail"]
    assert "ca_file" in reply.json()["detail"]
    assert server.requests == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE"])
async def test_the_store_of_the_system_is_trusted(package_manager, proxy, ca_file, monkeypatch, variable):
    server = await package_manager()
    server.add(wheel("hello"))
    monkeypatch.setenv(variable, str(ca_file))
    running = await proxy(server, ca_file=None)

    assert (await running.get(PAGE)).status == 200


async def test_a_certificate_for_another_name_is_not_trusted(package_manager, proxy):
    server = await package_manager(certificate_for=("other.example",))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-untrusted"
    assert "127.0.0.1" in reply.json()["detail"]
    assert "mismatch" in reply.json()["detail"]


async def test_an_expired_certificate_is_not_trusted(upstream, package_manager, proxy, tmp_path):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    ca.issue_cert("127.0.0.1", not_before=past, not_after=past + timedelta(days=1)).configure_cert(context)
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(ca.cert_pem.bytes())
    server = await package_manager()
    async with tls_server(context) as port:
        running = await proxy(upstream(server, url=f"https://127.0.0.1:{port}", ca_file=trusted))

        reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-untrusted"
    assert "expired" in reply.json()["detail"]


async def test_tls_on_a_plain_port_is_reported(package_manager, upstream, proxy):
    server = await package_manager(tls=False)
    running = await proxy(upstream(server, url=server.url.replace("http:", "https:")))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unreachable")
    assert "TLS" in reply.json()["detail"]


async def test_plain_http_on_a_tls_port_is_reported(package_manager, upstream, proxy):
    server = await package_manager()
    running = await proxy(upstream(server, url=server.url.replace("https:", "http:"), read_timeout=3.0))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 424
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


@pytest.mark.usefixtures("short_retries")
async def test_a_missing_client_certificate_is_reported(package_manager, proxy):
    server = await package_manager(demands_client_certificate=True)
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unreachable")
    assert "client_cert" in reply.json()["detail"]


async def test_the_client_certificate_is_sent_to_no_other_origin(package_manager, proxy, tmp_path):
    server = await package_manager()
    other = await package_manager(demands_client_certificate=True, refuses_authorization=True)
    certificate, key = server.write_client_identity(tmp_path)
    server.add_fault("/x", RedirectTo(other.origin + "/y"))
    running = await proxy(server, client_cert=certificate, client_key=key, read_timeout=0.5)

    reply = await running.get("/x")

    assert reply.status == 424
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
    running = await proxy(upstream(server, url="https://192.0.2.1", connect_timeout=0.1, read_timeout=0.3))
    started = time.monotonic()

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-unreachable"
    assert time.monotonic() - started < 9  # ten are the default
