"""Claims about uploads of a person who has a `.pypirc`: each server gets the credentials that are written there."""

import contextlib
import sys
from dataclasses import replace

import pytest
from aiohttp import BasicAuth, web
from client_setup import PARCEL, READS, WRITES, ClientSetup, running_package_manager
from client_tools import FLIT, HATCH, MATURIN, TWINE, workspace
from downloads import MAY_DOWNLOAD

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

THROUGH = (sys.executable, "-m", "ppmproxy", "exec", "--")
PYPIRC = """\
[distutils]
index-servers =
    other
    company

[other]
repository = {other}
username = me
password = of-the-other

[company]
repository = {here}
username = anything
password = at-all
"""
ELSEWHERE = (
    replace(TWINE, environ={}, upload="upload --non-interactive --repository other @FILE@"),
    replace(FLIT, environ={}, upload="publish --format wheel --repository other"),
    replace(MATURIN, environ={}, upload="upload --non-interactive --repository other @FILE@"),
    replace(HATCH, environ={}, upload="publish --no-prompt --repo @OTHER@ @FILE@"),
)
HERE = (
    replace(TWINE, environ={}, upload="upload --non-interactive @FILE@"),
    replace(FLIT, environ={}, upload="publish --format wheel --repository company"),
    replace(MATURIN, environ={}, upload="upload --non-interactive @FILE@"),
    replace(HATCH, environ={}, upload="publish --no-prompt @FILE@"),
)


@contextlib.asynccontextmanager
async def another_server():
    """Its URL, and the user names and passwords that it was sent."""
    seen = []

    async def take(request):
        await request.read()
        seen.append(BasicAuth.decode(request.headers["Authorization"]))
        return web.Response()

    async def list_files(_):
        return web.Response(status=404)

    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/legacy/", take)
    application.router.add_get("/{rest:.*}", list_files)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/legacy/", seen
    finally:
        await runner.cleanup()


def person_with_pypirc(tool, package_manager, other, port, folder):
    """Somebody with both repositories in their `.pypirc`, a distribution to upload, and no daemon."""
    person = workspace(tool, folder / "person", FILE=f"dist/{PARCEL.filename}", OTHER=other)
    here = f"http://127.0.0.1:{port}/upload/pypi/internal"
    (folder / "person" / "home" / ".pypirc").write_text(PYPIRC.format(other=other, here=here))
    (person.project / "dist").mkdir()
    (person.project / "dist" / PARCEL.filename).write_bytes(PARCEL.data)
    person.environ.update(
        PPMPROXY_UPSTREAM=package_manager.url,
        PPMPROXY_CA_FILE=str(package_manager.write_ca(folder / "ca.pem")),
        PPMPROXY_TOKEN=package_manager.issue_token((READS, WRITES)),
        PPMPROXY_LISTEN=f"127.0.0.1:{port}",
        PPMPROXY_UPLOADS="true",
    )
    return person


@pytest.mark.parametrize("tool", ELSEWHERE, ids=str)
async def test_another_server_gets_the_credentials_that_are_written_for_it(tool, tmp_path, unused_tcp_port):
    async with running_package_manager() as package_manager, another_server() as (other, seen):
        person = person_with_pypirc(tool, package_manager, other, unused_tcp_port, tmp_path)

        end = await person.run(tool.upload, through=THROUGH)

        assert end.code == 0, end.output
    assert {(auth.login, auth.password) for auth in seen} == {("me", "of-the-other")}
    assert ClientSetup(package_manager, None, tmp_path).uploaded == {}


@pytest.mark.parametrize("tool", HERE, ids=str)
async def test_the_repository_that_leads_here_is_the_one_that_is_named(tool, tmp_path, unused_tcp_port):
    async with running_package_manager() as package_manager, another_server() as (other, seen):
        person = person_with_pypirc(tool, package_manager, other, unused_tcp_port, tmp_path)

        end = await person.run(tool.upload, through=THROUGH)

        assert end.code == 0, end.output
        assert ClientSetup(package_manager, None, tmp_path).uploaded.keys() == {PARCEL.filename}
    assert seen == []
