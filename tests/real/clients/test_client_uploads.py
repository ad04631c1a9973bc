"""Claims about uploading with each client, with dummy credentials, through a proxy that adds the token for uploads."""

from dataclasses import dataclass

import pytest
from client_environments import shows_token
from client_setup import PARCEL, READS, WRITES, ClientSetup, client_setup, on_one_line, running_package_manager
from client_tools import TOOLS
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import CloseBeforeHead, Fault, LoginPage, Status

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

UPLOADERS = [tool for tool in TOOLS if tool.upload]
UPLOADS = "*/upload/*"
BOTH = (READS, WRITES)


@pytest.mark.parametrize("tool", UPLOADERS, ids=str)
async def test_uploads_the_very_bytes_in_one_request_of_known_length(tool, tmp_path, cell):
    async with client_setup(tmp_path, scopes=BOTH, PPMPROXY_UPLOADS="true") as here:
        end = await here.workspace(tool).run(tool.upload)

        assert end.code == 0, end.output
        assert here.uploaded.keys() == {PARCEL.filename}
        assert tool.builds or here.uploaded == {PARCEL.filename: PARCEL.sha256}
    [post] = here.package_manager.requests_for(UPLOADS, "POST")
    assert post.header("Content-Length") == str(post.body_length)
    assert post.header("Transfer-Encoding") is None
    assert "not-needed" not in (post.authorization or "")
    cell(tool, "upload")


@dataclass(frozen=True)
class Refusal:
    """Why an upload is not taken, and the words that the person has to read."""

    name: str
    words: tuple[str, ...]
    how: Fault | None = None
    scopes: tuple[str, ...] = BOTH
    lifetime: float | None = None
    uploads: str = "true"
    is_down: bool = False
    posts: int = 1  # that reach the Package Manager

    def __str__(self):
        return self.name


REFUSALS = (
    Refusal("duplicate", (f"{PARCEL.filename} exists already",), posts=2),
    Refusal("no-scope", ("the token has no scope sources:write for internal",), scopes=(READS,)),
    Refusal("web-page", ("answered the upload with a web page, so it did not take it",), LoginPage()),
    Refusal("off", ("are off", "set uploads = true", "PPMPROXY_UPLOADS=true"), uploads="false", posts=0),
    Refusal("expired", ("has expired", "put a new token there", "407"), lifetime=-1),
    Refusal("down", ("cannot connect to", "connection refused"), is_down=True, posts=0),
    Refusal("error", ("answered 503",), Status(503)),  # twine would post five times if it saw this status
    Refusal("closed", ("without a response",), CloseBeforeHead(after=1)),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
@pytest.mark.parametrize("tool", UPLOADERS, ids=str)
async def test_the_person_reads_why_an_upload_is_refused_and_it_is_not_sent_again(tool, refusal, tmp_path, cell):
    given = {"scopes": refusal.scopes, "lifetime": refusal.lifetime, "PPMPROXY_UPLOADS": refusal.uploads}
    async with client_setup(tmp_path, **given) as here:
        person = here.workspace(tool)
        if refusal.how is not None:
            here.package_manager.add_fault(UPLOADS, refusal.how)
        if refusal.name == "duplicate":
            assert (await person.run(tool.upload)).code == 0
        if refusal.is_down:
            await here.package_manager.close()

        end = await person.run(tool.upload, talkative=True)

    said = on_one_line(end.output).replace('\\"', '"')
    assert end.code > 0, end.output
    assert [word for word in refusal.words if word not in said] == [], end.output
    assert here.posts == refusal.posts
    assert len(here.uploaded) == (refusal.name == "duplicate")
    cell(tool, "error shown", f"with `{tool.talkative}`" if tool.talkative else "yes")


SETTINGS = """\
upstream = "{url}"
ca_file = "{ca_file}"
uploads = true

[[credentials]]
from = "env"
variable = "FOR_READING"
use = "read"

[[credentials]]
from = "env"
variable = "FOR_UPLOADS"
use = "upload"
"""


@pytest.mark.parametrize("tool", UPLOADERS, ids=str)
async def test_reading_and_uploading_have_a_token_each(tool, tmp_path):
    async with running_package_manager() as package_manager:
        reading, writing = package_manager.issue_token((READS,)), package_manager.issue_token((WRITES,))
        settings = tmp_path / "config.toml"
        settings.write_text(
            SETTINGS.format(url=package_manager.url, ca_file=package_manager.write_ca(tmp_path / "ca.pem"))
        )
        tokens = {"FOR_READING": reading, "FOR_UPLOADS": writing}
        async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings), **tokens) as running:
            person = ClientSetup(package_manager, running, tmp_path).workspace(tool)
            published = await person.run(tool.upload)
            installed = await person.run(*tool.install)

    assert (published.code, installed.code) == (0, 0), published.output + installed.output
    [post] = package_manager.requests_for(UPLOADS, "POST")
    pages = package_manager.requests_for("*/pypi/latest/*")
    assert shows_token(writing, post.authorization or "")
    assert all(shows_token(reading, seen.authorization or "") for seen in pages)
    assert bool(pages) is bool(tool.install)
