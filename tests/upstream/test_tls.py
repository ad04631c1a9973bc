"""Claims about which certificates are trusted: in this process, and by a real `ppmproxy run` with its own variables."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import ssl
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from downloads import skip_or_fail
from processes import ppmproxy_run
from proxy_client import UV

from ppmproxy.config.model import Upstream
from ppmproxy.errors import ConfigError, UpstreamUntrustedError
from ppmproxy.testing.package_manager import CertificateAuthority, FakePackageManager, RedirectTo, wheel
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.tls import Trust

PAGE = "/pypi/latest/simple/hello/"
STORE, LOCAL = Path("/etc/ssl"), Path("/usr/local/share/ca-certificates")

# In a mount namespace of its own: what is changed here is seen by nobody else, and is gone with the last process in it.
WITH_CERTIFICATE_IN_STORE = f"""
set -eu
mount --make-rprivate /
cp -a {STORE} "$COPIES/store"
cp -a {LOCAL} "$COPIES/local"
mount --bind "$COPIES/store" {STORE}
mount --bind "$COPIES/local" {LOCAL}
cp "$CERTIFICATE" {LOCAL}/tests.crt
update-ca-certificates --hooksdir "$COPIES/no-hooks" >&2
exec "$@"
"""


@pytest.fixture
async def manager():
    async with FakePackageManager() as package_manager:
        package_manager.add(wheel("hello"))
        yield package_manager


@contextlib.asynccontextmanager
async def answer_through(manager, folder, command=(), **environ):
    """How the proxy answers for an index page, when nothing but these variables is in its environment."""
    settings = {"PPMPROXY_UPSTREAM": manager.url, "PPMPROXY_TOKEN": manager.token}
    async with (
        ppmproxy_run(folder, command=command, **settings, **environ) as running,
        aiohttp.ClientSession() as client,
        client.get(f"{running.index_url}hello/") as response,
    ):
        yield response


async def test_an_authority_that_nobody_named_is_not_trusted_and_the_answer_names_it(manager, tmp_path):
    async with answer_through(manager, tmp_path) as response:
        problem = json.loads(await response.text())

    assert response.status == 424
    assert response.headers["X-Ppmproxy-Error"] == "upstream-untrusted"
    assert "trustme" in response.reason
    assert "issued by" in problem["detail"]
    assert "the operating system's store" in problem["detail"]
    assert not manager.requests


YESTERDAY, TOMORROW = (datetime.now(timezone.utc) + timedelta(days=days) for days in (-1, 1))


@pytest.mark.parametrize(
    ("name", "validity", "advice"),
    [
        ("127.0.0.1", {"not_after": YESTERDAY}, "check this machine's date and time"),
        ("127.0.0.1", {"not_before": TOMORROW}, "check this machine's date and time"),
        ("192.0.2.1", {}, "a name that the certificate has"),
    ],
)
async def test_a_certificate_that_no_authority_would_help_is_not_reported_as_a_missing_one(
    name, validity, advice, tmp_path
):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **validity).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    listening = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    client = UpstreamClient(Upstream(url="https://pm.example.com", ca_file=tmp_path / "ca.pem"))

    async with listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        with pytest.raises(UpstreamUntrustedError) as refused:
            await client.send(UpstreamRequest("GET", url, [])).__aenter__()
    await client.close()

    assert advice in refused.value.hint
    assert "authority" not in refused.value.hint


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PPMPROXY_CA_FILE"])
async def test_an_authority_in_a_file_that_the_environment_names_is_trusted(variable, manager, tmp_path):
    ca_file = str(manager.write_ca(tmp_path / "ca.pem"))

    async with answer_through(manager, tmp_path, **{variable: ca_file}) as response:
        assert response.status == 200


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PPMPROXY_CA_FILE"])
async def test_an_authority_that_is_added_while_the_proxy_runs_is_trusted_from_then_on(variable, manager, tmp_path):
    ca_file = CertificateAuthority().write_pem(tmp_path / "ca.pem")
    settings = {"PPMPROXY_UPSTREAM": manager.url, "PPMPROXY_TOKEN": manager.token, variable: str(ca_file)}
    async with ppmproxy_run(tmp_path, **settings) as running, aiohttp.ClientSession() as client:
        async with client.get(f"{running.index_url}hello/") as before:
            assert before.status == 424

        manager.write_ca(ca_file)

        async with client.get(f"{running.index_url}hello/") as after:
            assert after.status == 200


def trust_in(upstream):
    """A `Trust` whose clock is a minute on whenever it is asked."""
    return Trust(upstream, with_client_certificate=True, clock=itertools.count(0, 60).__next__)


def test_the_files_are_looked_at_once_a_second_and_after_a_failure(tmp_path):
    now = [0.0]
    ca_file = CertificateAuthority().write_pem(tmp_path / "ca.pem")
    trust = Trust(Upstream(ca_file=ca_file), with_client_certificate=True, clock=lambda: now[0])
    first = trust.context()
    CertificateAuthority().write_pem(ca_file)

    within_a_second = trust.context()
    trust.connection_failed()
    after_failure = trust.context()
    CertificateAuthority().write_pem(ca_file)
    now[0] += 1

    assert within_a_second is first
    assert after_failure is not first
    assert trust.context() is not after_failure


@pytest.mark.parametrize("spoilt", [b"", b"-----BEGIN CERTIFICATE-----\nhalf", None])
def test_a_file_that_is_being_replaced_counts_as_it_was_until_it_can_be_used(spoilt, tmp_path, logs):
    ca_file = CertificateAuthority().write_pem(tmp_path / "ca.pem")
    trust = trust_in(Upstream(ca_file=ca_file))
    before = trust.context()

    ca_file.unlink() if spoilt is None else ca_file.write_bytes(spoilt)
    meanwhile = [trust.context(), trust.context()]
    CertificateAuthority().write_pem(ca_file)

    assert meanwhile == [before, before]
    [told] = logs.events("certificates_not_read")
    assert told["why"].startswith(f"ca_file {ca_file} cannot be used")
    assert trust.context() is not before


def test_what_the_files_say_is_read_once(tmp_path):
    ca_file = CertificateAuthority().write_pem(tmp_path / "ca.pem")
    trust = trust_in(Upstream(ca_file=ca_file))

    assert trust.context() is trust.context()


def test_a_file_that_may_be_read_again_is_looked_at_again(tmp_path):
    ca_file = CertificateAuthority().write_pem(tmp_path / "ca.pem")
    trust = trust_in(Upstream(ca_file=ca_file))
    before = trust.context()

    ca_file.chmod(0o640)

    assert trust.context() is not before


def test_a_renewed_client_certificate_is_shown_from_then_on(authority, tmp_path):
    certificate, key = authority.write_client_identity(tmp_path)
    trust = trust_in(Upstream(client_cert=certificate, client_key=key))
    before = trust.context()

    authority.write_client_identity(tmp_path)

    assert trust.context() is not before


@pytest.mark.real
async def test_an_authority_in_the_store_of_the_system_is_trusted(manager, tmp_path):
    check_rights()
    copies = tmp_path / "copies"
    copies.mkdir()
    certificate = str(manager.write_ca(tmp_path / "ca.pem"))
    command = ("unshare", "--mount", "sh", "-c", WITH_CERTIFICATE_IN_STORE, "sh")
    before = contents(STORE), contents(LOCAL)

    async with answer_through(manager, tmp_path, command, COPIES=str(copies), CERTIFICATE=certificate) as response:
        assert response.status == 200

    assert (copies / "local" / "tests.crt").exists()
    assert (contents(STORE), contents(LOCAL)) == before


def check_rights():
    if shutil.which("update-ca-certificates") is None or not LOCAL.is_dir():
        skip_or_fail("there is no update-ca-certificates", "run on Debian, with the package ca-certificates")
    if os.geteuid() != 0:
        skip_or_fail("only root may mount", "run the tests as root in a container")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        skip_or_fail("no mount namespace can be made", "allow the container CAP_SYS_ADMIN")


def contents(folder):
    """Every file below a folder by its digest, every link by its target."""
    return {
        path: str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


# --- a daemon in this process ---


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
    running = await proxy(upstream(server, url=server.url.replace("https:", "http:"), read_timeout=0.5))

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


async def test_a_missing_client_certificate_is_reported(package_manager, proxy):
    server = await package_manager(demands_client_certificate=True)
    running = await proxy(server, read_timeout=0.5)

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
