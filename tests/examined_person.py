"""A person with a home, a project and an environment, who runs `ppmproxy doctor`; fixtures for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked_command import forked_ppmproxy
from free_ports import free_port
from processes import plain_environment, run_program

from ppmproxy.testing.package_manager import wheel

SECRET = "hunter2-do-not-show"
PROGRAMS = Path(sys.executable).parent  # `ppmproxy` is among them
NO_PIP_FILES = {"PIP_CONFIG_FILE": "/dev/null"}


@dataclass
class Person:
    """Somebody with a home, a project folder and an environment, who runs doctor."""

    home: object
    project: object
    environ: dict

    async def doctor(self, *arguments, **environ):
        """Exit code and findings; nothing but those is said, and no traceback."""
        return await self.doctor_in({**self.environ, **environ}, *arguments)

    async def doctor_in(self, environ, *arguments):
        """The same with these variables alone."""
        end = await forked_ppmproxy(["doctor", "--json", *arguments], environ, self.project)
        found = json.loads(end.output)
        assert all(set(one) == {"check", "outcome", "what", "fix"} for one in found)
        assert all((one["outcome"] == "ok") == (one["fix"] == "") for one in found)
        assert end.code == int(any(one["outcome"] == "failed" for one in found))
        assert SECRET not in end.output
        return Report(found, end.output)

    async def signs_in(self, server):
        """`ppmproxy login`, confirmed in a browser."""
        server.device_interval, server.enforces_interval = 0.05, False
        signing_in = asyncio.create_task(forked_ppmproxy(["login"], self.environ, self.project))
        await server.next_sign_in()
        server.approve()
        end = await signing_in
        assert end.code == 0, end.output

    def has(self, path, text):
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


@dataclass
class Report:
    found: list
    text: str

    def of(self, check, outcome=None):
        """The one finding of a check, or the one with this outcome."""
        findings = [one for one in self.found if one["check"] == check and outcome in {None, one["outcome"]}]
        assert len(findings) == 1, self.found
        return findings[0]

    def faults(self):
        return {one["check"] for one in self.found if one["outcome"] != "ok"}


def found_in(file):
    """What a file with the output of `doctor --json` holds."""
    text = file.read_text()
    return Report(json.loads(text), text)


@pytest.fixture
def person(tmp_path):
    for folder in ("home", "project"):
        (tmp_path / folder).mkdir()
    return Person(tmp_path / "home", tmp_path / "project", plain_environment(tmp_path / "home", **NO_PIP_FILES))


@pytest.fixture
async def server(package_manager):
    started = await package_manager(base_path="/rspm")
    started.add(wheel("pip"))
    return started


@pytest.fixture
def configured(person, server, ca_file):
    """The same person with settings that lead to the fake Package Manager, and its token."""
    person.environ |= {
        "PPMPROXY_UPSTREAM": server.url,
        "PPMPROXY_CA_FILE": str(ca_file),
        "PPMPROXY_TOKEN": server.token,
        "PPMPROXY_LISTEN": f"127.0.0.1:{free_port()}",
    }
    return person


@pytest.fixture
def shell(configured):
    """Runs lines in the person's shell, then doctor with what they leave in the environment; its report."""
    configured.environ["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"

    async def run(*lines, **environ):
        variables = {**configured.environ, **environ}
        if lines:
            script = "\n".join(["exec 3>&1 >&2", *lines, "exec env -0 >&3"])
            left = configured.home.parent / "environment"
            end = await run_program(["/bin/sh", "-c", f"{{\n{script}\n}} >{left}"], variables, configured.project)
            pairs = (line.partition("=") for line in left.read_text().split("\0") if "=" in line)
            variables = {name: value for name, _, value in pairs}
            assert variables, end.output
        return await configured.doctor_in(variables)

    return run
