"""Claims about the fake Package Manager: trust, tokens, pages, files, and what it remembers."""

import asyncio
import base64
import hashlib
import io
import json
import ssl
import sys
import zipfile
from dataclasses import replace
from datetime import datetime, timezone

import aiohttp
import pytest
from yarl import URL

from ppmproxy.testing.package_manager import (
    Accepts,
    FakePackageManager,
    LinkStyle,
    RPackage,
    jwt,
    wheel,
)

# Python 3.10's client-side TLS transport does not know that it was closed when the server ended the connection.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
pytestmark = [UNCLOSED] if sys.version_info < (3, 11) else []

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
async def package_manager():
    async with FakePackageManager() as server:
        server.add(wheel("Hello_World", requires=("six",)))
        yield server


class Client:
    """Sends the valid token by default; keeps no cookie, follows no redirect, decodes nothing."""

    def __init__(self, package_manager):
        self.package_manager = package_manager

    async def get(self, url, method="GET", token=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("Authorization", f"Bearer {token or self.package_manager.token}")
        headers.setdefault("Accept-Encoding", "identity")
        headers = {name: value for name, value in headers.items() if value is not None}
        context = self.package_manager.client_context() if self.package_manager.tls else False
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as s,
            s.request(method, URL(url, encoded=True), headers=headers, allow_redirects=False) as response,
        ):
            return response.status, response.headers, await response.read()


@pytest.fixture
def client(package_manager):
    return Client(package_manager)


def basic(token, user="__token__"):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


async def exchange(package_manager, request):
    """Send raw bytes, return all raw bytes that come back."""
    port = URL(package_manager.origin).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=package_manager.client_context())
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


# IdentityProviderTrust


async def test_the_written_certificate_is_all_it_takes_to_trust_it(package_manager, tmp_path):
    context = ssl.create_default_context(cafile=str(package_manager.write_ca(tmp_path / "ca.pem")))

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(f"{package_manager.url}/__ping__") as response,
    ):
        assert response.status == 200


async def test_one_authority_can_vouch_for_two_servers(package_manager):
    async with FakePackageManager(authority=package_manager.authority) as other:
        assert other.ca_pem == package_manager.ca_pem
        assert (await Client(package_manager).get(f"{other.url}/__ping__"))[0] == 200


async def test_a_certificate_for_another_name_is_refused(package_manager):
    async with FakePackageManager(
        certificate_for=("elsewhere.example.com",), authority=package_manager.authority
    ) as other:
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match=r"127\.0\.0\.1"):
            await Client(package_manager).get(other.url)


async def test_it_can_demand_a_client_certificate(tmp_path):
    async with FakePackageManager(demands_client_certificate=True) as server:
        context = server.client_context()
        with pytest.raises(aiohttp.ClientError):
            await Client(server).get(f"{server.url}/__ping__")

        context.load_cert_chain(*server.write_client_identity(tmp_path))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"{server.url}/__ping__") as response,
        ):
            assert response.status == 200


# Tokens


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_who_brings_no_token_gets_the_anonymous_status(package_manager, client, status):
    package_manager.anonymous_status = status

    answered, headers, _ = await client.get(package_manager.index_url(), Authorization=None)

    assert answered == status
    assert ("WWW-Authenticate" in headers) is (status == 401)


@pytest.mark.parametrize(
    ("accepts", "bearer", "basic_status"),
    [(Accepts.EITHER, 200, 200), (Accepts.BASIC, 401, 200), (Accepts.BEARER, 200, 401)],
)
async def test_the_token_counts_only_in_an_accepted_scheme(package_manager, client, accepts, bearer, basic_status):
    package_manager.accepts = accepts

    assert (await client.get(package_manager.index_url()))[0] == bearer
    assert (await client.get(package_manager.index_url(), Authorization=basic(package_manager.token)))[
        0
    ] == basic_status


async def test_the_made_up_token_is_a_jwt_with_the_known_claims(package_manager):
    head, claims, _ = (part + "=" * (-len(part) % 4) for part in package_manager.token.split("."))

    assert json.loads(base64.urlsafe_b64decode(head)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims)).keys() == {"aud", "iss", "jti", "iat", "scopes"}


async def test_a_revoked_token_is_refused_from_then_on(package_manager, client):
    assert (await client.get(package_manager.index_url()))[0] == 200

    package_manager.revoke(package_manager.token)

    assert (await client.get(package_manager.index_url()))[0] == 401


async def test_a_token_expires_by_the_servers_clock(package_manager, client):
    token = package_manager.issue_token(lifetime=3600)
    assert (await client.get(package_manager.index_url(), token=token))[0] == 200

    package_manager.clock_offset = 3601

    assert (await client.get(package_manager.index_url(), token=token))[0] == 401


async def test_the_exp_of_an_accepted_jwt_counts(package_manager, client):
    token = package_manager.accept_token(jwt({"exp": package_manager.now() - 1}))

    assert (await client.get(package_manager.index_url(), token=token))[0] == 401


@pytest.mark.parametrize(
    ("scope", "status"), [("repos:read:pypi", 200), ("repos:read:*", 200), ("repos:read:other", 403)]
)
async def test_a_scope_may_name_one_repository(package_manager, client, scope, status):
    package_manager.accept_token("narrow", (scope,))

    assert (await client.get(package_manager.index_url(), token="narrow"))[0] == status


async def test_an_open_repository_needs_no_token(package_manager, client):
    package_manager.open_repos = ("pypi",)

    assert (await client.get(package_manager.index_url(), Authorization=None))[0] == 200


async def test_the_home_page_refuses_a_bad_token_and_takes_none(package_manager, client):
    assert (await client.get(package_manager.url, Authorization=None))[0] == 200
    assert (await client.get(package_manager.url))[0] == 200
    assert (await client.get(package_manager.url, token="bad"))[0] == 401


# Index pages


async def test_json_goes_to_whoever_asks_for_it(package_manager, client):
    _, headers, body = await client.get(f"{package_manager.index_url()}hello-world/", Accept=f"{JSON}, text/html;q=0.1")

    page = json.loads(body)
    file = page["files"][0]
    assert headers["Content-Type"] == JSON
    assert page["meta"]["api-version"] == "1.1"
    assert page["versions"] == ["1.0"]
    assert file["url"].endswith("/hello_world-1.0-py3-none-any.whl")
    assert file["size"] > 0
    assert file["upload-time"] == "2024-01-01T12:00:00.000000Z"
    assert file["core-metadata"] == file["data-dist-info-metadata"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01", "application/vnd.pypi.simple.v1+html"),
        (f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", JSON),
        ("text/*", "text/html; charset=utf-8"),
    ],
)
async def test_the_form_of_a_page_follows_accept(package_manager, client, accept, content_type):
    _, headers, _ = await client.get(f"{package_manager.index_url()}hello-world/", Accept=accept or "")

    assert headers["Content-Type"] == content_type


async def test_html_says_all_that_pep_503_to_714_ask_for(package_manager, client):
    package_manager.add(replace(wheel("full"), requires_python=">=3.9", yanked='bad "one"', extra={"data-new": "1"}))

    page = (await client.get(f"{package_manager.index_url()}full/"))[2].decode()

    assert 'data-requires-python="&gt;=3.9"' in page
    assert 'data-yanked="bad &quot;one&quot;"' in page
    assert 'data-core-metadata="sha256=' in page
    assert 'data-dist-info-metadata="sha256=' in page
    assert 'data-new="1"' in page
    assert "#sha256=" in page


async def test_without_sidecars_none_is_announced_and_none_is_there(package_manager, client):
    file = package_manager.catalog.files("pypi", "hello-world")[0]
    package_manager.offers_metadata = False

    page = (await client.get(f"{package_manager.index_url()}hello-world/"))[2].decode()

    assert "metadata" not in page
    assert (await client.get(f"{package_manager.file_url(file)}.metadata"))[0] == 404


@pytest.mark.parametrize(
    ("links", "start"),
    [
        (LinkStyle.ROOT_RELATIVE, "/rspm/pypi/latest/packages/"),
        (LinkStyle.RELATIVE, "../../packages/"),
        (LinkStyle.ABSOLUTE, "https://127.0.0.1:"),
    ],
)
async def test_links_are_written_as_asked_for_and_lead_to_the_file(links, start):
    async with FakePackageManager(base_path="/rspm", links=links) as server:
        file = server.add(wheel("hello"))
        page_url = f"{server.index_url()}hello/"
        client = Client(server)

        page = json.loads((await client.get(page_url, Accept=JSON))[2])

        link = page["files"][0]["url"]
        assert link.startswith(start)
        assert (await client.get(str(URL(page_url).join(URL(link)))))[2] == file.data


async def test_absolute_links_follow_forwarded_headers_unless_the_address_is_configured(package_manager, client):
    package_manager.links = LinkStyle.ABSOLUTE
    page = f"{package_manager.index_url()}hello-world/"

    fooled = (await client.get(page, X_Forwarded_Host="evil.example.com"))[2].decode()
    package_manager.address = "https://ppm.example.com"
    steady = (await client.get(page, X_Forwarded_Host="evil.example.com"))[2].decode()

    assert 'href="https://evil.example.com/pypi/' in fooled
    assert 'href="https://ppm.example.com/pypi/' in steady


@pytest.mark.parametrize("name", ["Hello_World", "Hello_World/", "hello-world", "hello.world/"])
@pytest.mark.parametrize("links", list(LinkStyle))
async def test_other_spellings_redirect_to_the_normal_one(package_manager, client, name, links):
    package_manager.links = links
    url = package_manager.index_url() + name

    status, headers, _ = await client.get(url)

    assert status == 301
    assert str(URL(url).join(URL(headers["Location"]))) == f"{package_manager.index_url()}hello-world/"


async def test_a_page_that_the_client_has_is_not_sent_again(package_manager, client):
    url = f"{package_manager.index_url()}hello-world/"
    etag = (await client.get(url))[1]["ETag"]

    status, headers, body = await client.get(url, If_None_Match=etag)

    assert (status, headers["ETag"], body) == (304, etag, b"")


async def test_pages_are_compressed_for_whoever_can_read_it(package_manager, client):
    packed = await client.get(package_manager.index_url(), Accept_Encoding="gzip, deflate")
    plain = await client.get(package_manager.index_url(), Accept_Encoding="identity")

    assert packed[1]["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain[1]
    assert packed[1]["ETag"] != plain[1]["ETag"]


async def test_a_snapshot_has_what_was_there_that_day(package_manager, client):
    package_manager.add(replace(wheel("hello-world", "2.0"), uploaded=datetime(2025, 5, 5, tzinfo=timezone.utc)))

    async def versions(snapshot):
        return json.loads(
            (await client.get(f"{package_manager.index_url(snapshot=snapshot)}hello-world/", Accept=JSON))[2]
        )["versions"]

    assert await versions("2025-05-04") == ["1.0"]
    assert await versions("2025-05-05") == ["1.0", "2.0"]
    assert (await client.get(f"{package_manager.index_url(snapshot='2023-12-31')}hello-world/"))[0] == 404
    assert (await client.get(f"{package_manager.index_url(snapshot='yesterday')}hello-world/"))[0] == 404


@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_a_huge_index_is_streamed_and_well_formed(package_manager, client, accept):
    package_manager.generated_projects = 2500

    _, headers, body = await client.get(package_manager.index_url(), Accept=accept)

    assert headers["Transfer-Encoding"] == "chunked"
    assert body.count(b"project-000") == (2500 if accept == JSON else 5000)
    if accept == JSON:
        assert len(json.loads(body)["projects"]) == 2501
    assert (await client.get(f"{package_manager.index_url()}project-0002499/"))[0] == 200


async def test_every_answer_carries_what_a_local_client_must_not_see(package_manager, client):
    _, headers, _ = await client.get(package_manager.index_url())

    assert headers["X-Repository-Type"]
    assert headers["Set-Cookie"]
    assert headers["Strict-Transport-Security"]


# Files


async def test_a_file_comes_with_what_the_facts_say(package_manager, client):
    file = package_manager.catalog.files("pypi", "hello-world")[0]

    status, headers, body = await client.get(package_manager.file_url(file))

    assert (status, body) == (200, file.data)
    assert headers["Cache-Control"] == "max-age=3600"
    assert headers["Last-Modified"] == "Mon, 01 Jan 2024 12:00:00 GMT"
    assert int(headers["Content-Length"]) == len(file.data)


async def test_a_sidecar_is_the_metadata_in_the_wheel(package_manager, client):
    file = package_manager.catalog.files("pypi", "hello-world")[0]

    body = (await client.get(f"{package_manager.file_url(file)}.metadata"))[2]

    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        assert body == archive.read("hello_world-1.0.dist-info/METADATA")
    assert b"Requires-Dist: six" in body


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-16", 206, slice(-16, None)),
        ("bytes=0-999999", 206, slice(0, None)),
        ("bytes=-999999", 206, slice(0, None)),
        ("bytes=0-1,4-5", 200, slice(0, None)),
        ("bytes=9-1", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=999999-", 416, slice(0, 0)),
    ],
)
async def test_ranges(package_manager, client, wanted, status, part):
    file = package_manager.catalog.files("pypi", "hello-world")[0]

    answered, headers, body = await client.get(package_manager.file_url(file), Range=wanted)

    assert (answered, body) == (status, file.data[part])
    assert ("Content-Range" in headers) is (status != 200)


@pytest.mark.parametrize(
    ("condition", "status"),
    [("{etag}", 206), ('"other"', 200), ("{modified}", 206), ("Mon, 01 Jan 2023 12:00:00 GMT", 200), ("nonsense", 200)],
)
async def test_a_range_counts_only_for_the_same_file(package_manager, client, condition, status):
    url = package_manager.file_url(package_manager.catalog.files("pypi", "hello-world")[0])
    headers = (await client.get(url))[1]
    condition = condition.format(etag=headers["ETag"], modified=headers["Last-Modified"])

    assert (await client.get(url, Range="bytes=0-9", If_Range=condition))[0] == status


async def test_a_file_that_the_client_has_is_not_sent_again(package_manager, client):
    url = package_manager.file_url(package_manager.catalog.files("pypi", "hello-world")[0])
    headers = (await client.get(url))[1]

    assert (await client.get(url, If_None_Match=headers["ETag"]))[0] == 304
    assert (await client.get(url, If_Modified_Since=headers["Last-Modified"]))[0] == 304
    assert (await client.get(url, If_Modified_Since="Mon, 01 Jan 2023 12:00:00 GMT"))[0] == 200


async def test_a_large_file_is_made_while_it_is_sent(package_manager, client):
    file = package_manager.add_large("big-1.0-py3-none-any.whl", 50_000_000)

    body = (await client.get(package_manager.file_url(file)))[2]
    part = (await client.get(package_manager.file_url(file), Range="bytes=12345678-12400000"))[2]

    assert len(body) == 50_000_000
    assert hashlib.sha256(body).hexdigest() == file.sha256
    assert part == body[12345678:12400001]
    assert "#sha256" not in (await client.get(f"{package_manager.index_url()}big/"))[2].decode()


async def test_files_may_live_on_storage_that_refuses_the_token(package_manager, client):
    file = package_manager.catalog.files("pypi", "hello-world")[0]
    async with FakePackageManager(
        refuses_authorization=True, catalog=package_manager.catalog, authority=package_manager.authority
    ) as storage:
        package_manager.files_redirect_to = storage.origin

        status, headers, _ = await client.get(package_manager.file_url(file))

        place = headers["Location"]
        assert (status, place) == (302, f"{storage.file_url(file)}?{package_manager.redirect_query}")
        assert (await client.get(place, Authorization=None))[2] == file.data
        assert (await client.get(place))[0] == 400
        assert storage.requests[0].target.endswith("?X-Amz-Expires=60&X-Amz-Signature=ab%2Fcd%7Eef%2B=")


# R


async def test_an_r_repository_lists_and_serves_its_packages(package_manager, client):
    package = package_manager.add_r(RPackage("praise", "1.2", imports=("cli",)))
    tree = f"{package_manager.url}/cran/latest/src/contrib"

    listing = await client.get(f"{tree}/PACKAGES", Accept_Encoding="identity")
    tarball = await client.get(f"{tree}/praise_1.2.tar.gz")

    assert listing[2].startswith(b"Package: praise\nVersion: 1.2\nImports: cli\n")
    assert tarball[1]["X-Package-Type"] == "source"
    assert tarball[1]["Cache-Control"] == "max-age=3600"
    assert tarball[2] == package.tarball()
    assert (await client.get(f"{tree}/PACKAGES.gz"))[0] == 200
    assert (await client.get(f"{tree}/gone_1.0.tar.gz"))[0] == 404


async def test_the_user_agent_decides_whether_an_r_binary_comes(package_manager, client):
    package_manager.add_r(RPackage("praise"))
    url = f"{package_manager.url}/cran/__linux__/jammy/latest/src/contrib/praise_1.0.tar.gz"

    source = await client.get(url, User_Agent="curl/8")
    binary = await client.get(url, User_Agent="R (4.3.1 x86_64-pc-linux-gnu x86_64 linux-gnu)")

    assert source[1]["X-Package-Type"] == "source"
    assert (binary[1]["X-Package-Type"], binary[1]["X-Package-Binary-Tag"]) == ("binary", "4.3-jammy")
    assert source[2] != binary[2]


# What it remembers


async def test_headers_are_remembered_in_order_and_case(package_manager):
    await exchange(
        package_manager, b"GET / HTTP/1.1\r\nhOST: x\r\nX-b: 2\r\nX-A: 1\r\nX-b: 3\r\nConnection: close\r\n\r\n"
    )

    seen = package_manager.requests[0]
    assert seen.headers == (("hOST", "x"), ("X-b", "2"), ("X-A", "1"), ("X-b", "3"), ("Connection", "close"))
    assert seen.header("x-B") == "2, 3"
    assert seen.authorization is None


# Its end


async def test_it_can_come_back_at_the_same_place():
    server = FakePackageManager()
    await server.start()
    url = server.url
    await server.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await Client(server).get(f"{url}/__ping__")

    await server.start()
    assert server.url == url
    assert (await Client(server).get(f"{url}/__ping__"))[0] == 200
    await server.close()


async def test_it_stops_although_a_client_keeps_its_connection():
    server = FakePackageManager()
    await server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=server.client_context())) as session:
        async with session.get(f"{server.url}/__ping__"):
            pass

        await asyncio.wait_for(server.close(), 1)

    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
