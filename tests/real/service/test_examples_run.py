"""Claims about the examples whose proxy lives as long as a command: their lines are run, and nothing is stored."""

import os
import re
import shlex
import subprocess
import sys
import time

import pytest
import yaml
from aiohttp import web
from client_environments import real_wheels, shows_token
from downloads import INSTALL_DEADLINE, MAY_DOWNLOAD
from engine import ROOT
from processes import plain_environment, run_program

from ppmproxy.testing.package_manager import IdentityProviderTrust, jwt

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

EXAMPLES = ROOT / "docker" / "examples"
AUDIENCE = "packagemanager"
IDENTITY = jwt({"aud": AUDIENCE, "sub": "repo:example/project", "exp": time.time() + 3600})
INSTALLS = re.compile(r"python3? -m venv (\"?[^\s\"]+/ppmproxy\"?) && \S+ install \"\$WHEEL\"$")


@pytest.fixture
async def server(package_manager):
    """A Package Manager that trusts the platform."""
    server = await package_manager(trusts=(IdentityProviderTrust(AUDIENCE),))
    server.add(real_wheels()["six"])
    return server


@pytest.fixture
async def github():
    """GitHub's endpoint that hands out identity tokens."""
    asked = []

    async def answer(request):
        asked.append((request.rel_url.query.get("audience"), request.headers.get("Authorization")))
        return web.json_response({"value": IDENTITY})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/?api-version=2", asked
    await runner.cleanup()


@pytest.fixture
def runner(tmp_path, server):
    """A machine of the platform: a checked-out project, a Python of its own, and the Package Manager's authority."""
    (tmp_path / "requirements.txt").write_text("six\n")
    subprocess.run(
        [sys.executable, "-m", "venv", tmp_path / "python"], check=True, capture_output=True, timeout=INSTALL_DEADLINE
    )
    path = f"{tmp_path}/python/bin:{os.environ['PATH']}"
    more = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(server.write_ca(tmp_path / "ca.pem"))}
    return plain_environment(tmp_path, PATH=path, PIP_DISABLE_PIP_VERSION_CHECK="1", **more)


def with_ppmproxy(line):
    """The line itself; the one that gets ppmproxy from a company's own place gets this one instead."""
    found = INSTALLS.search(line)
    if found is None:
        return line
    program = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ppmproxy "$@"\n'
    folder = f"{found[1]}/bin"
    return f"mkdir -p {folder} && printf %s {shlex.quote(program)} > {folder}/ppmproxy && chmod +x {folder}/ppmproxy"


async def test_github_actions_with_the_job_s_identity_token(server, github, runner, tmp_path):
    url, asked = github
    job = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["test"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    environ = (
        job["env"]
        | runner
        | {
            "RUNNER_TEMP": str(tmp_path / "temp"),
            "ACTIONS_ID_TOKEN_REQUEST_URL": url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-runner-s-own",
        }
    )

    end = await run_program(["bash", "-ec", "\n".join(map(with_ppmproxy, steps))], environ, tmp_path, INSTALL_DEADLINE)

    assert job["permissions"]["id-token"] == "write"
    assert end.code == 0, end.output
    assert "Successfully installed six" in end.output
    assert asked[0] == (AUDIENCE, "Bearer the-runner-s-own")
    assert not shows_token(IDENTITY, end.output)


async def test_gitlab_ci_with_the_job_s_identity_token(server, runner, tmp_path):
    document = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    job = document["with-exec"]
    environ = document["variables"] | runner | {"CI_PROJECT_DIR": str(tmp_path / "project"), "PPM_IDENTITY": IDENTITY}
    named = job["variables"]["PACKAGEMANAGER_IDENTITY_TOKEN_FILE"]
    environ["PACKAGEMANAGER_IDENTITY_TOKEN_FILE"] = named.replace("$CI_PROJECT_DIR", environ["CI_PROJECT_DIR"])
    own = [line.replace("/tmp/ppmproxy", f"{tmp_path}/ppmproxy") for line in (*job["before_script"], *job["script"])]
    lines = "\n".join(map(with_ppmproxy, own))

    end = await run_program(["bash", "-ec", lines], environ, tmp_path, INSTALL_DEADLINE)

    assert list(job["id_tokens"]) == ["PPM_IDENTITY"]
    assert end.code == 0, end.output
    assert "Successfully installed six" in end.output
    assert not shows_token(IDENTITY, end.output)
    assert server.requests_for("/__api__/token")
