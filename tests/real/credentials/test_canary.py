"""Claims that a token is seen on the wire to the Package Manager and nowhere else, whatever happens."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import aiohttp
import pytest
from aiohttp import web
from client_environments import shows_token
from processes import START_DEADLINE, plain_environment, run_program, running_server
from proxy_client import PIP, UV, head_of, leaked_forms

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.testing.package_manager import (
    Accepts,
    Cut,
    FakePackageManager,
    IdentityProviderTrust,
    LoginPage,
    NoAnswer,
    RedirectTo,
    Status,
    jwt,
    wheel,
)
from ppmproxy.testing.package_manager.tokens import presented_token

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

if sys.platform != "linux":
    pytest.skip("what other users see of a process is looked up in /proc", allow_module_level=True)

AUDIENCE = "packagemanager"
ONE_ANSWER = 30.0  # seconds
SECRET_FIELDS = ("subject_token", "device_code", "code_verifier")  # of the forms that get a token
IN_BASIC, IN_BEARER, REFUSED, FORBIDDEN, LOGIN, ELSEWHERE, SILENT, BROKEN, CUT, GONE = REPOS = (
    *("in-basic", "in-bearer", "refused", "forbidden", "login", "elsewhere", "silent", "broken", "cut", "gone"),
)
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


def canary(subject="canary"):
    """A token with enough in each of its parts to be known again."""
    return jwt({"sub": f"{subject}@example.com", "iat": 1, "exp": 4_000_000_000, "jti": os.urandom(12).hex()})


@dataclass
class Planted:
    """Where a token was put: what the daemon is told of it, and what must not be seen."""

    environ: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)  # which hold it rightly
    seen_by_child: Path | None = None  # what the daemon's child wrote down of its own arguments and environment


# --- the sources ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def in_variable(name, token, package_manager, folder):
    yield Planted({name: package_manager.accept_token(token)}, [token])


def in_environment(package_manager, folder):
    return in_variable("PPMPROXY_TOKEN", canary(), package_manager, folder)


def in_environment_and_no_jwt(package_manager, folder):
    """With every character that base64 and URLs write differently."""
    return in_variable("PPMPROXY_TOKEN", "can+ary/of=the~\"mine'%41\\?&" + os.urandom(8).hex(), package_manager, folder)


def in_the_vendors_variable(package_manager, folder):
    return in_variable("PACKAGEMANAGER_TOKEN", canary(), package_manager, folder)


def private(path, text):
    path.touch(0o600)
    path.write_text(text)
    return path


@contextlib.asynccontextmanager
async def in_file(package_manager, folder):
    token = package_manager.accept_token(canary())
    path = private(folder / "token-file", f"{token}\n")
    yield Planted({"PPMPROXY_TOKEN_FILE": str(path)}, [token], [path])


@contextlib.asynccontextmanager
async def in_systemd_credential(package_manager, folder):
    token = package_manager.accept_token(canary())
    (folder / "credentials").mkdir()
    path = private(folder / "credentials" / "token", token)
    yield Planted({"CREDENTIALS_DIRECTORY": str(path.parent)}, [token], [path])


@contextlib.asynccontextmanager
async def for_identity_file(package_manager, folder):
    path = private(folder / "identity", jwt({"aud": AUDIENCE, "sub": "canary-job", "exp": 4_000_000_000}))
    yield Planted({"PACKAGEMANAGER_IDENTITY_TOKEN_FILE": str(path)}, [path.read_text()], [path])


@contextlib.asynccontextmanager
async def for_github_actions(package_manager, folder):
    identity, bearer = jwt({"aud": AUDIENCE, "sub": "canary-job", "exp": 4_000_000_000}), canary("bearer")

    async def answer(request):
        right = request.headers.get("Authorization") == f"Bearer {bearer}" and request.query["audience"] == AUDIENCE
        return web.json_response({"value": identity}) if right else web.Response(status=401)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/token?api-version=2.0"
    environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer}
    try:
        yield Planted({**environ, "PPMPROXY_AUDIENCE": AUDIENCE}, [identity, bearer])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def in_tokens_toml(package_manager, folder):
    token = package_manager.accept_token(canary())
    path = folder / "tokens.toml"
    TokenFile(path).save(package_manager.url, Secret(token))
    yield Planted({"PACKAGEMANAGER_SSO_TOKEN_FILE": str(path)}, [token], [path])


@contextlib.asynccontextmanager
async def in_netrc(package_manager, folder):
    token = package_manager.accept_token(canary())
    path = private(folder / "netrc", f"machine 127.0.0.1 login __token__ password {token}\n")
    yield Planted({"NETRC": str(path)}, [token], [path])


@contextlib.asynccontextmanager
async def from_command(package_manager, folder):
    """The command has no business with the token of a variable that the settings could name, too."""
    token, other = package_manager.accept_token(canary()), canary("other")
    path, seen = private(folder / "printed", token), folder / "seen-by-child"
    program = private(
        folder / "helper.py",
        "import pathlib, sys\n"
        "looks = [pathlib.Path('/proc/self', name).read_bytes() for name in ('cmdline', 'environ')]\n"
        f"pathlib.Path({str(seen)!r}).write_bytes(b'\\n'.join(looks))\n"
        f"print(pathlib.Path({str(path)!r}).read_text())\n",
    )
    credentials = json.dumps([sys.executable, str(program)])
    environ = {"PPMPROXY_CREDENTIALS": f'[{{ from = "command", argv = {credentials} }}]'}
    yield Planted(
        {**environ, "PPMPROXY_TOKEN": other, "PACKAGEMANAGER_TOKEN": other}, [token, other], [path], seen_by_child=seen
    )


@contextlib.asynccontextmanager
async def in_keyring(package_manager, folder):
    """A back end that has the token, and goes on to complain about it."""
    token = package_manager.accept_token(canary())
    path = private(folder / "kept-by-keyring", token)
    (folder / "modules").mkdir()
    (folder / "modules" / "keyring.py").write_text(
        "import logging, pathlib, warnings\n"
        "class Backend:\n"
        "    def get_password(self, service, user):\n"
        f"        token = pathlib.Path({str(path)!r}).read_text()\n"
        f"        return token if service == {package_manager.url!r} else None\n"
        "def get_keyring():\n"
        "    return Backend()\n"
    )
    yield Planted({"PYTHONPATH": str(folder / "modules")}, [token], [path])


@contextlib.asynccontextmanager
async def by_signing_in(package_manager, folder):
    """Whoever is asked to sign in does so at once."""

    async def approve():
        while True:
            flow = await package_manager.next_sign_in()
            package_manager.approve(flow.user_code)

    path = folder / "signed-in" / "tokens.toml"
    person = asyncio.create_task(approve())
    try:
        yield Planted({"PACKAGEMANAGER_SSO_TOKEN_FILE": str(path), "PPMPROXY_SIGN_IN": "always"}, files=[path])
    finally:
        person.cancel()
        await asyncio.wait({person})


SOURCES = (
    in_environment,
    in_environment_and_no_jwt,
    in_file,
    in_systemd_credential,
    in_the_vendors_variable,
    for_identity_file,
    for_github_actions,
    in_tokens_toml,
    in_netrc,
    from_command,
    in_keyring,
    by_signing_in,
)


# --- what happens -----------------------------------------------------------------------------------------------------


@dataclass
class Witness:
    """Asks the daemon as pip and uv do, and keeps all that comes back but the packages themselves."""

    url: str
    session: aiohttp.ClientSession
    heard: list[str] = field(default_factory=list)
    codes: dict[str, set[str | None]] = field(default_factory=dict)

    async def ask(self, path, method="GET", **headers):
        async with self.session.request(method, self.url + path, headers=headers, allow_redirects=False) as reply:
            try:
                body = await reply.text("latin-1")
            except aiohttp.ClientPayloadError:
                body = ""  # cut
            self.heard.append(f"{reply.status} {head_of(reply)}\n{body}")
            return reply.headers.get("X-Ppmproxy-Error")

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
    for repo in (FORBIDDEN, BROKEN, LOGIN, ELSEWHERE, SILENT, CUT, REFUSED):
        await witness.ask_of(repo, package)
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


def written(folder, rightly):
    """Everything in the files below a folder, but for those that hold the token rightly."""
    files = (path for path in folder.rglob("*") if path.is_file() and path not in rightly)
    return [path.read_bytes().decode("latin-1") for path in files]


def tokens_on_the_wire(package_manager):
    """Every secret that reached the Package Manager, where it belongs."""
    offered = {
        presented_token(seen.authorization, Accepts.EITHER) for seen in package_manager.requests if seen.authorization
    }
    forms = (dict(parse_qsl(seen.body.decode())) for seen in package_manager.requests if "/__api__/" in seen.path)
    return offered | {form[name] for form in forms for name in SECRET_FIELDS if name in form}


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
        package_manager = await stack.enter_async_context(FakePackageManager(**knobs, base_path="/rspm"))
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
        environ |= {"PPMPROXY_READ_TIMEOUT": "2s", **planted.environ}
        server, url = await stack.enter_async_context(daemon(tmp_path, environ))
        timeout = aiohttp.ClientTimeout(total=ONE_ANSWER)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        witness = Witness(url, session)

        await go_through_everything(witness, package_manager, package)
        processes = [arguments_of(pid) for pid in descendants(server.process.pid)]
        listed = await run_program(["ps", "-ww", "-eo", "args"], plain_environment(tmp_path), tmp_path)
        server.process.send_signal(signal.SIGABRT)
        await asyncio.wait_for(server.process.wait(), 30)

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


# --- the other commands -----------------------------------------------------------------------------------------------


LOOK_AROUND = (
    "import os, pathlib, subprocess, sys, urllib.request\n"
    "print(urllib.request.urlopen(os.environ['PIP_INDEX_URL'] + 'hello/').status, 'was answered', flush=True)\n"
    "for looked_at in ('self/environ', 'self/cmdline', f'{os.getppid()}/cmdline'):\n"
    "    print(pathlib.Path('/proc', looked_at).read_text(), flush=True)\n"
    "ppmproxy = [sys.executable, '-m', 'ppmproxy']\n"
    "for command in (['ps', '-ww', '-eo', 'args'], [*ppmproxy, 'status'], [*ppmproxy, 'status', '--json']):\n"
    "    subprocess.run(command, check=True)\n"
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__.replace("_", "-"))
async def test_no_command_shows_a_token_to_its_child_or_to_the_person(source, tmp_path, authority):
    knobs = {
        "authority": authority,
        "repos": (IN_BASIC,),
        "trusts": (IdentityProviderTrust(AUDIENCE),),
        "device_interval": 1.0,
    }
    async with (
        FakePackageManager(**knobs, base_path="/rspm") as package_manager,
        source(package_manager, tmp_path) as planted,
    ):
        package_manager.add(wheel("hello"), IN_BASIC)
        home = tmp_path / "home-of-the-person"
        for folder in (home, home / "runtime"):
            folder.mkdir(mode=0o700)
        environ = plain_environment(home, XDG_RUNTIME_DIR=str(home / "runtime"), PPMPROXY_LOG_LEVEL="debug")
        environ |= {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(tmp_path / "ca.pem")),
        }
        environ |= {"PPMPROXY_LISTEN": f"127.0.0.1:{free_port()}", **planted.environ}

        async def runs(*arguments):
            return await run_program([sys.executable, "-m", "ppmproxy", *arguments], environ, home)

        executed = await runs("exec", "--repo", IN_BASIC, "--", sys.executable, "-c", LOOK_AROUND)
        doctors = [await runs("doctor", "--repo", IN_BASIC, *more) for more in ((), ("--json",))]

    secrets = {*planted.secrets, *tokens_on_the_wire(package_manager)}
    child = [planted.seen_by_child.read_text()] if planted.seen_by_child else []
    files = written(tmp_path, [*planted.files, planted.seen_by_child])
    texts = [executed.output, *(doctor.output for doctor in doctors), *child, *files]
    assert executed.code == 0, executed.output
    for told in ("200 was answered", "PIP_INDEX_URL=", "  token: from ", '"credentials": [{"source": '):
        assert told in executed.output
    assert all(f"; taken for {IN_BASIC}" in doctor.output for doctor in doctors), doctors
    assert {*planted.secrets[:1]} <= tokens_on_the_wire(package_manager)
    assert {form for secret in secrets for text in texts for form in leaked_forms(secret, text)} == set()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


# --- our own mistakes -------------------------------------------------------------------------------------------------


class Malformed:
    """A part of the daemon's state that is not what it should be, and says so with all it knows."""

    def __init__(self, token):
        self.token = token

    def __hash__(self):
        msg = f"lost {self.token}"
        raise LookupError(msg)


async def test_an_unforeseen_error_shows_no_token_in_the_log_nor_to_the_client(package_manager, proxy, logs):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    await running.get("/pypi/latest/simple/hello/", {"User-Agent": UV})
    services = running.daemon.services
    services.sessions["default"].schemes.record_accepted("pypi", Malformed(server.token))

    reply = await running.get("/pypi/latest/simple/hello/", {"User-Agent": UV})

    assert (reply.status, reply.code) == (500, "internal")
    assert "lost ****" in logs.text
    assert leaked_forms(server.token, logs.text + head_of(reply) + reply.text()) == []


async def test_an_exception_that_nobody_catches_shows_no_token(tmp_path):
    """The very way in which the daemon sets up its log, and then an exception on the main thread and on another."""
    token = canary()
    program = (
        "import os, sys, threading\n"
        "from ppmproxy.auth.credential import Secret\n"
        "from ppmproxy.server.logs import Redactor, set_up_logs\n"
        "from ppmproxy.config.model import LogFormat, LogLevel\n"
        "redactor = Redactor()\n"
        "set_up_logs(redactor, LogLevel.DEBUG, LogFormat.JSON, sys.stdout)\n"
        "token = os.environ['PPMPROXY_TOKEN']\n"
        "redactor.add(Secret(token))\n"
        "def fail():\n"
        "    raise LookupError(f'lost {token}')\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start()\n"
        "thread.join()\n"
        "fail()\n"
    )

    end = await run_program(
        [sys.executable, "-c", program], plain_environment(tmp_path, PPMPROXY_TOKEN=token), tmp_path
    )

    assert end.code == 1
    assert len(re.findall(r"lost \*\*\*\*", end.output)) >= 2
    assert not shows_token(token, end.output)
