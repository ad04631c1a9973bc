import pytest

from ppmproxy.clients.upload_repositories import (
    Repository,
    repositories_in_pypirc,
    repositories_of_hatch,
    repositories_of_pdm,
    repositories_of_uv,
)
from ppmproxy.environment import Environment

PYPIRC = """\
[distutils]
index-servers =
    company
    pypi

[company]
repository = https://pm.example.com/upload/pypi/internal
username = me

[pypi]
username = __token__

[unlisted]
repository: https://other.example.com/legacy/
"""


@pytest.fixture
def here(tmp_path):
    """Somebody at home in their project."""
    return Environment({}, home=tmp_path, cwd=tmp_path, platform="linux")


def has(here, name, text):
    path = here.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_listed_section_of_pypirc_is_a_repository_with_a_url_or_without(here):
    has(here, ".pypirc", PYPIRC)

    assert list(repositories_in_pypirc(here)) == [
        Repository("company", "https://pm.example.com/upload/pypi/internal"),
        Repository("pypi", ""),
    ]


@pytest.mark.parametrize("text", ["", "[", "no section = 1", "[distutils]\nindex-servers = gone\n"])
def test_a_pypirc_without_sections_names_no_repository(here, text):
    has(here, ".pypirc", text)

    assert list(repositories_in_pypirc(here)) == []


def test_uv_has_a_url_for_uploads_of_its_own_and_one_for_each_index(here):
    has(here, "pyproject.toml", '[[tool.uv.index]]\nname = "a"\nurl = "http://x/"\npublish-url = "http://x/up"\n')
    has(here, ".config/uv/uv.toml", 'publish-url = "http://y/up"\n')

    assert list(repositories_of_uv(here)) == [Repository("a", "http://x/up"), Repository("", "http://y/up")]


def test_pdm_has_repositories_in_the_user_s_settings_and_the_project_s(here):
    has(here, ".config/pdm/config.toml", '[repository.a]\nurl = "http://x/"\n[repository.pypi]\nusername = "me"\n')
    has(here, "pdm.toml", '[repository]\nb.url = "http://y/"\n')

    assert list(repositories_of_pdm(here)) == [Repository("a", "http://x/"), Repository("b", "http://y/")]


def test_hatch_has_repositories_as_urls_and_as_tables(here):
    has(here, ".config/hatch/config.toml", '[publish.index.repos]\na = "http://x/"\nb.url = "http://y/"\nc = 1\n')

    assert list(repositories_of_hatch(here)) == [Repository("a", "http://x/"), Repository("b", "http://y/")]
