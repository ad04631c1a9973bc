"""Claims about the repositories that doctor finds in the settings of R and renv."""

import json
import os

import pytest
from examined_person import found_in
from forked_command import forked_ppmproxy

from ppmproxy.clients.r_profile import PROFILE


async def test_a_renv_lock_with_the_package_manager_s_url_is_reported_until_env_covers_it(shell, configured, server):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{server.url}/cran/latest"}]}}
    (configured.project / "renv.lock").write_text(json.dumps(lock))

    finding = (await configured.doctor()).of("direct-index", "failed")
    assert "renv.lock, repository CRAN points renv at" in finding["what"]
    assert finding["fix"] == 'run commands by `ppmproxy exec --intercept -- …`; or eval "$(ppmproxy env)"'
    assert (await shell(finding["fix"].partition("; or ")[2])).of("direct-index", "ok")


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
async def test_repositories_of_r_past_the_proxy_are_reported_until_the_fix_was_pasted(
    shell, configured, name, text, fix
):
    (configured.project / name).write_text(text)

    finding = (await shell()).of("direct-index", "warning")

    assert "at https://cran.example.com, not at the proxy" in finding["what"]
    assert finding["fix"] == fix
    assert (await shell(f"{fix} >/dev/null")).of("direct-index", "ok")


async def test_a_variable_in_a_renviron_is_reported_until_it_is_removed(configured, server):
    lines = configured.has(".Renviron", f"PKG_CRAN_MIRROR={server.url}/cran/latest\n")
    fix = (await configured.doctor()).of("direct-index", "failed")["fix"]
    assert fix == f"remove PKG_CRAN_MIRROR from {lines}"

    lines.write_text("")

    assert (await configured.doctor()).of("direct-index", "ok")


async def test_a_renviron_that_goes_before_env_is_reported_until_either_fix(shell, configured):
    lines = configured.has(".Renviron", "R_PROFILE_USER=~/my.R\n")
    ours = {"R_PROFILE_USER": str(PROFILE)}
    fix = (await shell(**ours)).of("direct-index", "warning")["fix"]
    assert fix == "remove R_PROFILE_USER from .Renviron; or ppmproxy configure r"

    assert (await shell(f"{fix.rpartition('; or ')[2]} >/dev/null", **ours)).of("direct-index", "ok")
    lines.write_text("")
    assert (await shell(**ours)).of("direct-index", "ok")


async def test_a_profile_of_the_project_that_hides_the_user_s_is_reported_until_either_fix(shell, configured):
    (configured.project / ".Rprofile").write_text("x <- 1\n")
    fix = (await shell("ppmproxy configure r >/dev/null")).of("direct-index", "warning")["fix"]
    assert fix == "run commands by `ppmproxy exec -- …`; or ppmproxy configure r --project"

    assert await shell('ppmproxy exec -- ppmproxy doctor --json >"$HOME/found"')
    assert found_in(configured.home / "found").of("direct-index", "ok")
    assert (await shell(f"{fix.rpartition('; or ')[2]} >/dev/null")).of("direct-index", "ok")


async def test_an_rprofile_that_is_no_file_is_reported_once_and_not_waited_for(configured):
    os.mkfifo(configured.project / ".Rprofile")

    report = await configured.doctor()

    assert ".Rprofile" in report.of("client-files", "failed")["what"]
