"""Claims about R's profile: the person's own comes first, and what ours does to repositories and the user agent.

Each is shown by a real R.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from processes import plain_environment

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.r_profile import OWN_PROFILE, PROFILE, profile_lines, r_profile_variables, user_profile
from ppmproxy.config.model import Upstream
from ppmproxy.environment import Environment

ORIGIN = Origin("http", "127.0.0.1", 7760)
HERE = "http://127.0.0.1:7760"
PM = "https://pm.example.com/rspm"
UPSTREAMS = (Upstream(url=PM, configured=True), Upstream(name="team", url="https://pm.example.com", mount="/team"))
CRAN = f"{HERE}/cran/latest"
REPOS = 'r <- getOption("repos"); writeLines(paste(names(r), r))'
AGENT = 'cat(getOption("HTTPUserAgent"))'


def real_r():
    from downloads import skip_or_fail  # not at the top: it takes a POSIX system

    return shutil.which("Rscript") or skip_or_fail("R is not installed", "on Debian: apt-get install r-base-core")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home/project").mkdir(parents=True)
    return tmp_path / "home"


def said_by_r(home, program, cran_url="", upstreams=UPSTREAMS, **environ):
    """What a program of R prints under our profile, in the project."""
    own = plain_environment(home, **environ)
    return output_of_r(home, program, own | r_profile_variables(own, upstreams, ORIGIN, cran_url))


def output_of_r(home, program, environ):
    done = subprocess.run(
        [real_r(), "-e", program],
        check=True, capture_output=True, text=True, timeout=120, cwd=home / "project", env=environ,
    )  # fmt: skip
    return done.stdout.strip()


def has(path, text):
    path.write_text(text)
    return str(path)


# --- the person's own -------------------------------------------------------------------------------------------------


def test_the_profile_that_r_would_read_is_sourced_first(home):
    has(home / ".Rprofile", 'cat("home"); own <- 1\n')
    assert said_by_r(home, "cat(own)") == "home1"

    has(home / "project/.Rprofile", 'cat("project"); own <- 2\n')
    assert said_by_r(home, "cat(own)") == "project2"

    chosen = has(home / "my.R", 'cat("chosen"); own <- 3\n')
    assert said_by_r(home, "cat(own)", R_PROFILE_USER=chosen) == "chosen3"


def test_an_empty_variable_still_means_no_profile(home):
    has(home / ".Rprofile", 'cat("home")\n')

    assert said_by_r(home, 'cat("none")', R_PROFILE_USER="") == "none"


def test_an_error_in_the_own_profile_stops_neither_r_nor_ours(home):
    has(home / ".Rprofile", 'stop("oops")\n')

    assert f"CRAN {CRAN}" in said_by_r(home, REPOS, CRAN)


def test_a_value_that_the_own_profile_shows_is_shown(home):
    has(home / ".Rprofile", '"welcome"\n')

    assert said_by_r(home, "1") == '[1] "welcome"\n[1] 1'


def test_the_own_profile_sees_the_own_variable_and_what_r_starts_sees_ours(home):
    has(home / ".Rprofile", 'cat(Sys.getenv("R_PROFILE_USER", "not set"))\n')

    assert said_by_r(home, 'cat("", Sys.getenv("R_PROFILE_USER"))') == f"not set {PROFILE}"


@pytest.mark.parametrize("name", ["", "/other/installation"])
def test_a_second_time_the_own_profile_is_still_the_person_s(name):
    first = r_profile_variables({"R_PROFILE_USER": "/my.R"}, UPSTREAMS, ORIGIN, "")
    if name:
        first["R_PROFILE_USER"] = f"{name}/{PROFILE.name}"

    assert r_profile_variables(first, UPSTREAMS, ORIGIN, "")[OWN_PROFILE] == "/my.R"


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/home/alice/.Rprofile"),
        ({"R_PROFILE_USER": "/my.R"}, "/my.R"),
        ({"R_PROFILE_USER": "~/my.R"}, "/home/alice/my.R"),
        ({"R_PROFILE_USER": str(PROFILE)}, "/home/alice/.Rprofile"),
        ({"R_PROFILE_USER": str(PROFILE), OWN_PROFILE: "/my.R"}, "/my.R"),
    ],
)
def test_the_file_that_configure_writes_is_never_ours(environ, path):
    assert user_profile(Environment(environ, Path("/home/alice"), Path("/work"), "linux")) == Path(path)


# --- repositories -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{PM}/prod/latest", f"{HERE}/prod/latest"),
        ("https://user:s3cret@pm.example.com/rspm/prod/latest", f"{HERE}/prod/latest"),
        ("https://PM.example.com:443/rspm/Prod/latest", f"{HERE}/Prod/latest"),
        ("https://pm.example.com/other/latest", f"{HERE}/team/other/latest"),
        (
            "https://pm.example.com.evil.example/rspm/prod/latest",
            "https://pm.example.com.evil.example/rspm/prod/latest",
        ),
        ("https://cran.example.com", "https://cran.example.com"),
    ],
)
def test_repositories_below_an_upstream_lead_to_the_proxy_and_others_stay(home, url, expected):
    has(
        home / ".Rprofile",
        f'options(repos = c(CRAN = "{url}", own = "https://own.example.com"), BioC_mirror = "{url}")',
    )

    said = said_by_r(home, f'{REPOS}; cat(getOption("BioC_mirror"))')

    assert said.splitlines() == [f"CRAN {expected}", "own https://own.example.com", expected]


def test_a_named_repository_is_cran(home):
    has(home / ".Rprofile", f'options(repos = c(CRAN = "{PM}/prod/latest", own = "{PM}/own/latest"))\n')

    assert said_by_r(home, REPOS, CRAN).splitlines() == [f"CRAN {CRAN}", f"own {HERE}/own/latest"]
    assert said_by_r(home, 'cat(Sys.getenv("PKG_CRAN_MIRROR"))', CRAN) == CRAN


def test_a_project_that_renv_has_loaded_is_restored_from_its_own_repositories(home):
    loads = (
        f'Sys.setenv(RENV_PROJECT = getwd()); options(repos = c(CRAN = "{PM}/prod/latest", a = "https://a.example"))'
    )
    has(home / "project/.Rprofile", loads)

    override = 'o <- getOption("renv.config.repos.override"); cat(paste(names(o), o), sep = "\\n")'

    assert said_by_r(home, override).splitlines() == [f"CRAN {HERE}/prod/latest", "a https://a.example"]


# --- the user agent ---------------------------------------------------------------------------------------------------


def test_on_linux_the_user_agent_names_the_version_of_r(home):
    assert said_by_r(home, AGENT).startswith("R/")


@pytest.mark.parametrize(("own", "stays"), [("RStudio Desktop; R (4.2.2)", True), ("R (4.2.2 linux)", False)])
def test_a_user_agent_of_the_person_s_own_stays(home, own, stays):
    has(home / ".Rprofile", f'options(HTTPUserAgent = "{own}")\n')

    assert (said_by_r(home, AGENT) == own) is stays


def test_programs_that_r_downloads_with_get_the_user_agent_once(home):
    has(home / ".Rprofile", 'options(download.file.method = "curl", download.file.extra = "--location")\n')
    extra = 'cat(getOption("download.file.extra"), sep = "\\n")'

    own, added = said_by_r(home, extra).splitlines()
    has(home / ".Rprofile", "options(download.file.method = 'curl', download.file.extra = '--user-agent mine')\n")

    assert (own, added[:16]) == ("--location", "--user-agent 'R/")
    assert said_by_r(home, extra) == "--user-agent mine"


# --- the lines for a person's own profile -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "before", "after"),
    [
        (False, "https://cran.example.com", CRAN),
        (False, f"{PM}/prod/latest", f"{HERE}/prod/latest"),
        (False, f"{HERE}/prod/latest", f"{HERE}/prod/latest"),
        (True, f"{PM}/prod/latest", CRAN),
    ],
)
def test_the_lines_keep_a_repository_below_an_upstream_unless_another_is_named(home, named, before, after):
    lines = profile_lines(UPSTREAMS, ORIGIN, CRAN, is_named=named)
    has(home / ".Rprofile", "\n".join([f'options(repos = c(CRAN = "{before}"))', *lines, ""]))
    program = f'{REPOS}; cat(Sys.getenv(c("PKG_CRAN_MIRROR", "RENV_CONFIG_REPOS_OVERRIDE")))'

    said = output_of_r(home, program, plain_environment(home))

    assert said.splitlines() == [f"CRAN {after}", f"{after} {after}"]


def test_the_lines_do_as_the_profile_of_exec_does():
    shared = PROFILE.read_text().split("  # --- also in")[1].splitlines()[1:]

    assert profile_lines(UPSTREAMS, ORIGIN, CRAN, is_named=False)[-len(shared) :] == tuple(shared)
