"""Claims about `ppmproxy configure`: indexes that are the Package Manager, and what still leads past the proxy."""

import json

import pytest
from configured_files import written

from ppmproxy.errors import EXIT_OK

URL = "http://127.0.0.1:7760/pypi/latest/simple/"


# --- indexes that are the Package Manager itself ----------------------------------------------------------------------


UPSTREAM = "https://pm.example.com/rspm"


COMPANY = {
    "pip": (
        f"[global]\nindex-url = {UPSTREAM}/internal/2026-01-01/simple\nextra-index-url =\n"
        f"    {UPSTREAM}/pypi/latest/simple\n    https://other.example.com/simple\n"
        f"[install]\nindex-url = {UPSTREAM}/x/simple\n"
    ),
    "uv": (
        f'[[tool.uv.index]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple/"\nexplicit = true\n'
        f'authenticate = "always"\n\n[tool.uv.sources]\nteam = {{ index = "company" }}\n'
    ),
    "poetry": (
        f'[[tool.poetry.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\n'
        'priority = "explicit"\n'
    ),
    "pdm": f'[[tool.pdm.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\nverify_ssl = true\n',
    "pipenv": (
        '[[source]]\nname = "pytorch"\nurl = "https://torch.example.org/whl"\n\n'
        f'[[source]]\nname = "company"\nurl = "{UPSTREAM}/internal/2026-01-01/simple"\nverify_ssl = true\n'
    ),
}


LOCAL = "http://127.0.0.1:7760"


def company_file(home, client):
    name = {"pip": ".config/pip/pip.conf", "pipenv": "Pipfile"}.get(client, "pyproject.toml")
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(COMPANY[client])
    return path


@pytest.mark.parametrize("client", COMPANY)
def test_every_entry_below_the_upstream_leads_here_and_keeps_all_else(person, home, client):
    path = company_file(home, client)
    project = () if client == "pip" else ("--project",)

    done = person.runs("configure", client, *project, PPMPROXY_UPSTREAM=UPSTREAM)
    text = path.read_text()

    assert done.code == EXIT_OK
    assert UPSTREAM not in text
    expected = COMPANY[client].replace(UPSTREAM, LOCAL).replace('"always"', '"never"').splitlines()
    assert [line for line in expected if line not in text.splitlines()] == []
    person.runs("configure", client, *project, "--undo", PPMPROXY_UPSTREAM=UPSTREAM)
    assert path.read_text() == COMPANY[client]


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("pipenv", f'[[source]]\nname = "company"\nurl = "{UPSTREAM}/internal/latest/simple"\nverify_ssl = true\n'),
        ("poetry", f'[[tool.poetry.source]]\nname = "company"\nurl = "{UPSTREAM}/internal/latest/simple"\n'),
        ("uv", f'[[tool.uv.index]]\nurl = "{UPSTREAM}/internal/latest/simple/"\ndefault = true\n'),
    ],
)
def test_an_entry_that_serves_all_packages_gets_no_rival(person, home, client, text):
    path = home / ("Pipfile" if client == "pipenv" else "pyproject.toml")
    path.write_text(text)

    person.runs("configure", client, "--project", PPMPROXY_UPSTREAM=UPSTREAM)

    assert path.read_text() == text.replace(UPSTREAM, LOCAL)


def test_a_repository_that_is_named_replaces_the_one_that_is_there(person, home):
    path = home / "pyproject.toml"
    path.write_text(f'[[tool.uv.index]]\nurl = "{UPSTREAM}/internal/latest/simple/"\ndefault = true\n')

    person.runs("configure", "uv", "--project", "--repo", "other", PPMPROXY_UPSTREAM=UPSTREAM)

    assert path.read_text() == f'[[tool.uv.index]]\nurl = "{LOCAL}/other/latest/simple/"\ndefault = true\n'


def test_a_variable_in_a_pipfile_stays(person, home):
    text = '[[source]]\nname = "ppm"\nurl = "${PPM_URL}"\nverify_ssl = true\n'
    (home / "Pipfile").write_text(text)

    said = person.runs("configure", "pipenv")

    assert said.out.endswith("says it already\n")
    assert (home / "Pipfile").read_text() == text


def test_a_source_that_is_no_public_index_keeps_its_url_and_ours_goes_first(person, home):
    text = '[[source]]\nname = "pytorch"\nurl = "https://torch.example.org/whl"\n'
    (home / "Pipfile").write_text(text)

    person.runs("configure", "pipenv")

    assert (home / "Pipfile").read_text().startswith(f'[[source]]\nurl = "{URL}"\n')
    assert (home / "Pipfile").read_text().endswith(text)


@pytest.mark.parametrize("uploads", ["true", "false"])
def test_the_url_for_uploads_leads_here_where_uploads_are_on(person, home, uploads):
    path = home / "uv.toml"
    path.write_text(f'publish-url = "{UPSTREAM}/upload/pypi/local"\n')

    person.runs("configure", "uv", "--project", PPMPROXY_UPSTREAM=UPSTREAM, PPMPROXY_UPLOADS=uploads)

    base = LOCAL if uploads == "true" else UPSTREAM
    assert path.read_text().startswith(f'publish-url = "{base}/upload/pypi/local"\n')


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("https://__token__:s3cret@pm.example.com/rspm/pypi/latest/simple", True),
        ("https://pm.example.com:443/rspm/pypi/latest/simple", True),
        ("https://PM.example.com/rspm/pypi/latest/simple", True),
        ("https://pm.example.com/rspm-other/pypi/latest/simple", False),
        ("http://pm.example.com/rspm/pypi/latest/simple", False),
    ],
)
def test_an_entry_below_the_upstream_is_known_in_every_spelling(person, home, url, leads_here):
    path = home / "pyproject.toml"
    path.write_text(f'[[tool.pdm.source]]\nname = "company"\nurl = "{url}"\n')

    person.runs("configure", "pdm", "--project", PPMPROXY_UPSTREAM=UPSTREAM)

    assert (f'url = "{LOCAL}/pypi/latest/simple"\n' in path.read_text()) is leads_here
    assert (url in path.read_text()) is not leads_here


# --- what still leads past the proxy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "text", "words"),
    [
        ("pip", "[install]\nindex-url = https://other.example.com/simple\n", "index-url in [install] points pip at"),
        ("pip", "[global]\nextra-index-url = https://other.example.com/simple\n", "names a second index"),
        ("uv", '[[index]]\nurl = "https://other.example.com/simple"\n', "names a second index"),
    ],
)
def test_configure_tells_what_of_this_client_it_leaves_and_how_to_mend_it(person, home, client, text, words):
    path = written(home, client, text.encode())

    said = person.runs("configure", client)

    assert said.code == EXIT_OK
    assert words in said.err
    assert f"fix: remove it from {path}" in said.err


def test_configure_of_a_client_without_faults_tells_none(person, home):
    assert "fix:" not in person.runs("configure", "uv").err


def test_configure_tells_of_a_project_whose_profile_r_reads_instead(person, home, monkeypatch):
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    (home / "project/.Rprofile").write_text('source("renv/activate.R")\n')

    said = person.runs("configure", "r")

    assert f"R reads {home}/project/.Rprofile in this folder, and not {home}/.Rprofile" in said.err
    assert "ppmproxy configure r --project" in said.err


def test_the_profile_that_a_renviron_names_is_the_one_that_configure_writes(person, home):
    (home / ".Renviron").write_text("R_PROFILE_USER=~/my.R\n")

    said = person.runs("configure", "r")

    assert said.out == f"wrote {home}/my.R\n"
    assert not (home / ".Rprofile").exists()
    assert "fix:" not in said.err


def test_configure_of_r_covers_the_repositories_of_a_renv_lock(person, home):
    lock = {"R": {"Repositories": [{"Name": "CRAN", "URL": f"{UPSTREAM}/prod/latest"}]}}
    (home / "renv.lock").write_text(json.dumps(lock))

    assert "fix:" not in person.runs("configure", "r", PPMPROXY_UPSTREAM=UPSTREAM).err


def test_configure_tells_of_a_variable_that_overrules_the_file(person, home):
    said = person.runs("configure", "pip", PIP_INDEX_URL="https://other.example.com/simple")

    assert "environment variable PIP_INDEX_URL points pip at https://other.example.com" in said.err
    assert 'fix: eval "$(ppmproxy env)"' in said.err
