"""Claims about certificates that are not trusted: the reason, and the one who has to change something, are named."""

import asyncio
import contextlib
import datetime as dt
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUntrustedError
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.tls_failures import ShownCertificates, reason_and_hint

PLACE = "https://pm.example.com"
NO_ISSUER, SELF_SIGNED, EXPIRED, OTHER_NAME, OTHER_ADDRESS, WRONG_PURPOSE = 20, 19, 10, 62, 64, 26


@contextlib.asynccontextmanager
async def serving(*pem, key=None):
    """A server of one response, with a chain of certificates in PEM; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with contextlib.ExitStack() as stack:
        chain = stack.enter_context(trustme.Blob(b"".join([key, *pem] if key else pem)).tempfile())
        context.load_cert_chain(chain)

    async def answer(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port, host="127.0.0.1", **options):
    """The status of a response; `UpstreamUntrustedError`."""
    url = f"https://{host}:{port}"
    client = UpstreamClient(Upstream(url=url, **options))
    try:
        async with client.send(UpstreamRequest("GET", url + "/", [])) as response:
            return response.status
    finally:
        await client.close()


class Chain:
    """A root, an intermediate authority and a server's certificate."""

    def __init__(self, folder, *names):
        self.root = trustme.CA()
        self.intermediate = self.root.create_child_ca()
        leaf = self.intermediate.issue_cert(*(names or ("127.0.0.1",)))
        self.key = leaf.private_key_pem.bytes()
        self.leaf = leaf.cert_chain_pems[0].bytes()
        self.middle = self.intermediate.cert_pem.bytes()
        self.files = {}
        for name, pem in {"root": self.root.cert_pem.bytes(), "intermediate": self.middle}.items():
            self.files[name] = folder / f"{name}.pem"
            self.files[name].write_bytes(pem)

    def name_of(self, authority):
        certificate = x509.load_pem_x509_certificate(getattr(self, authority).cert_pem.bytes())
        return certificate.subject.rfc4514_string()


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path)


# --- anchors ---


@pytest.mark.parametrize("trusted", ["root", "intermediate"])
async def test_an_intermediate_authority_is_trusted_like_a_root(chain, trusted):
    async with serving(chain.leaf, chain.middle, key=chain.key) as port:
        assert await connect(port, ca_file=chain.files[trusted]) == 200


async def test_an_intermediate_in_ca_file_makes_up_for_one_that_the_server_omits(chain):
    async with serving(chain.leaf, key=chain.key) as port:
        assert await connect(port, ca_file=chain.files["intermediate"]) == 200


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE"])
async def test_an_intermediate_in_a_named_bundle_is_trusted(chain, variable, monkeypatch):
    monkeypatch.setenv(variable, str(chain.files["intermediate"]))
    async with serving(chain.leaf, chain.middle, key=chain.key) as port:
        assert await connect(port) == 200


# --- reasons ---


async def test_a_server_that_omits_its_intermediate_has_to_send_it(chain):
    async with serving(chain.leaf, key=chain.key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port, ca_file=chain.files["root"])

    assert f'issued by "{chain.name_of("intermediate")}"' in str(refused.value)
    assert "the server does not send the certificate of that authority" in str(refused.value)
    assert f"the administrator of https://127.0.0.1:{port} has to send the intermediate" in refused.value.hint


async def test_the_advice_names_the_authority_that_helps(chain):
    async with serving(chain.leaf, chain.middle, key=chain.key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port)

    assert f'add the certificate of the authority "{chain.name_of("root")}"' in refused.value.hint
    assert "ca_file" in refused.value.hint


@pytest.mark.parametrize(
    ("variable", "content", "why"),
    [
        ("SSL_CERT_FILE", None, "no such file"),
        ("SSL_CERT_FILE", b"", "which is empty"),
        ("SSL_CERT_FILE", "DER", "not in PEM"),
        ("SSL_CERT_FILE", b"-----BEGIN CERTIFICATE-----\nhalf", "cannot be used"),
        ("SSL_CERT_FILE", "folder", "cannot be used"),
        ("SSL_CERT_DIR", None, "no certificate under the hash"),
        ("SSL_CERT_DIR", "folder", "no certificate under the hash"),
    ],
)
async def test_a_variable_that_names_unusable_authorities_is_reported(
    chain, variable, content, why, monkeypatch, tmp_path
):
    named = tmp_path / "named"
    if content == "folder":
        named.mkdir()
        (named / "root.pem").write_bytes(chain.root.cert_pem.bytes())
    elif content is not None:
        der = x509.load_pem_x509_certificate(chain.root.cert_pem.bytes()).public_bytes(serialization.Encoding.DER)
        named.write_bytes(der if content == "DER" else content)
    monkeypatch.setenv(variable, str(named))

    async with serving(chain.leaf, chain.middle, key=chain.key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port)

    assert f"{variable} names {named}, " in str(refused.value)
    assert why in str(refused.value)
    assert refused.value.hint.startswith(f"correct {variable}")


def without_names(common_name):
    """A certificate in PEM, its own authority, without subjectAltName; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_without_subject_alt_name_is_refused_with_that_reason(host, tmp_path):
    certificate, key = without_names(host)
    (tmp_path / "ca.pem").write_bytes(certificate)

    async with serving(certificate, key=key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port, host, ca_file=tmp_path / "ca.pem")

    assert "it names no host in subjectAltName" in str(refused.value)
    assert "renew it with the host's name in subjectAltName" in refused.value.hint


@pytest.mark.parametrize(
    ("code", "shown", "reason", "hint"),
    [
        (EXPIRED, ShownCertificates(), "said", "check this machine's date and time"),
        (OTHER_NAME, ShownCertificates(), "said", "a name that the certificate is for"),
        (OTHER_ADDRESS, ShownCertificates(has_names=False), "subjectAltName", "renew it with the host's name"),
        (NO_ISSUER, ShownCertificates(), "said", "add the certificate of the authority to"),
        (NO_ISSUER, ShownCertificates("i", "root"), "said", 'add the certificate of the authority "root" to'),
        (NO_ISSUER, ShownCertificates("i", "i", is_alone=True), "does not send", "send the intermediate certificate"),
        (SELF_SIGNED, ShownCertificates("root", "root"), "said", 'the authority "root"'),
        (WRONG_PURPOSE, ShownCertificates(), "said", f"the administrator of {PLACE} has to replace it"),
    ],
)
def test_each_failure_has_its_reason_and_its_hint(code, shown, reason, hint):
    found_reason, found_hint = reason_and_hint(code, "said", PLACE, shown)

    assert reason in found_reason
    assert hint in found_hint
