"""Claims about the fake Package Manager: certificates, tokens, R, what it remembers, its end."""

import asyncio
import base64
import json
import ssl
import sys

import aiohttp
import pytest
from package_manager_client import Client
from yarl import URL

from ppmproxy.testing.package_manager import (
    Accepts,
    FakePackageManager,
    RPackage,
    jwt,
    wheel,
)

# Python 3.10's client-side TLS transport does not know that it was closed when the server ended the connection.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


pytestmark = [UNCLOSED] if sys.version_info < (3, 11) else []


@pytest.fixture
async def package_manager():
    async with FakePackageManager() as server:
        server.add(wheel("Hello_World", requires=("six",)))
        yield server


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


async def test_it_can_come_back_at_the_same_place(unused_tcp_port):
    server = FakePackageManager(port=unused_tcp_port)
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

        await asyncio.wait_for(server.close(), 20)

    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
