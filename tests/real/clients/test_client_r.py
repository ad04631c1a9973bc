"""Claims about R, and about the questions that renv and Positron ask a Package Manager."""

import json
import shutil
import sys

import aiohttp
import pytest
from client_setup import READS, client_setup, on_one_line, what_is_installed
from downloads import MAY_DOWNLOAD, skip_or_fail
from processes import plain_environment, run_program
from r_clients import DEADLINE

from ppmproxy.testing.package_manager import RPackage

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

USER_AGENT = "R/4.2.2 R (4.2.2 x86_64-pc-linux-gnu x86_64 linux-gnu)"  # what Package Manager's own manual sets
INSTALL = """\
options(HTTPUserAgent = "{agent}")
install.packages("parent", lib = "{library}", repos = "{url}/cran/latest")
library(parent, lib.loc = "{library}")
cat("it says", hello())
"""


@pytest.fixture
def rscript():
    return shutil.which("Rscript") or skip_or_fail("R is not installed", "on Debian: apt-get install r-base-core")


async def install(rscript, here):
    """`install.packages` of a package that needs another one."""
    library = here.folder / "library"
    library.mkdir()
    here.package_manager.add_r(RPackage("parent", imports=("child",)))
    here.package_manager.add_r(RPackage("child"))
    program = INSTALL.format(agent=USER_AGENT, library=library, url=here.proxy.url)
    environ = plain_environment(here.folder, R_LIBS=str(library))
    return await run_program([rscript, "--vanilla", "-e", program], environ, here.folder, DEADLINE)


async def test_r_installs_from_a_cran_like_tree_with_its_own_user_agent(rscript, tmp_path, cell):
    async with client_setup(tmp_path) as here:
        end = await install(rscript, here)

    assert end.code == 0, end.output
    assert "it says hello" in end.output
    files = {seen.path.rpartition("/")[2] for seen in here.package_manager.requests if seen.status == 200}
    assert {"PACKAGES.gz", "parent_1.0.tar.gz", "child_1.0.tar.gz"} <= files
    assert {seen.header("User-Agent") for seen in here.package_manager.requests} == {USER_AGENT}
    assert all(seen.authorization for seen in here.package_manager.requests)
    cell("R", "install")


@pytest.mark.parametrize(("fault", "code"), [("expired", "token-expired"), ("down", "upstream-unreachable")])
async def test_r_hides_why_and_the_log_of_the_proxy_says_it(rscript, fault, code, tmp_path, cell):
    async with client_setup(tmp_path, lifetime=-1 if fault == "expired" else None) as here:
        if fault == "down":
            await here.package_manager.close()
        end = await install(rscript, here)

    assert end.code > 0
    assert "unable to access index for repository" in on_one_line(end.output)
    assert f'"code": "{code}"' in here.proxy.log
    cell("R", "error shown", "only in the proxy's log")


async def test_what_configure_writes_is_all_that_r_needs(rscript, tmp_path):
    async with client_setup(tmp_path) as here:
        here.package_manager.add_r(RPackage("child"))
        (tmp_path / "library").mkdir()
        environ = plain_environment(tmp_path, R_LIBS_USER=str(tmp_path / "library"), HTTP_PROXY="http://127.0.0.1:1")
        del environ["NO_PROXY"]
        settings = {"PPMPROXY_LISTEN": here.proxy.url.removeprefix("http://")}
        configure = [sys.executable, "-m", "ppmproxy", "configure", "r"]
        done = await run_program(configure, environ | settings, tmp_path)

        end = await run_program(
            [rscript, "-e", 'install.packages("child"); library(child)'], environ, tmp_path, DEADLINE
        )

        assert (done.code, end.code) == (0, 0), done.output + end.output
    assert here.package_manager.requests_for("*/child_1.0.tar.gz")
    assert all(seen.authorization for seen in here.package_manager.requests)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_probe_for_a_package_manager_is_answered_by_it(method, tmp_path):
    named = {"User-Agent": USER_AGENT}
    async with client_setup(tmp_path) as here, aiohttp.ClientSession(headers=named) as session:
        it = await session.request(method, f"{here.proxy.url}/__api__/status")
        status, body = it.status, await it.read()

    assert status == 200
    assert method == "HEAD" or json.loads(body)["version"]
    assert [seen.header("User-Agent") for seen in here.package_manager.requests] == [USER_AGENT]


async def test_the_question_for_packages_is_answered_with_the_token(tmp_path):
    wanted = what_is_installed()
    async with client_setup(tmp_path, scopes=(f"{READS}:*",)) as here, aiohttp.ClientSession() as session:
        question = {"repo": "pypi", "names": [wanted.project, "nobody-has-this"]}
        async with session.post(f"{here.proxy.url}/__api__/filter/packages", json=question) as it:
            status, found = it.status, await it.json()

    assert (status, found) == (200, [{"name": wanted.project, "version": wanted.version}])
    [asked] = here.package_manager.requests
    assert asked.authorization
    assert json.loads(asked.body) == question
