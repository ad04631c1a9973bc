"""Claims about which certificates are trusted by a real `ppmproxy run` with its own variables and files."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import aiohttp
import pytest
import trustme
from downloads import skip_or_fail
from processes import ppmproxy_run

from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUntrustedError
from ppmproxy.testing.package_manager import CertificateAuthority, FakePackageManager, wheel
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.tls import Trust

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
