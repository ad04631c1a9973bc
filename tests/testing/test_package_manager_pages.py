"""Claims about index pages of the fake Package Manager."""

import json
import sys
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from package_manager_client import Client
from yarl import URL

from ppmproxy.testing.package_manager import (
    FakePackageManager,
    LinkStyle,
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


@pytest.fixture
def client(package_manager):
    return Client(package_manager)


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
