"""Claims about failures: whatever is wrong behind the proxy, the person at pip or uv reads why."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from client_environments import Client, client_environment, shows_token
from downloads import MAY_DOWNLOAD
from free_ports import reserved_port
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import (
    BrokenJson,
    Cut,
    ExpiredToken,
    FakePackageManager,
    Fault,
    LoginPage,
    NoAnswer,
    Status,
    wheel,
)

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

PIP, OLD_PIP, UV = Client
PAGE, FILE = "*/simple/hello/", "*/hello-*.whl"
PATIENCE = 90.0  # seconds within which every client has to give up, all of its own retries included; they take 13
HURRIED = {"UV_HTTP_RETRIES": "1", "PIP_RETRIES": "1"}  # for all causes but one: nothing is learned by waiting again

BLOCKED = Status(
    403,
    body=b'{"error": "hello is blocked: CVE-2026-0001, ask security@example.com"}',
    headers=(("Content-Type", "application/json"),),
)
HASHES = ("do not match the hashes",)  # old pip does not notice that a body is short


@dataclass(frozen=True)
class Cause:
    """What is wrong, and the words without which a person could not know."""

    name: str
    words: tuple[str, ...]
    how: Fault | None = None
    where: str = PAGE
    environ: dict[str, str] = field(default_factory=dict)
    unlike: dict[Client, tuple[str, ...]] = field(default_factory=dict)  # for clients that say something else
    retries: dict[str, str] = field(default_factory=lambda: HURRIED)

    def __str__(self):
        return self.name


CAUSES = (
    Cause("missing", ("requires a token",), environ={"PPMPROXY_TOKEN": ""}),
    Cause("expired", ("the token from environment", "has expired", "environment variable PPMPROXY_TOKEN")),
    Cause(
        "rejected", ("rejects the token", "environment variable PPMPROXY_TOKEN"), environ={"PPMPROXY_TOKEN": "nonsense"}
    ),
    Cause("not-permitted", ("answered 403", "the token has no scope repos:read for pypi")),
    Cause("blocked", ("answered 403", "hello is blocked: CVE-2026-0001"), BLOCKED),
    Cause("untrusted", ("is not trusted", "add the authority", "trustme"), environ={"PPMPROXY_CA_FILE": ""}),
    Cause("unreachable", ("cannot connect to", "connection refused"), retries={}),
    Cause("timeout", ("did not answer in time", "read_timeout"), NoAnswer()),
    Cause("login-page", ("a web page instead of an index",), LoginPage()),
    Cause("broken-json", ("the page ends",), BrokenJson()),
    Cause("file-rejected", ("rejects the token", "environment variable PPMPROXY_TOKEN"), ExpiredToken(), FILE),
    Cause("file-blocked", ("answered 403", "hello is blocked: CVE-2026-0001"), BLOCKED, FILE),
    Cause("file-login-page", ("a web page instead of a file",), LoginPage(), FILE),
    Cause(
        "file-cut",
        ("not enough bytes were received",),
        Cut(100),
        FILE,
        unlike={OLD_PIP: HASHES, UV: ("failed to download",)},
    ),
)


@contextlib.asynccontextmanager
async def broken(cause, folder):
    """A Package Manager with something wrong, and the proxy in front of it."""
    async with FakePackageManager(base_path="/rspm") as package_manager, contextlib.AsyncExitStack() as stack:
        closed = stack.enter_context(reserved_port())
        package_manager.add(wheel("hello", payload=bytes(range(256)) * 100))
        if cause.how is not None:
            package_manager.add_fault(cause.where, cause.how)
        environ = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_TOKEN": package_manager.token,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(folder / "ca.pem")),
            "PPMPROXY_READ_TIMEOUT": "1s" if cause.name == "timeout" else "1m",
        }
        environ |= cause.environ | expected_in(cause, package_manager, closed)
        async with ppmproxy_run(folder, **{name: value for name, value in environ.items() if value}) as running:
            yield package_manager, running


def expected_in(cause, package_manager, closed):
    match cause.name:
        case "expired":
            return {"PPMPROXY_TOKEN": package_manager.issue_token(lifetime=-1)}
        case "not-permitted":
            return {"PPMPROXY_TOKEN": package_manager.issue_token(scopes=("metadata:admin",))}
        case "unreachable":
            return {"PPMPROXY_UPSTREAM": f"https://127.0.0.1:{closed}/rspm"}
    return {}


async def check_said(cause, client, folder):
    folder.mkdir()
    async with broken(cause, folder) as (package_manager, running):
        package_manager.offers_json = client is not OLD_PIP or cause.name == "broken-json"
        person = client_environment(client, folder, running.index_url)

        end = await person.install("hello", deadline=PATIENCE, **cause.retries)

    print(f"--- {client.value}, {end.seconds:.1f} s, exit code {end.code}\n{end.output}")
    said = " ".join(end.output.split()).lower()
    expected = cause.unlike.get(client, cause.words)
    assert end.code > 0, client
    assert [words for words in expected if words.lower() not in said] == [], client
    assert "traceback" not in said, client
    assert "user for" not in said, client  # what pip asks whoever gets a 401
    assert not shows_token(package_manager.token, end.output, running.log), client


@pytest.mark.parametrize("cause", CAUSES, ids=str)
async def test_the_person_reads_why(cause, tmp_path):
    checks = [check_said(cause, client, tmp_path / f"for-{client.name.lower()}") for client in Client]

    # Together, because most of the time is spent on retries; and each to its end, so that nothing is left behind.
    failures = await asyncio.gather(*checks, return_exceptions=True)

    for failure in failures:
        if failure is not None:
            raise failure
