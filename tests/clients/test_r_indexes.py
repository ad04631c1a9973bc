"""Claims about R's repositories: what renv.lock, an .Rprofile and variables say, and what renv is told."""

import json

import pytest

from ppmproxy.clients.index_settings import Role
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.r_indexes import read_r_environment, read_r_profile, read_renv_lock, renv_variables
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

PM = "https://pm.example.com/rspm"
HERE = "http://127.0.0.1:7760"
URLS = LocalUrls.of_settings(Settings(upstreams=(Upstream(url=PM, configured=True),)))


def lock(**repositories):
    return json.dumps({"R": {"Repositories": [{"Name": name, "URL": url} for name, url in repositories.items()]}})


def variables(folder, text, **environ):
    (folder / "renv.lock").write_text(text)
    (folder / "src").mkdir()
    return renv_variables(Environment(environ, folder, folder / "src"), URLS)


# --- what renv is told ------------------------------------------------------------------------------------------------


def test_a_locked_repository_below_the_upstream_is_overridden(tmp_path):
    assert variables(tmp_path, lock(CRAN=f"{PM}/prod/latest")) == {"RENV_CONFIG_REPOS_OVERRIDE": f"{HERE}/prod/latest"}


def test_with_several_repositories_each_keeps_its_name_and_others_stay(tmp_path):
    text = lock(CRAN="https://cran.example.com", own=f"{PM}/own/latest")

    assert variables(tmp_path, text) == {
        "RENV_CONFIG_REPOS_OVERRIDE": f"CRAN=https://cran.example.com;own={HERE}/own/latest"
    }


def test_a_url_with_an_equals_sign_gets_a_name_before_it(tmp_path):
    text = lock(CRAN=f"{PM}/prod/2021-06-22+Y3JhbiwyMDIw=")

    assert variables(tmp_path, text) == {"RENV_CONFIG_REPOS_OVERRIDE": f"CRAN={HERE}/prod/2021-06-22+Y3JhbiwyMDIw="}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"R": 1}', '{"R": {"Repositories": [1, {"Name": 2}]}}', lock(CRAN="https://cran.example.com")],
)
def test_a_lock_without_such_a_repository_is_left_to_renv(text, tmp_path):
    assert variables(tmp_path, text) == {}


def test_the_person_s_own_variable_goes_before_the_lock_and_is_mapped(tmp_path):
    own = f"CRAN={PM}/mine/latest;other=https://other.example.com"

    assert variables(tmp_path, lock(CRAN=f"{PM}/prod/latest"), RENV_CONFIG_REPOS_OVERRIDE=own) == {
        "RENV_CONFIG_REPOS_OVERRIDE": f"CRAN={HERE}/mine/latest;other=https://other.example.com"
    }


# --- what files and variables say -------------------------------------------------------------------------------------


def test_each_repository_of_a_lock_is_found():
    tree = json.loads(lock(CRAN=f"{PM}/prod/latest", own="https://own.example.com"))

    found = [(one.client, one.where, one.value) for one in read_renv_lock(tree, "renv.lock")]

    assert found == [
        ("renv", "renv.lock, repository CRAN", f"{PM}/prod/latest"),
        ("renv", "renv.lock, repository own", "https://own.example.com"),
    ]


def test_variables_of_renv_and_pak_are_found():
    environ = {"RENV_CONFIG_REPOS_OVERRIDE": "CRAN=https://a;own=https://b", "PKG_CRAN_MIRROR": "https://c"}

    assert [(one.client, one.value) for one in read_r_environment(environ)] == [
        ("renv", "https://a"),
        ("renv", "https://b"),
        ("pak", "https://c"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('options(repos = c(CRAN = "https://a", own = "https://b"))', [("CRAN", 1, "index"), ("own", 1, "extra")]),
        ('options(\n  repos = "https://a"\n)', [("repos", 2, "index")]),
        ("options(repos = c(P3M = 'https://a'), HelpURL = 'https://b')", [("P3M", 1, "index")]),
        ('r <- getOption("repos"); r["CRAN"] <- "https://a"; options(repos = r)', [("CRAN", 1, "index")]),
        ('local({\n r <- getOption("repos")\n r[["own"]] <- "https://b"\n})', [("own", 3, "extra")]),
        ('repos$CRAN = "https://a"', [("CRAN", 1, "index")]),
        ('if (interactive()) {\n options(repos = structure(c(CRAN = "https://a")))\n}', [("CRAN", 2, "index")]),
        ('Sys.setenv(RENV_CONFIG_REPOS_OVERRIDE = "https://a")', [("RENV_CONFIG_REPOS_OVERRIDE", 1, "index")]),
        ('options(BioC_mirror = "https://a")', [("BioC_mirror", 1, "index")]),
        ('# options(repos = "https://a")\nx <- "# no"; options(repos = "https://a")', [("repos", 2, "index")]),
        ('source("https://a"); url <- "https://b"', []),
        ('x["CRAN"] <- "https://a"', []),
        ("options(repos = ", []),
        ('")]}', []),
        ("", []),
    ],
)
def test_repositories_in_a_profile_are_found_with_name_and_line(text, found):
    expected = [(f".Rprofile, {name} in line {line}", Role(role)) for name, line, role in found]

    assert [(one.where, one.role) for one in read_r_profile(text, ".Rprofile")] == expected
