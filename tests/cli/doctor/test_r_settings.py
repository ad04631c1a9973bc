"""Claims about the repositories that doctor finds in the settings of R and renv."""

import json
import os

import pytest
from forked_command import forked_ppmproxy

from ppmproxy.clients.r_profile import PROFILE


async def test_a_renv_lock_with_the_package_manager_s_url_is_reported_until_env_covers_it(configured, server):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{server.url}/cran/latest"}]}}
    (configured.project / "renv.lock").write_text(json.dumps(lock))

    finding = (await configured.doctor()).of("direct-index", "failed")
    ours = f"http://{configured.environ['PPMPROXY_LISTEN']}/cran/latest"

    assert "renv.lock, repository CRAN points renv at" in finding["what"]
    assert finding["fix"] == 'run commands by `ppmproxy exec --intercept -- …`; or eval "$(ppmproxy env)"'
    assert (await configured.doctor(RENV_CONFIG_REPOS_OVERRIDE=ours)).of("direct-index", "ok")


@pytest.mark.parametrize("place", ["home", "project"])
async def test_an_rprofile_with_the_package_manager_s_url_is_reported_until_configure_covers_it(
    configured, server, place
):
    path = getattr(configured, place) / ".Rprofile"
    path.write_text(f'options(repos = c(CRAN = "{server.url}/cran/latest"))\n')
    command = ["configure", "r", *(["--project"] if place == "project" else [])]

    finding = (await configured.doctor()).of("direct-index", "failed")
    await forked_ppmproxy(command, configured.environ, configured.project)

    assert finding["what"].startswith(f"{path}, CRAN in line 1 points R at")
    assert finding["fix"].endswith(" ".join(["ppmproxy", *command]))
    assert (await configured.doctor()).of("direct-index", "ok")


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        (".Rprofile", 'options(repos = c(CRAN = "https://cran.example.com"))', "ppmproxy configure r --project"),
        (
            "renv.lock",
            '{"R": {"Repositories": [{"Name": "CRAN", "URL": "https://cran.example.com"}]}}',
            'eval "$(ppmproxy env --r-repo cran)"',
        ),
    ],
)
async def test_repositories_of_r_past_the_proxy_are_reported(configured, name, text, fix):
    (configured.project / name).write_text(text)

    finding = (await configured.doctor()).of("direct-index", "warning")

    assert "at https://cran.example.com, not at the proxy" in finding["what"]
    assert finding["fix"] == fix


async def test_a_renviron_that_goes_before_env_is_reported(configured, server):
    lines = configured.has(".Renviron", f"PKG_CRAN_MIRROR={server.url}/cran/latest\n")
    variable = (await configured.doctor()).of("direct-index", "failed")
    lines.write_text("R_PROFILE_USER=~/my.R\n")
    profile = (await configured.doctor(R_PROFILE_USER=str(PROFILE))).of("direct-index", "warning")

    assert variable["fix"] == f"remove PKG_CRAN_MIRROR from {lines}"
    assert profile["fix"] == "remove R_PROFILE_USER from .Renviron; or ppmproxy configure r"


async def test_an_rprofile_that_is_no_file_is_reported_once_and_not_waited_for(configured):
    os.mkfifo(configured.project / ".Rprofile")

    report = await configured.doctor()

    assert ".Rprofile" in report.of("client-files", "failed")["what"]
