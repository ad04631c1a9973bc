"""Claims that a token is seen on the wire to the Package Manager and nowhere else, whatever happens."""

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from free_ports import reserved_port
from planted_tokens import (
    AUDIENCE,
    BROKEN,
    CUT,
    ELSEWHERE,
    FORBIDDEN,
    GONE,
    IN_BASIC,
    IN_BEARER,
    LOGIN,
    REFUSED,
    REPOS,
    SILENT,
    SOURCES,
    for_github_actions,
    for_identity_file,
    tokens_on_the_wire,
    written,
)
from processes import START_DEADLINE, STOP_DEADLINE, plain_environment, run_program, running_server
from proxy_client import PIP, UV, head_of, leaked_forms
from yarl import URL

from ppmproxy.testing.package_manager import (
    Accepts,
    Cut,
    FakePackageManager,
    IdentityProviderTrust,
    LoginPage,
    NoAnswer,
    RedirectTo,
    Status,
    wheel,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


if sys.platform != "linux":
    pytest.skip("what other users see of a process is looked up in /proc", allow_module_level=True)


ONE_ANSWER = 120.0  # seconds
READ_TIMEOUT = 8  # seconds; SILENT takes as long, and nothing else may
TEMPORARY_REDIRECT = 307


SHOWN_AS = {
    IN_BASIC: {None},
    IN_BEARER: {None},
    REFUSED: {"token-rejected", "sign-in-needed"},
    FORBIDDEN: {"not-permitted"},
    LOGIN: {None, "upstream-unexpected"},  # None: to HEAD, where nothing tells a page from a page
    ELSEWHERE: {None, "upstream-unexpected", "not-permitted"},
    SILENT: {"upstream-timeout"},
    BROKEN: {"upstream-unexpected"},
    GONE: {"upstream-unreachable"},
}


@dataclass
class Witness:
    """Asks the daemon as pip and uv do, and keeps all that comes back but the packages themselves."""

    url: str
    session: aiohttp.ClientSession
    heard: list[str] = field(default_factory=list)
    codes: dict[str, set[str | None]] = field(default_factory=dict)

    async def ask(self, path, method="GET", **headers):
        """The code of the error; where it takes long, of the answer that the daemon leads to in the end."""
        url = URL(self.url + path, encoded=True)
        while True:
            async with self.session.request(method, url, headers=headers, allow_redirects=False) as reply:
                try:
                    body = await reply.text("latin-1")
                except aiohttp.ClientPayloadError:
                    body = ""  # cut
            self.heard.append(f"{reply.status} {head_of(reply)}\n{body}")
            if reply.status != TEMPORARY_REDIRECT:
                return reply.headers.get("X-Ppmproxy-Error")
            url = url.join(URL(reply.headers["Location"], encoded=True))

    async def ask_of(self, repo, package):
        """A page as pip and as uv, its head, and a file, all at once; remembers which errors were told."""
        page, file = f"/{repo}/latest/simple/hello/", f"/{repo}/latest/packages/{package.id}/{package.filename}"
        asked = ((page, "GET", PIP), (page, "GET", UV), (page, "HEAD", UV), (file, "GET", UV))
        told = await asyncio.gather(*(self.ask(path, method, **{"User-Agent": agent}) for path, method, agent in asked))
        self.codes[repo] = set(told)

    async def look_at_own_pages(self):
        for page in ("", "live", "ready", "startup", "status", "metrics", "proof", "nothing"):
            await self.ask(f"/-/{page}")


async def go_through_everything(witness, package_manager, package):
    """Every way in which a request may end; the first one waits where somebody has to sign in."""
    await witness.ask(f"/{IN_BASIC}/latest/simple/hello/")
    for repo, accepts in ((IN_BASIC, Accepts.BASIC), (IN_BEARER, Accepts.BEARER)):
        package_manager.accepts = accepts
        await witness.ask_of(repo, package)
    package_manager.accepts = Accepts.EITHER
    quote_the_token(package_manager)
    await witness.look_at_own_pages()
    at_once = (FORBIDDEN, BROKEN, LOGIN, ELSEWHERE, SILENT, CUT)  # some of them take as long as a request is tried
    await asyncio.gather(*(witness.ask_of(repo, package) for repo in at_once))
    await witness.ask_of(REFUSED, package)
    await package_manager.close()
    await witness.ask_of(GONE, package)
    await witness.look_at_own_pages()


def misbehave(package_manager, elsewhere):
    """What awaits a request in each repository."""
    package_manager.add_fault(f"*/{REFUSED}/*", Status(401, body=b'{"error": "no"}'))
    package_manager.add_fault(f"*/{LOGIN}/*", LoginPage())
    package_manager.add_fault(f"*/{ELSEWHERE}/*", RedirectTo(f"{elsewhere.origin}/somewhere"))
    package_manager.add_fault(f"*/{SILENT}/*", NoAnswer())
    package_manager.add_fault(f"*/{CUT}/*/packages/*", Cut(10))


def quote_the_token(package_manager):
    """Answer in two repositories with all that came, in the reason, in a header and in the body."""
    came = [seen.authorization for seen in package_manager.requests if seen.authorization]
    said = " ".join(sorted({*came, *tokens_on_the_wire(package_manager)}))
    told = (f"because of {said}", json.dumps({"error": said}).encode(), (("X-Said", said),))
    package_manager.add_fault(f"*/{FORBIDDEN}/*", Status(403, *told))
    package_manager.add_fault(f"*/{BROKEN}/*", Status(500, *told))


# --- who sees what ----------------------------------------------------------------------------------------------------


def descendants(pid):
    """A process and all that it started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return family


def arguments_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def daemon(folder, environ):
    """`ppmproxy run`, telling all that it can; it may end as it likes, but leaves no memory on the disk."""
    home = folder / "home-of-the-proxy"
    home.mkdir()
    loud = {"PPMPROXY_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1", "PYTHONDEVMODE": "1"}
    settings = plain_environment(home, PPMPROXY_LISTEN="127.0.0.1:0,[::1]:0", **loud) | environ
    command = ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh", sys.executable, "-m", "ppmproxy", "run"]
    async with running_server(command, settings, home) as server:
        line = await asyncio.wait_for(server.line_with('"event": "daemon_listening"'), START_DEADLINE)
        yield server, json.loads(line)["urls"][0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__.replace("_", "-"))
async def test_a_token_shows_up_nowhere_but_on_the_wire_to_the_package_manager(source, tmp_path, authority):
    async with contextlib.AsyncExitStack() as stack:
        knobs = {
            "authority": authority,
            "repos": REPOS,
            "trusts": (IdentityProviderTrust(AUDIENCE),),
            "device_interval": 1.0,
        }
        port = stack.enter_context(reserved_port())  # nobody else's when it is gone
        package_manager = await stack.enter_async_context(FakePackageManager(**knobs, base_path="/rspm", port=port))
        elsewhere = await stack.enter_async_context(FakePackageManager(authority=authority, refuses_authorization=True))
        package = wheel("hello")
        for repo in REPOS:
            package_manager.add(package, repo)
        misbehave(package_manager, elsewhere)
        planted = await stack.enter_async_context(source(package_manager, tmp_path))
        environ = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(tmp_path / "ca.pem")),
        }
        environ |= {"PPMPROXY_READ_TIMEOUT": f"{READ_TIMEOUT}s", **planted.environ}
        server, url = await stack.enter_async_context(daemon(tmp_path, environ))
        timeout = aiohttp.ClientTimeout(total=ONE_ANSWER)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        witness = Witness(url, session)

        await go_through_everything(witness, package_manager, package)
        processes = [arguments_of(pid) for pid in descendants(server.process.pid)]
        listed = await run_program(["ps", "-ww", "-eo", "args"], plain_environment(tmp_path), tmp_path)
        server.process.send_signal(signal.SIGABRT)
        await asyncio.wait_for(server.process.wait(), STOP_DEADLINE)

    secrets = {*planted.secrets, *tokens_on_the_wire(package_manager)}
    child = [planted.seen_by_child.read_text()] if planted.seen_by_child else []
    files = written(tmp_path, [*planted.files, planted.seen_by_child])
    texts = [server.log, *witness.heard, *processes, listed.output, *child, *files]
    assert listed.code == 0
    assert "ppmproxy" in "".join(processes)
    assert server.process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in server.log
    assert [repo for repo, codes in SHOWN_AS.items() if not codes >= witness.codes[repo]] == [], witness.codes
    assert token_arrived(package_manager, planted)
    assert elsewhere.requests
    assert not any(seen.authorization for seen in elsewhere.requests)
    assert {form for secret in secrets for text in texts for form in leaked_forms(secret, text)} == set()


def token_arrived(package_manager, planted):
    """Whether the planted token was used, or the one that it was exchanged for: or else nothing was tested."""
    arrived = tokens_on_the_wire(package_manager)
    scheme = {seen.authorization.partition(" ")[0] for seen in package_manager.requests if seen.authorization}
    return scheme == {"Basic", "Bearer"} and bool(arrived) and {*planted.secrets[:1]} <= arrived


# --- an exchange that is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [for_identity_file, for_github_actions], ids=["identity-file", "github-actions"])
async def test_a_refused_exchange_that_says_the_identity_token_back_does_not_pass_it_on(source, tmp_path, authority):
    async with FakePackageManager(authority=authority) as package_manager, source(package_manager, tmp_path) as planted:
        said = json.dumps({"error": "invalid_target", "error_description": f"because of {' '.join(planted.secrets)}"})
        package_manager.add_fault("*/__api__/token", Status(400, body=said.encode()))
        environ = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(tmp_path / "ca.pem")),
        }
        timeout = aiohttp.ClientTimeout(total=ONE_ANSWER)
        async with (
            daemon(tmp_path, environ | planted.environ) as (server, url),
            aiohttp.ClientSession(timeout=timeout) as session,
        ):
            witness = Witness(url, session)
            told = [await witness.ask("/pypi/latest/simple/hello/", **{"User-Agent": agent}) for agent in (PIP, UV)]
            await witness.look_at_own_pages()

    texts = [server.log, *witness.heard]
    assert told == ["token-missing", "token-missing"]
    assert all(f"(audience {AUDIENCE}): invalid_target" in text for text in (server.log, *witness.heard[:2]))
    assert {*planted.secrets[:1]} <= tokens_on_the_wire(package_manager)
    assert {form for secret in planted.secrets for text in texts for form in leaked_forms(secret, text)} == set()
