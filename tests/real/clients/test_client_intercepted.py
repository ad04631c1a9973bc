"""Claims about clients whose projects name the Package Manager's real URL, run by `ppmproxy exec --intercept`.

The name is known to the company's forward proxy alone: a request that bypasses ppmproxy cannot succeed.
"""

import contextlib
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from client_environments import shows_token
from client_setup import PARCEL, READS, WRITES, ClientSetup, on_one_line, running_package_manager, what_is_installed
from client_tools import (
    FLIT,
    HATCH,
    MATURIN,
    OLD_PIP,
    PDM,
    PIP,
    PIP_TOOLS,
    PIPENV,
    POETRY,
    TWINE,
    UV,
    Workspace,
    workspace,
)  # fmt: skip
from downloads import MAY_DOWNLOAD, skip_or_fail
from forward_proxy import ForwardProxy
from processes import plain_environment, run_program
from r_clients import DEADLINE
from yarl import URL

from ppmproxy.testing.package_manager import FakePackageManager, RPackage

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

HOST = "packagemanager.example.com"
COLUMN = "`exec --intercept`"
THROUGH = (sys.executable, "-m", "ppmproxy", "exec", "--intercept", "--")

INSTALLERS = (PIP, OLD_PIP, UV, POETRY, PDM, HATCH, PIPENV, PIP_TOOLS)
UPLOADERS = (  # without the credentials that they insist on
    replace(UV, upload="publish --trusted-publishing never --publish-url @UPLOAD@ @FILE@"),
    POETRY,
    replace(PDM, upload="publish --no-build --repository @UPLOAD@"),
    replace(TWINE, environ={}),
    replace(FLIT, environ={"FLIT_INDEX_URL": "@UPLOAD@"}),
    replace(MATURIN, environ={}),
)
DATE = "2026-01-31"  # a snapshot other than the one that is the default
KEPT_BY_CLIENTS = {".pdm-python"}  # which Python PDM has chosen, on this machine


@dataclass(frozen=True)
class Company:
    """A Package Manager behind a forward proxy, and the settings of a person who has a token for it."""

    package_manager: FakePackageManager
    forward_proxy: ForwardProxy
    folder: Path
    token: str

    @property
    def url(self):
        return str(URL(self.package_manager.url).with_host(HOST))

    @property
    def environ(self):
        runtime = self.folder / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        return {
            "PPMPROXY_UPSTREAM": self.url,
            "PPMPROXY_CA_FILE": str(self.package_manager.write_ca(self.folder / "ca.pem")),
            "PPMPROXY_TOKEN": self.token,
            "PPMPROXY_PROXY": self.forward_proxy.url,
            "PPMPROXY_LISTEN": "127.0.0.1:0",
            "PPMPROXY_UPLOADS": "true",
            "XDG_RUNTIME_DIR": str(runtime),
            "NO_PROXY": "",
        }

    def workspace(self, tool) -> Workspace:
        """A project that names the real URLs."""
        words = {"INDEX": f"{self.url}/pypi/latest/simple/", "UPLOAD": f"{self.url}/upload/pypi/internal"}
        person = workspace(tool, self.folder / "person", FILE=f"dist/{PARCEL.filename}", **words)
        person.environ.update(self.environ)
        return person


@contextlib.asynccontextmanager
async def company(folder, tool=None):
    async with running_package_manager(certificate_for=(HOST, "127.0.0.1")) as manager, ForwardProxy() as forward_proxy:
        manager.offers_metadata = tool is None or tool.takes_metadata
        yield Company(manager, forward_proxy, folder, manager.issue_token((READS, WRITES)))


def files_of(person):
    """The project's own files."""
    return {
        path.relative_to(person.project): path.read_bytes()
        for path in person.project.rglob("*")
        if path.is_file() and not {".venv", *KEPT_BY_CLIENTS} & set(path.parts) and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("tool", INSTALLERS, ids=str)
async def test_an_install_changes_no_file_and_a_lock_names_the_package_manager_only(tool, tmp_path, cell):
    async with company(tmp_path, tool) as here:
        person = here.workspace(tool)
        before = files_of(person)

        installing = await person.run(*tool.install, through=THROUGH)
        assert installing.code == 0, installing.output
        assert await person.imported() == what_is_installed().version
        made = {path: data for path, data in files_of(person).items() if before.get(path) != data}
        if tool.lock:
            locking = await person.run(*tool.lock, through=THROUGH)
            assert locking.code == 0, locking.output
            locked = person.lock_file.read_text()
            assert "127.0.0.1" not in locked
            assert HOST in locked or tool is PDM or "http" not in locked
            again = await person.run(*tool.again, through=THROUGH)
            assert again.code == 0, again.output
            assert person.lock_file.read_text() == locked

        assert set(made) <= {Path(tool.lock_file or "none")}
        assert files_of(person).items() >= before.items() - {(Path(tool.lock_file or "none"), b"")}
    assert all(seen.authorization for seen in here.package_manager.requests)
    assert not shows_token(here.token, installing.output)
    cell(tool, COLUMN)


@pytest.mark.parametrize(("tool", "name"), [(PIP, "pip/pip.conf"), (UV, "uv/uv.toml")], ids=str)
async def test_the_file_for_all_users_that_configure_prints_is_all_that_an_interception_needs(tool, name, tmp_path):
    async with company(tmp_path, tool) as here:
        person = here.workspace(tool)
        for variable in ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_DEFAULT_INDEX"):
            person.environ.pop(variable, None)
        configure = [sys.executable, "-m", "ppmproxy", "configure", tool.name, "--system", "--snapshot", DATE]
        said = await run_program(configure, person.environ | {"PPMPROXY_LISTEN": "127.0.0.1:7760"}, person.project)
        recipe = said.output.partition("Or variables")[0]
        file = tmp_path / "etc" / name  # the clients read /etc/xdg as they do /etc
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"{line.strip()}\n" for line in recipe.splitlines() if line.startswith("    ")))
        person.environ["XDG_CONFIG_DIRS"] = str(tmp_path / "etc")

        installing = await person.run(*tool.install, through=THROUGH)

        assert installing.code == 0, installing.output
        assert await person.imported() == what_is_installed().version
    assert here.package_manager.requests_for(f"*/pypi/{DATE}/simple/*")
    assert all(seen.authorization for seen in here.package_manager.requests)


@pytest.mark.parametrize("tool", INSTALLERS, ids=str)
async def test_why_a_token_is_not_accepted_is_shown_as_without_interception(tool, tmp_path, cell):
    async with company(tmp_path, tool) as here:
        here.package_manager.revoke(here.token)
        person = here.workspace(tool)

        end = await person.run(*tool.install, through=THROUGH, talkative=True)

    assert end.code != 0
    assert "rejects the token" in on_one_line(end.output), end.output
    cell(tool, COLUMN)


@pytest.mark.parametrize("tool", UPLOADERS, ids=str)
async def test_an_upload_to_the_real_url_arrives_with_the_token(tool, tmp_path, cell):
    async with company(tmp_path) as here:
        person = here.workspace(tool)
        (person.project / "dist").mkdir()
        (person.project / "dist" / PARCEL.filename).write_bytes(PARCEL.data)

        end = await person.run(tool.upload, through=THROUGH)

        assert end.code == 0, end.output
        uploaded = ClientSetup(here.package_manager, None, tmp_path).uploaded
        assert uploaded.keys() == {PARCEL.filename}
        assert tool.builds or uploaded == {PARCEL.filename: PARCEL.sha256}
    cell(tool, COLUMN)


async def test_hatch_heeds_no_proxy_when_it_uploads_and_that_is_reported(tmp_path, cell):
    async with company(tmp_path) as here:
        person = here.workspace(HATCH)
        (person.project / "dist").mkdir()
        (person.project / "dist" / PARCEL.filename).write_bytes(PARCEL.data)

        end = await person.run(HATCH.upload, through=THROUGH)

    assert end.code != 0
    assert f"the command sent no request to https://{HOST}" in end.output
    cell(HATCH, COLUMN, "all but uploads")


async def test_r_installs_from_the_real_url(tmp_path, cell):
    rscript = shutil.which("Rscript") or skip_or_fail("R is not installed", "on Debian: apt-get install r-base-core")
    async with company(tmp_path) as here:
        here.package_manager.add_r(RPackage("child"))
        (tmp_path / "library").mkdir()
        environ = plain_environment(tmp_path, R_LIBS=str(tmp_path / "library")) | here.environ
        program = (
            f'install.packages("child", repos = "{here.url}/cran/latest"); library(child); cat("it says", hello())'
        )

        end = await run_program([*THROUGH, rscript, "--vanilla", "-e", program], environ, tmp_path, DEADLINE)

    assert end.code == 0, end.output
    assert "says hello" in end.output
    cell("R", COLUMN)


COMMANDS = {
    "curl": "curl --fail --silent --show-error {index}six/",
    "wget": "wget --quiet --tries 1 --output-document - {index}six/",
    "git": "git ls-remote {host}/git/project.git",
    "npm": "npm view --registry {host}/npm/ anything version",
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_other_programs_ask_the_host_and_trust_its_certificate(name, tmp_path):
    program = shutil.which(name) or skip_or_fail(f"{name} is not installed", f"on Debian: apt-get install {name}")
    async with company(tmp_path) as here:
        host = here.url.removesuffix("/rspm")
        command = COMMANDS[name].format(index=f"{here.url}/pypi/latest/simple/", host=host).split()[1:]
        environ = plain_environment(tmp_path) | here.environ

        end = await run_program([*THROUGH, program, *command], environ, tmp_path)

    asked = [seen for seen in here.package_manager.requests if seen.status]
    assert asked, end.output  # over TLS that the program believed
    assert bool(asked[0].authorization) is (name in {"curl", "wget"})  # a path outside the base gets no token of ours
