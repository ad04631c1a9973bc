"""Claims about files of the fake Package Manager."""

import hashlib
import io
import sys
import zipfile

import pytest
from package_manager_client import Client

from ppmproxy.testing.package_manager import (
    FakePackageManager,
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
