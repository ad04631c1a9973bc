"""Claims about R's clients under `exec` and `configure`: install.packages, remotes, renv and rsconnect."""

import json
import sys

import pytest
from client_setup import READS, running_package_manager
from compatibility_table import INTERCEPT
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run, run_program
from r_clients import RPerson, needs_package, renv_library, renv_package

from ppmproxy.testing.package_manager import RPackage

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

PPMPROXY = (sys.executable, "-m", "ppmproxy")
IN_EXEC = (*PPMPROXY, "exec", "--")
WITH_CRAN = (*PPMPROXY, "exec", "--r-repo", "cran", "--")
SAYS = 'library(parent); cat("it says", hello())'
ACTIVATE = 'source("renv/activate.R")\n'


@pytest.fixture
async def manager():
    async with running_package_manager() as started:
        started.add_r(RPackage("parent", imports=("child",)))
        started.add_r(RPackage("child"))
        yield started


@pytest.fixture
def person(manager, tmp_path, unused_tcp_port):
    """With a token and no daemon."""
    settings = {
        "PPMPROXY_UPSTREAM": manager.url,
        "PPMPROXY_CA_FILE": str(manager.write_ca(tmp_path / "ca.pem")),
        "PPMPROXY_TOKEN": manager.issue_token((READS,)),
        "PPMPROXY_LISTEN": f"127.0.0.1:{unused_tcp_port}",
    }
    return RPerson.in_folder(tmp_path / "person", **settings)


def lock_of(manager, *names, repo="cran"):
    """A renv.lock as the Package Manager's users have it."""
    repositories = [{"Name": "CRAN", "URL": f"{manager.url}/{repo}/latest"}]
    packages = {
        name: {"Package": name, "Version": "1.0", "Source": "Repository", "Repository": "CRAN"} for name in names
    }
    return json.dumps({"R": {"Version": "4.2.2", "Repositories": repositories}, "Packages": packages}, indent=2)


async def renv_project(person, manager, *packages):
    """A project of a colleague, just cloned: renv.lock, an .Rprofile that activates renv, and nothing installed."""
    manager.add_r(renv_package())
    program = 'renv:::renv_infrastructure_write(".", version = as.character(packageVersion("renv")))'
    made = await person.runs(program, R_LIBS=str(renv_library()))
    assert made.code == 0, made.output
    assert (person.project / ".Rprofile").read_text() == ACTIVATE
    person.lock_file.write_text(lock_of(manager, *packages))


def assert_from_package_manager(manager, filename):
    assert manager.requests_for(f"*/{filename}")
    assert all(seen.authorization for seen in manager.requests if "__api__" not in seen.path)


# --- exec -------------------------------------------------------------------------------------------------------------


async def test_exec_has_r_install_from_the_named_repository(person, manager, cell):
    end = await person.runs(f'install.packages("parent"); {SAYS}', *WITH_CRAN)

    assert end.code == 0, end.output
    assert "it says hello" in end.output
    assert_from_package_manager(manager, "child_1.0.tar.gz")
    cell("R", "install")


async def test_exec_has_remotes_install_from_the_named_repository(person, manager, cell):
    needs_package("remotes")

    end = await person.runs(f'remotes::install_cran("parent", upgrade = "never"); {SAYS}', *WITH_CRAN)

    assert end.code == 0, end.output
    assert_from_package_manager(manager, "child_1.0.tar.gz")
    cell("remotes", "install")


async def test_exec_moves_the_person_s_own_repositories_below_an_upstream_to_the_proxy(person, manager):
    person.profile.write_text(f'options(repos = c(CRAN = "{manager.url}/cran/latest"))\n')

    end = await person.runs(f'install.packages("parent"); {SAYS}', *IN_EXEC)

    assert end.code == 0, end.output
    assert_from_package_manager(manager, "child_1.0.tar.gz")


async def test_on_linux_binaries_come_from_a_repository_of_binaries(person, manager):
    repo = ("--r-repo", "cran/__linux__/bookworm")

    await person.runs('install.packages("child")', *PPMPROXY, "exec", *repo, "--")

    agents = {file.header("User-Agent") for file in manager.requests_for("*/child_1.0.tar.gz")}
    assert [agent[:2] for agent in agents] == ["R/"]


@pytest.mark.parametrize("method", ["curl", "wget"])
async def test_programs_that_r_downloads_with_ask_for_binaries_too(method, person, manager):
    person.profile.write_text(f'options(download.file.method = "{method}")\n')

    end = await person.runs(f'install.packages("parent"); {SAYS}', *WITH_CRAN)

    assert end.code == 0, end.output
    assert all(seen.header("User-Agent").startswith("R/") for seen in manager.requests)


# --- renv -------------------------------------------------------------------------------------------------------------


async def test_exec_has_renv_install_itself_and_restore_what_a_colleague_has_locked(person, manager, cell):
    await renv_project(person, manager, "parent", "child")
    locked = person.lock_file.read_bytes()

    end = await person.runs(f"renv::restore(prompt = FALSE); {SAYS}", *IN_EXEC)

    assert end.code == 0, end.output
    assert "it says hello" in end.output
    assert_from_package_manager(manager, "renv_*.tar.gz")
    assert_from_package_manager(manager, "child_1.0.tar.gz")
    assert person.lock_file.read_bytes() == locked
    cell("renv", "install")


async def test_renv_locks_the_package_manager_s_urls_under_exec(person, manager, cell):
    await renv_project(person, manager)
    program = 'renv::install("parent", prompt = FALSE); renv::snapshot(prompt = FALSE, type = "all")'

    end = await person.runs(program, *IN_EXEC)

    assert end.code == 0, end.output
    locked = json.loads(person.lock_file.read_text())
    assert {"parent", "child"} <= locked["Packages"].keys()
    assert [one["URL"] for one in locked["R"]["Repositories"]] == [f"{manager.url}/cran/latest"]
    assert "127.0.0.1:" + person.environ["PPMPROXY_LISTEN"].partition(":")[2] not in person.lock_file.read_text()
    assert "now names the proxy" not in end.output
    cell("renv", "lock")


async def test_a_project_with_the_named_repository_is_locked_with_the_package_manager_s_url(person, manager):
    program = 'renv::init(bare = TRUE, load = FALSE); renv::snapshot(prompt = FALSE, type = "all", project = ".")'

    end = await person.runs(program, *WITH_CRAN, R_LIBS=str(renv_library()))

    assert end.code == 0, end.output
    [repository] = json.loads(person.lock_file.read_text())["R"]["Repositories"]
    assert repository == {"Name": "CRAN", "URL": f"{manager.url}/cran/latest"}


# --- configure --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def daemon(person, tmp_path):
    """A running daemon of this person."""
    names = ("PPMPROXY_UPSTREAM", "PPMPROXY_CA_FILE", "PPMPROXY_TOKEN")
    async with ppmproxy_run(tmp_path, **{name: person.environ[name] for name in names}) as running:
        person.environ["PPMPROXY_LISTEN"] = running.url.removeprefix("http://")
        yield running


async def configured(person, *flags):
    """What `configure r` says."""
    done = await run_program([*PPMPROXY, "configure", "r", *flags], person.environ, person.project)
    assert done.code == 0, done.output
    return done.output


@pytest.mark.usefixtures("daemon")
async def test_configure_has_r_remotes_and_renv_install_with_the_user_agent_for_binaries(person, manager):
    needs_package("remotes")
    person.lock_file.write_text(lock_of(manager, "child"))

    said = await configured(person)
    program = (
        'install.packages("child"); remotes::install_cran("parent", upgrade = "never"); library(renv)\n'
        'renv::restore(library = Sys.getenv("R_LIBS_USER"), lockfile = "renv.lock", prompt = FALSE, clean = FALSE)\n'
    )
    end = await person.runs(program + SAYS, R_LIBS=str(renv_library()))

    assert end.code == 0, end.output
    assert_from_package_manager(manager, "child_1.0.tar.gz")
    assert all("R/" in seen.header("User-Agent") for seen in manager.requests if "contrib" in seen.path)
    assert said.splitlines()[0] == f"wrote {person.profile}"
    assert "directly" not in said


async def test_configure_for_a_project_of_renv_keeps_its_repository_and_its_lock_canonical(person, manager, daemon):
    manager.r_repos += ("prod",)
    manager.add_r(RPackage("parent", imports=("child",)), "prod")
    manager.add_r(RPackage("child"), "prod")
    await renv_project(person, manager)
    person.lock_file.write_text(lock_of(manager, repo="prod"))
    manager.add_r(renv_package(), "prod")
    assert (await person.runs("1", *IN_EXEC)).code == 0  # renv installs itself

    said = await configured(person, "--project")
    program = 'renv::install("parent", prompt = FALSE); renv::snapshot(prompt = FALSE, type = "all")'
    end = await person.runs(program)

    assert end.code == 0, end.output
    assert "directly" not in said
    locked = json.loads(person.lock_file.read_text())
    assert {"parent", "child"} <= locked["Packages"].keys()
    assert [one["URL"] for one in locked["R"]["Repositories"]] == [f"{manager.url}/prod/latest"]
    assert daemon.url not in person.lock_file.read_text()


# --- intercept --------------------------------------------------------------------------------------------------------


async def test_renv_restores_and_locks_the_real_url_under_intercept(person, manager, cell):
    await renv_project(person, manager, "parent", "child")
    locked = json.loads(person.lock_file.read_text())
    program = f'renv::restore(prompt = FALSE); {SAYS}; renv::snapshot(prompt = FALSE, type = "all")'

    end = await person.runs(program, *PPMPROXY, "exec", "--intercept", "--")

    assert end.code == 0, end.output
    assert "it says hello" in end.output
    assert_from_package_manager(manager, "child_1.0.tar.gz")
    assert json.loads(person.lock_file.read_text())["R"]["Repositories"] == locked["R"]["Repositories"]
    cell("renv", INTERCEPT)


async def test_intercept_has_r_install_from_the_named_repository_by_its_real_url(person, manager):
    program = f'cat(getOption("repos")["CRAN"], ""); install.packages("parent"); {SAYS}'

    end = await person.runs(program, *PPMPROXY, "exec", "--intercept", "--r-repo", "cran", "--")

    assert end.code == 0, end.output
    assert end.output.startswith(f"{manager.url}/cran/latest ")
    assert all(seen.header("User-Agent").startswith("R/") for seen in manager.requests if "contrib" in seen.path)


# --- rsconnect --------------------------------------------------------------------------------------------------------


async def test_a_manifest_for_a_server_names_the_package_manager(person, manager):
    needs_package("rsconnect")
    app = person.project / "app"
    app.mkdir()
    (app / "app.R").write_text("library(parent)\n")
    manager.add_r(RPackage("shiny"))  # without which rsconnect takes no app.R
    program = 'install.packages(c("shiny", "parent")); rsconnect::writeManifest("app")'

    end = await person.runs(program, *WITH_CRAN)

    assert end.code == 0, end.output
    packages = json.loads((app / "manifest.json").read_text())["packages"]
    assert packages["parent"]["Repository"] == f"{manager.url}/cran/latest"
    assert "now names the proxy" not in end.output
