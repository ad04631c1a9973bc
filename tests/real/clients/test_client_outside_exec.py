"""Claims about what starts a client for somebody: a git hook, a notebook's kernel."""

import json
import shlex
import sys
from dataclasses import replace

import pytest
from client_setup import READS, client_setup, what_is_installed
from client_tools import PIP, PROJECT, program
from downloads import MAY_DOWNLOAD
from other_tools import NOTEBOOK
from processes import run_program

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

PPMPROXY = (sys.executable, "-m", "ppmproxy")
UNTOLD = replace(PIP, environ={})
GIT = ("git", "-c", "user.name=kim", "-c", "user.email=kim@example.com")


async def told(person, here, by):
    """What a command is started through, after `configure pip` or for `exec`; both use the daemon that runs."""
    person.environ.pop("PIP_CONFIG_FILE")
    person.environ["PPMPROXY_UPSTREAM"] = here.package_manager.url
    person.environ["PPMPROXY_LISTEN"] = here.proxy.url.removeprefix("http://")
    if by == "exec":
        person.environ["PPMPROXY_CA_FILE"] = str(here.folder / "ca.pem")
        person.environ["PPMPROXY_TOKEN"] = here.package_manager.issue_token((READS,))
        return (*PPMPROXY, "exec", "--")
    done = await run_program([*PPMPROXY, "configure", "pip", "--user"], person.environ, person.project)
    assert done.code == 0, done.output
    return ()


@pytest.mark.parametrize("by", ["configure", "exec"])
async def test_a_git_hook_installs_as_whoever_called_git(by, tmp_path):
    async with client_setup(tmp_path) as here:
        person = here.workspace(UNTOLD)
        await run_program(["git", "init", "-q"], person.environ, person.project)
        hook = person.project / ".git/hooks/pre-commit"
        hook.write_text(f"#!/bin/sh\nexec {shlex.join([*map(str, program(PIP, person.python)), 'install', PROJECT])}\n")
        hook.chmod(0o755)
        through = await told(person, here, by)

        committed = await run_program(
            [*through, *GIT, "commit", "--allow-empty", "-m", "x"], person.environ, person.project
        )

        assert committed.code == 0, committed.output
        assert await person.imported() == what_is_installed().version
        assert here.package_manager.requests
        assert all(seen.authorization for seen in here.package_manager.requests)


@pytest.mark.parametrize("by", ["configure", "exec"])
async def test_a_notebook_s_kernel_installs_as_whoever_started_it(by, tmp_path):
    async with client_setup(tmp_path) as here:
        person = here.workspace(NOTEBOOK)
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
        cell["source"] = f"%pip install --target here {PROJECT}\nopen('here/{PROJECT}.py').close()"
        notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (person.project / "first.ipynb").write_text(json.dumps(notebook))
        through = await told(person, here, by)

        executed = await person.run(*NOTEBOOK.install, through=through)

        assert executed.code == 0, executed.output
        assert (person.project / "here" / f"{PROJECT}.py").is_file()
        assert here.package_manager.requests
        assert all(seen.authorization for seen in here.package_manager.requests)
