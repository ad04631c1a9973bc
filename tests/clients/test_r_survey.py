"""Claims about the repositories that R uses in a folder, with what ppmproxy's part of a profile makes of them."""

import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.editing.block import BEGIN, END
from ppmproxy.clients.index_settings import Role
from ppmproxy.clients.r_profile import profile_lines, r_profile_variables
from ppmproxy.clients.survey import survey
from ppmproxy.config.model import Upstream
from ppmproxy.environment import Environment

PM = "https://pm.example.com/rspm"
HERE = "http://127.0.0.1:7760"
ORIGIN = Origin("http", "127.0.0.1", 7760)
UPSTREAMS = (Upstream(url=PM, configured=True),)
OTHER = "https://cran.example.com"
LOCK = f'{{"R": {{"Repositories": [{{"Name": "CRAN", "URL": "{PM}/prod/latest"}}]}}}}'


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home/project").mkdir(parents=True)
    return tmp_path / "home"


def sets(url, name="CRAN"):
    return f'options(repos = c({name} = "{url}"))\n'


def block():
    lines = profile_lines(UPSTREAMS, ORIGIN, f"{HERE}/cran/latest", is_named=False)
    return "\n".join([BEGIN, *lines, END, ""])


def of_env(cran_url=""):
    return r_profile_variables({}, UPSTREAMS, ORIGIN, cran_url)


def found(home, **environ):
    return [one for one in survey(Environment(environ, home, home / "project")).settings if one.client in ("R", "renv")]


def urls(home, **environ):
    return [one.value for one in found(home, **environ)]


# --- which profile ----------------------------------------------------------------------------------------------------


def test_the_profile_of_the_folder_is_read_in_place_of_the_one_at_home(home):
    (home / ".Rprofile").write_text(sets("https://home.example.com"))
    assert urls(home) == ["https://home.example.com"]

    (home / "project/.Rprofile").write_text(sets("https://project.example.com"))
    assert [(one.value, one.in_project) for one in found(home)] == [("https://project.example.com", True)]

    (home / "my.R").write_text(sets("https://mine.example.com"))
    assert urls(home, R_PROFILE_USER=str(home / "my.R")) == ["https://mine.example.com"]
    assert urls(home, R_PROFILE_USER="") == []


def test_one_at_home_that_the_folder_s_sources_is_read_before_it(home):
    (home / ".Rprofile").write_text(sets("https://home.example.com"))
    (home / "project/.Rprofile").write_text('source("~/.Rprofile")\n' + sets("https://project.example.com"))

    assert urls(home) == ["https://home.example.com", "https://project.example.com"]


def test_one_at_home_with_our_lines_that_is_not_read_here_is_found(home):
    (home / ".Rprofile").write_text(block())
    (home / "project/.Rprofile").write_text('source("renv/activate.R")\n')

    [one] = found(home)

    assert (one.role, one.where) == (Role.NOT_READ, str(home / "project/.Rprofile"))
    assert urls(home, **of_env()) == []


def test_a_profile_whose_markers_are_broken_is_reported(home):
    (home / ".Rprofile").write_text(f"{BEGIN}\n")

    [broken] = survey(Environment({}, home, home / "project")).unreadable

    assert "not R: the markers" in broken.what


# --- .Renviron --------------------------------------------------------------------------------------------------------


def test_variables_of_a_renviron_go_before_those_of_the_process(home):
    (home / ".Renviron").write_text(f"# mine\nRENV_CONFIG_REPOS_OVERRIDE = '{PM}/prod/latest'\n")

    [one] = found(home, RENV_CONFIG_REPOS_OVERRIDE=f"{HERE}/cran/latest")

    assert (one.value, one.where) == (f"{PM}/prod/latest", f"{home}/.Renviron, RENV_CONFIG_REPOS_OVERRIDE")


def test_the_renviron_of_the_folder_is_read_in_place_of_the_one_at_home(home):
    (home / ".Renviron").write_text(f"RENV_CONFIG_REPOS_OVERRIDE={OTHER}\n")
    (home / "project/.Renviron").write_text("X=1\n")

    assert urls(home) == []
    assert urls(home, R_ENVIRON_USER="~/.Renviron") == [OTHER]
    assert urls(home, R_ENVIRON_USER="") == []


def test_a_profile_that_a_renviron_names_goes_before_the_one_of_exec(home):
    (home / ".Renviron").write_text("R_PROFILE_USER=~/my.R\n")
    (home / "my.R").write_text(sets(f"{PM}/prod/latest"))

    assert [(one.role, one.value) for one in found(home, **of_env())] == [
        (Role.INDEX, f"{PM}/prod/latest"),
        (Role.NOT_READ, of_env()["R_PROFILE_USER"]),
    ]


# --- what our part makes of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", [f"{HERE}/cran/latest"]),
        (sets(OTHER), [f"{HERE}/cran/latest"]),
        (sets(f"{PM}/prod/latest"), [f"{HERE}/prod/latest"]),
        (sets(f"{PM}/own/latest", "own"), [f"{HERE}/own/latest"]),
    ],
)
def test_the_lines_in_a_profile_replace_what_comes_before_them(home, before, expected):
    (home / ".Rprofile").write_text(before + block())

    assert urls(home) == expected


def test_what_comes_after_the_lines_is_left_as_it_is(home):
    (home / ".Rprofile").write_text(block() + sets(f"{PM}/prod/latest"))

    ours, after = found(home)

    assert (ours.value, after.value) == (f"{HERE}/cran/latest", f"{PM}/prod/latest")
    assert after.where.endswith(f"CRAN in line {len(block().splitlines()) + 1}")


def test_another_repository_next_to_ours_is_a_further_one(home):
    (home / ".Rprofile").write_text(sets(OTHER, "own") + block())

    assert [(one.value, one.role) for one in found(home)] == [
        (OTHER, Role.EXTRA),
        (f"{HERE}/cran/latest", Role.INDEX),
    ]


def test_under_env_repositories_below_an_upstream_lead_here(home):
    (home / ".Rprofile").write_text(sets(f"{PM}/prod/latest") + sets(OTHER, "own"))

    assert urls(home, **of_env()) == [f"{HERE}/prod/latest", OTHER]
    assert urls(home, **of_env(f"{HERE}/cran/latest")) == [f"{HERE}/prod/latest", OTHER]


# --- renv.lock --------------------------------------------------------------------------------------------------------


def test_the_repositories_of_a_lock_are_those_of_renv(home):
    (home / "project/renv.lock").write_text(LOCK)

    [one] = found(home)

    assert (one.client, one.value, one.in_project) == ("renv", f"{PM}/prod/latest", True)


def test_a_lock_is_not_asked_where_something_else_decides(home):
    (home / "project/renv.lock").write_text(LOCK)

    assert urls(home, RENV_CONFIG_REPOS_OVERRIDE=f"{HERE}/cran/latest") == [f"{HERE}/cran/latest"]
    assert urls(home, **of_env()) == [f"{HERE}/prod/latest"]
    (home / ".Rprofile").write_text(block())
    assert urls(home) == [f"{HERE}/cran/latest"]
