"""Claims about the fake Package Manager's API: health, read-only queries, administration, uploads."""

import hashlib
import io

import aiohttp
import pytest

from ppmproxy.testing.package_manager import FakePackageManager, wheel


@pytest.fixture
async def package_manager():
    async with FakePackageManager(base_path="/rspm") as server:
        server.add(wheel("Hello_World", "1.5"))
        yield server


@pytest.fixture
async def session(package_manager):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=package_manager.client_context())) as session:
        yield session


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def uploader(package_manager):
    return package_manager.accept_token("uploader", ("sources:write:internal",))


async def upload(session, package_manager, distribution, token, source="internal", **fields):
    form = aiohttp.FormData()
    for name, value in {":action": "file_upload", "name": "new", "version": "1.0", **fields}.items():
        form.add_field(name.replace("__", ":"), value)
    content = distribution.data if isinstance(distribution.data, bytes) else b"".join(distribution.data.pieces())
    form.add_field("content", io.BytesIO(content), filename=distribution.filename)
    async with session.post(package_manager.upload_url(source), data=form, headers=bearer(token)) as response:
        return response.status


async def test_status_and_ping_need_no_token(package_manager, session):
    async with session.get(f"{package_manager.url}/__api__/status") as response:
        assert await response.json() == {"version": "2026.04.0", "auth_available": True, "sso_enabled": True}
    async with session.get(f"{package_manager.url}/__ping__") as response:
        assert response.status == 200


async def test_nothing_lies_outside_the_base_path(package_manager, session):
    async with session.get(f"{package_manager.origin}/__ping__") as response:
        assert response.status == 404
    async with session.get(f"{package_manager.origin}/rspmx/__ping__") as response:
        assert response.status == 404


async def test_repositories_are_listed_for_a_token(package_manager, session):
    headers = bearer(package_manager.token)

    async with session.get(f"{package_manager.url}/__api__/repos", headers=headers) as response:
        assert [(repo["name"], repo["type"]) for repo in await response.json()] == [("pypi", "Python"), ("cran", "R")]
    async with session.get(f"{package_manager.url}/__api__/repos/cran", headers=headers) as response:
        assert (await response.json())["type"] == "R"
    async with session.get(f"{package_manager.url}/__api__/repos/9", headers=headers) as response:
        assert response.status == 404
    async with session.get(f"{package_manager.url}/__api__/repos") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "admin/users"), ("POST", "repos"), ("DELETE", "repos/pypi"), ("PUT", "blocklist/1"), ("GET", "tokens")],
)
async def test_the_administration_remembers_who_reached_it_and_changes_nothing_for_a_reader(
    package_manager, session, method, path
):
    async with session.request(
        method, f"{package_manager.url}/__api__/{path}", headers=bearer(package_manager.token)
    ) as response:
        assert response.status == 403

    assert [seen.method for seen in package_manager.admin_requests] == [method]
    assert package_manager.admin_changes == []


async def test_a_wide_token_changes_the_server(package_manager, session):
    token = package_manager.accept_token("wide", ("global:admin", "repos:read"))

    async with session.delete(f"{package_manager.url}/__api__/repos/pypi", headers=bearer(token)) as response:
        assert response.status == 200

    assert len(package_manager.admin_changes) == 1
    async with session.get(package_manager.index_url(), headers=bearer(token)) as response:
        assert response.status == 404


async def test_an_uploaded_file_is_on_the_index(package_manager, session, uploader):
    file = wheel("new")
    digest = hashlib.sha256(file.data).hexdigest()

    assert await upload(session, package_manager, file, uploader, sha256_digest=digest, requires_python=">=3.9") == 200

    async with session.get(f"{package_manager.index_url()}new/", headers=bearer(package_manager.token)) as response:
        assert f"#sha256={digest}" in await response.text()
    seen = package_manager.requests_for("/rspm/upload/*")[0]
    assert seen.fields["name"] == "new"
    assert seen.fields[":action"] == "file_upload"
    assert "content" not in seen.fields


@pytest.mark.parametrize(
    ("scopes", "source", "status"),
    [
        (("repos:read",), "internal", 403),
        (("sources:write:other",), "internal", 403),
        (("sources:write",), "internal", 200),
        (("sources:write:*",), "nowhere", 404),
    ],
)
async def test_an_upload_needs_the_scope_for_its_source(package_manager, session, scopes, source, status):
    token = package_manager.accept_token("some", scopes)

    assert await upload(session, package_manager, wheel("new"), token, source) == status
    assert bool(package_manager.catalog.files("pypi", "new")) is (status == 200)


@pytest.mark.parametrize("fields", [{":action": "doc_upload"}, {"sha256_digest": "0" * 64}])
async def test_a_wrong_form_is_refused(package_manager, session, uploader, fields):
    assert await upload(session, package_manager, wheel("new"), uploader, **fields) == 400
