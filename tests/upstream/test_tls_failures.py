"""Claims about certificates that are not trusted: the reason, and the one who has to change something, are named."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from forward_proxy import ForwardProxy

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUntrustedError
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.shown_certificates import ShownCertificates, Tunnel, shown_certificates
from ppmproxy.upstream.tls_failures import reason_and_hint

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


@pytest.mark.parametrize("named_by", ["ca_file", "SSL_CERT_FILE"])
async def test_a_server_that_omits_its_intermediate_has_to_send_it(chain, named_by, monkeypatch):
    if named_by == "SSL_CERT_FILE":
        monkeypatch.setenv(named_by, str(chain.files["root"]))
    async with serving(chain.leaf, key=chain.key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port, ca_file=chain.files["root"] if named_by == "ca_file" else None)

    assert f'issued by "{chain.name_of("intermediate")}"' in str(refused.value)
    assert "the server does not send its issuer's certificate" in str(refused.value)
    assert f"tell the administrator of https://127.0.0.1:{port} to send the intermediate" in refused.value.hint


async def test_certificates_are_read_through_the_forward_proxy(tmp_path):
    chain = Chain(tmp_path, "pm.invalid")

    async with serving(chain.leaf, chain.middle, key=chain.key) as port, ForwardProxy() as forward:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port, "pm.invalid", proxy=forward.url.replace("://", "://me:p%40ss@"))

    place = f"https://pm.invalid:{port}"
    assert str(refused.value).startswith(f"{place} is not trusted: ")
    assert f'(certificate issued by "{chain.name_of("intermediate")}")' in str(refused.value)
    assert f'add the authority "{chain.name_of("root")}"' in refused.value.hint
    assert forward.targets == [f"pm.invalid:{port}"] * 2
    assert all("Proxy-Authorization: Basic bWU6cEBzcw==" in head for head in forward.heads)


async def test_certificates_are_read_through_a_forward_proxy_that_speaks_tls_if_that_is_trusted(tmp_path):
    chain, authority = Chain(tmp_path, "pm.invalid"), trustme.CA()
    served, known = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(known)
    unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async with serving(chain.leaf, chain.middle, key=chain.key) as port, ForwardProxy(tls=served) as forward:
        origin = Origin("https", "pm.invalid", port)
        shown = [
            await shown_certificates(origin, Tunnel(forward.url, context), Redactor()) for context in (known, unknown)
        ]

    assert [one.last_issuer for one in shown] == [chain.name_of("root"), ""]
    assert len(forward.heads) == 1


async def test_a_forward_proxy_that_is_not_trusted_is_named_as_such():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async with ForwardProxy(tls=context) as forward:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(1, "pm.invalid", proxy=forward.url)

    assert f"the forward proxy {forward.url}, of proxy in the settings" in str(refused.value)
    assert forward.heads == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 No\r\n\r\n", b"rubbish\r\n\r\n", b"x" * 100_000, b""])
async def test_a_forward_proxy_that_does_not_let_the_second_look_through_hides_no_reason(chain, answer):
    async with ForwardProxy(answer) as forward:
        shown = await shown_certificates(Origin("https", "pm.invalid", 1), Tunnel(forward.url, None), Redactor())

    assert shown == ShownCertificates()


async def test_the_advice_names_the_authority_that_helps(chain):
    async with serving(chain.leaf, chain.middle, key=chain.key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port)

    assert f'add the authority "{chain.name_of("root")}"' in refused.value.hint
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


def named(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def general_name(text):
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    if "@" in text:
        return x509.RFC822Name(text)
    return x509.IPAddress(ipaddress.ip_address(text)) if text[0].isdigit() else x509.DNSName(text)


def key_identifier(above):
    """The extension by which a certificate names its issuer's certificate: its own issuer, and its serial number."""
    return x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(named(above))], 1)


KNOWN_BY = {
    "": (None, False),
    "where its issuer's certificate is": (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    AuthorityInformationAccessOID.CA_ISSUERS,
                    x509.UniformResourceIdentifier("http://ca.example.com/i.der"),
                )
            ]
        ),
        True,
    ),
    "where its state is": (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ca.example.com/")
                )
            ]
        ),
        False,
    ),
    "its issuer's issuer": (key_identifier("above"), True),
    "that its issuer has none above it": (key_identifier("authority"), False),
}


@pytest.mark.parametrize("says", KNOWN_BY)
@pytest.mark.parametrize("has_ca_file", [True, False])
async def test_an_issuer_is_an_intermediate_only_where_there_is_evidence(tmp_path, says, has_ca_file):
    extension, is_intermediate = KNOWN_BY[says]
    certificate, key = issued("127.0.0.1", issuer="authority", names=["127.0.0.1"], extension=extension)
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().cert_pem.bytes())

    async with serving(certificate, key=key) as port:
        with pytest.raises(UpstreamUntrustedError) as refused:
            await connect(port, ca_file=other if has_ca_file else None)

    assert 'issued by "CN=authority"' in str(refused.value)
    assert ("to send the intermediate" in refused.value.hint) is (is_intermediate or has_ca_file)
    if not is_intermediate and not has_ca_file:
        assert refused.value.hint.startswith('add the authority "CN=authority" to ')
    if has_ca_file and not is_intermediate:
        assert 'or add "CN=authority" to ca_file' in refused.value.hint


def issued(common_name, issuer=None, names=(), extension=None):
    """A certificate in PEM, its own authority unless an issuer is named, and its key; names are for subjectAltName."""
    key = ec.generate_private_key(ec.SECP256R1())
    signing_key = ec.generate_private_key(ec.SECP256R1()) if issuer else key
    now = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(common_name))
        .issuer_name(named(issuer or common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(signing_key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("names", [[], ["me@example.com"], ["https://localhost"]])
async def test_a_certificate_without_a_host_in_subject_alt_name_is_refused_with_that_reason(host, names, tmp_path):
    certificate, key = issued(host, names=names)
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
        (OTHER_NAME, ShownCertificates(), "said", "a name that the certificate has"),
        (OTHER_ADDRESS, ShownCertificates(has_names=False), "subjectAltName", "renew it with the host's name"),
        (NO_ISSUER, ShownCertificates(), "said", "add the authority to"),
        (NO_ISSUER, ShownCertificates("i", "root"), "said", 'add the authority "root" to'),
        (
            NO_ISSUER,
            ShownCertificates("i", "i", is_alone=True),
            "does not send",
            'add the authority "i"',
        ),
        (
            NO_ISSUER,
            ShownCertificates("i", "i", is_alone=True, is_issuer_intermediate=True),
            "does not send",
            f"tell the administrator of {PLACE} to send the intermediate certificate",
        ),
        (SELF_SIGNED, ShownCertificates("root", "root"), "said", 'the authority "root"'),
        (WRONG_PURPOSE, ShownCertificates(), "said", f"tell the administrator of {PLACE} to replace it"),
    ],
)
def test_each_failure_has_its_reason_and_its_hint(code, shown, reason, hint):
    found_reason, found_hint = reason_and_hint(code, "said", PLACE, shown)

    assert reason in found_reason
    assert hint in found_hint
