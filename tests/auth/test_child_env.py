"""Claims about the environment of child processes: no token and nothing of systemd's, in any of them."""

import asyncio
import json
import os
import sys
from types import SimpleNamespace

import pytest
from forked_command import forked_ppmproxy
from processes import plain_environment
from proxy_client import DEADLINE, wait_until

from ppmproxy.auth.child_env import child_environment
from ppmproxy.config.model import CredentialSpec, Upstream
from ppmproxy.testing.package_manager import wheel

GITHUB = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
NAMED = ("PM_SECRET", "UPLOAD_SECRET", "OTHER_SECRET")
STANDARD = (
    *("PPMPROXY_TOKEN", "PPMPROXY_TOKEN_FILE", "CREDENTIALS_DIRECTORY"),
    *("PACKAGEMANAGER_TOKEN", "PACKAGEMANAGER_IDENTITY_TOKEN_FILE", "PACKAGEMANAGER_SSO_TOKEN_FILE"),
)
SECRET_SETTINGS = ("PPMPROXY_PROXY", "PPMPROXY_HEADERS")  # a password, and what an ingress wants
SYSTEMD = ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "INVOCATION_ID")
ORDINARY = ("NETRC", "MY_TOKENIZER", "LISTEN_PORT")
OF_CLIENTS = ("HTTPS_PROXY", "PIP_INDEX_URL")

OWN = Upstream(credentials=(CredentialSpec("env", variable="PM_SECRET"),), configured=True)
STANDARD_CHAIN = Upstream(credentials=None, configured=True)
NOT_CONFIGURED = Upstream(credentials=None)
FROM_GITHUB = Upstream(credentials=(CredentialSpec("github-actions"),), configured=True)
ENVIRON = dict.fromkeys((*GITHUB, *NAMED, *STANDARD, *SECRET_SETTINGS, *SYSTEMD, *ORDINARY, *OF_CLIENTS), "value")


@pytest.mark.parametrize("upstreams", [(), (OWN,), (NOT_CONFIGURED,), (STANDARD_CHAIN, OWN)])
def test_the_standard_chain_secret_settings_and_systemds_variables_are_always_hidden(upstreams):
    seen = child_environment(ENVIRON, upstreams, "")

    assert not set(seen) & {*STANDARD, *SECRET_SETTINGS, *SYSTEMD}
    assert set(seen) >= {*ORDINARY, *OF_CLIENTS}


@pytest.mark.parametrize(
    ("upstreams", "audience", "is_hidden"),
    [
        ((FROM_GITHUB,), "", True),
        ((OWN, FROM_GITHUB), "", True),
        ((STANDARD_CHAIN,), "packagemanager", True),
        ((OWN, STANDARD_CHAIN), "packagemanager", True),
        ((STANDARD_CHAIN,), "", False),
        ((OWN,), "packagemanager", False),
        ((NOT_CONFIGURED,), "packagemanager", False),
    ],
)
def test_githubs_variables_are_hidden_where_a_source_uses_them(upstreams, audience, is_hidden):
    seen = child_environment({**ENVIRON, "PPMPROXY_AUDIENCE": audience}, upstreams, "")

    assert not set(seen) & set(GITHUB) if is_hidden else set(seen) >= set(GITHUB)


def test_the_variables_of_every_upstream_are_hidden_in_any_case():
    other = Upstream(name="other", credentials=(CredentialSpec("env", variable="OTHER_SECRET"),), configured=True)

    assert set(child_environment(ENVIRON, (OWN, other), "")) & set(NAMED) == {"UPLOAD_SECRET"}
    assert child_environment({"pm_secret": "value"}, (OWN,), "") == {}


def test_systemds_variables_are_hidden_even_where_tokens_are_kept():
    seen = child_environment(ENVIRON, (OWN,), "", keeps_tokens=True)

    assert {"PPMPROXY_TOKEN", "PM_SECRET", *GITHUB, *SECRET_SETTINGS} <= set(seen)
    assert not set(seen) & set(SYSTEMD)
    assert "CREDENTIALS_DIRECTORY" not in seen


# --- real children ----------------------------------------------------------------------------------------------------

FETCH = "import os, urllib.request; urllib.request.urlopen(os.environ['PIP_INDEX_URL'])"
REPORT = """#!{python}
import json, os
with open("{report}.part", "w") as file:
    json.dump(dict(os.environ), file)
os.rename("{report}.part", "{report}")
print("a-token-of-the-command")
"""


@pytest.fixture
async def scene(package_manager, ca_file, tmp_path):
    """Two upstreams with sources of every kind, a secret for each, and programs that report their environment."""
    server, other = await package_manager(base_path="/rspm", device_interval=1), await package_manager()
    server.add(wheel("hello"))
    for folder in ("home", "programs", "runtime"):
        (tmp_path / folder).mkdir(mode=0o700)
    config = tmp_path / "config.toml"

    def program(name):
        path = tmp_path / "programs" / name
        path.write_text(REPORT.format(python=sys.executable, report=tmp_path / f"{name}.json"))
        path.chmod(0o755)
        return path

    def settings(*first):
        """The settings file, with these sources of the first upstream before its others."""
        sources = [*first, '{ from = "env", variable = "PM_SECRET", repos = ["internal"] }']
        sources.append('{ from = "env", variable = "UPLOAD_SECRET", use = "upload" }')
        config.write_text(
            f'listen = ["127.0.0.1:0"]\n'
            f'[upstream.default]\nurl = "{server.url}"\nca_file = "{ca_file}"\ncredentials = [{", ".join(sources)}]\n'
            f'[upstream.other]\nurl = "{other.url}"\nca_file = "{ca_file}"\n'
            'credentials = [{ from = "env", variable = "OTHER_SECRET" }, { from = "github-actions" }]\n'
        )

    async def seen_by(name):
        report = tmp_path / f"{name}.json"
        await wait_until(report.exists)
        return json.loads(report.read_text())

    settings()
    environ = plain_environment(
        tmp_path / "home",
        **dict.fromkeys((*GITHUB, *NAMED, *STANDARD, *SYSTEMD, *ORDINARY), "secret-or-not"),
    )
    environ |= {"PPMPROXY_CONFIG": str(config), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    environ["PACKAGEMANAGER_SSO_TOKEN_FILE"] = str(tmp_path / "tokens.toml")
    environ |= {"PATH": f"{tmp_path / 'programs'}{os.pathsep}{environ['PATH']}", "PPMPROXY_AUDIENCE": ""}

    async def command(*arguments, **more):
        return await forked_ppmproxy(list(arguments), environ | more, tmp_path)

    return SimpleNamespace(server=server, program=program, settings=settings, seen_by=seen_by, command=command)


async def of_the_command_of_exec(scene):
    await scene.command("exec", "--", str(scene.program("command")))
    return await scene.seen_by("command")


async def of_a_credential_command(scene):
    scene.settings(f'{{ from = "command", argv = ["{scene.program("credential")}"] }}')
    await scene.command("doctor", "--json", PPMPROXY_LISTEN="127.0.0.1:7761")
    return await scene.seen_by("credential")


async def of_a_credential_command_of_a_daemon(scene):
    scene.settings(f'{{ from = "command", argv = ["{scene.program("credential")}"] }}')
    await scene.command("exec", "--", sys.executable, "-c", FETCH)
    return await scene.seen_by("credential")


async def of_the_browser_of_login(scene):
    login = asyncio.create_task(scene.command("login", "default", BROWSER=f"{scene.program('browser')} %s"))
    seen = await scene.seen_by("browser")
    scene.server.approve()
    await asyncio.wait_for(login, DEADLINE)
    return seen


async def of_the_browser_of_a_daemon(scene):
    scene.settings('{ from = "tokens" }')
    browser = f"{scene.program('browser')} %s"
    install = asyncio.create_task(scene.command("exec", "--", sys.executable, "-c", FETCH, BROWSER=browser))
    seen = await scene.seen_by("browser")
    scene.server.approve()
    await asyncio.wait_for(install, DEADLINE)
    return seen


async def of_what_finds_the_browser(scene):
    for name in ("xdg-settings", "xdg-open"):
        scene.program(name)
    login = asyncio.create_task(scene.command("login", "default", DISPLAY=":0"))
    seen = [await scene.seen_by(name) for name in ("xdg-settings", "xdg-open")]
    scene.server.approve()
    await asyncio.wait_for(login, DEADLINE)
    return seen[0] | seen[1]


async def of_systemctl(scene):
    scene.program("systemctl")
    await scene.command("service", "status")
    return await scene.seen_by("systemctl")


async def of_systemctl_with_broken_settings(scene):
    scene.program("systemctl")
    await scene.command("service", "status", PPMPROXY_LISTEN="nonsense:nonsense")
    return dict.fromkeys(ORDINARY) | await scene.seen_by("systemctl")


CHILDREN = [
    of_the_command_of_exec,
    of_a_credential_command,
    of_a_credential_command_of_a_daemon,
    of_the_browser_of_login,
    of_the_browser_of_a_daemon,
    of_what_finds_the_browser,
    of_systemctl,
    of_systemctl_with_broken_settings,
]


@pytest.mark.skipif(sys.platform != "linux", reason="programs that begin with #!, and systemctl")
@pytest.mark.parametrize("environment", CHILDREN, ids=lambda child: child.__name__)
async def test_no_child_finds_a_token_in_its_environment(scene, environment):
    seen = await environment(scene)

    assert not set(seen) & {*GITHUB, *NAMED, *STANDARD, *SYSTEMD}
    assert set(seen) >= {"PATH", "HOME", *ORDINARY}


CLOUD = {
    "AWS_ACCESS_KEY_ID": "AKIA",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "session",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token",
    "AWS_REGION": "eu-central-1",
    "AZURE_STORAGE_ACCOUNT_KEY": "key",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "GOOGLE_APPLICATION_CREDENTIALS": "/run/key.json",
    "SERVICE_ACCOUNT": "/run/key.json",
}


@pytest.mark.parametrize(
    ("cache_url", "left"),
    [
        ("", set(CLOUD)),
        ("file:///mnt/shared", set(CLOUD)),
        ("s3://bucket", set(CLOUD) - {name for name in CLOUD if name.startswith("AWS")} | {"AWS_REGION"}),
        ("az://container", set(CLOUD) - {"AZURE_STORAGE_ACCOUNT_KEY"}),
        ("gs://bucket", set(CLOUD) - {"GOOGLE_APPLICATION_CREDENTIALS", "SERVICE_ACCOUNT"}),
    ],
)
def test_secrets_of_the_storage_that_the_cache_shares_are_hidden_and_no_other_s(cache_url, left):
    assert set(child_environment(CLOUD, (OWN,), cache_url)) == left
    assert set(child_environment(CLOUD, (OWN,), cache_url, keeps_tokens=True)) == set(CLOUD)
