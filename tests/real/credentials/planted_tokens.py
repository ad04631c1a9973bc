"""A token planted in each source of credentials, and what belongs to it."""

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import web

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.testing.package_manager import (
    Accepts,
    jwt,
)
from ppmproxy.testing.package_manager.tokens import presented_token

AUDIENCE = "packagemanager"


SECRET_FIELDS = ("subject_token", "device_code", "code_verifier")  # of the forms that get a token


IN_BASIC, IN_BEARER, REFUSED, FORBIDDEN, LOGIN, ELSEWHERE, SILENT, BROKEN, CUT, GONE = REPOS = (
    *("in-basic", "in-bearer", "refused", "forbidden", "login", "elsewhere", "silent", "broken", "cut", "gone"),
)


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
    environ = {"PPMPROXY_CREDENTIALS": f'[{{ from = "command", argv = {credentials}, timeout = "60s" }}]'}
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
