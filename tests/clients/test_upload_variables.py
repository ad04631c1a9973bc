import pytest

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.upload_clients import UPLOAD_CLIENTS
from ppmproxy.clients.upload_variables import upload_variables
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

UPSTREAM = "https://pm.example.com/upload/pypi/internal"
LOCAL = "http://127.0.0.1:7760/upload/pypi/internal"
OTHER = "https://other.example.com/legacy/"
ON = LocalUrls.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com", uploads=True),)))
OFF = LocalUrls.of_settings(Settings(upstreams=(Upstream(url="https://pm.example.com"),)))
TWINE = {"TWINE_USERNAME", "TWINE_PASSWORD", "TWINE_NON_INTERACTIVE"}
ALL = {name for client in UPLOAD_CLIENTS for name in client.dummies}
READ_PYPIRC = {name for client in UPLOAD_CLIENTS if client.reads_pypirc for name in client.dummies}


@pytest.fixture
def home(tmp_path):
    return tmp_path


def variables(home, environ=(), urls=ON, command=()):
    return upload_variables(Environment(dict(environ), home=home, cwd=home, platform="linux"), urls, command)


def pypirc(home, **repositories):
    sections = "".join(f"[{name}]\nrepository = {url}\nusername = me\n" for name, url in repositories.items())
    (home / ".pypirc").write_text(f"[distutils]\nindex-servers = {' '.join(repositories)}\n{sections}")


def test_every_client_that_insists_on_credentials_gets_dummies_where_uploads_are_on(home):
    found = variables(home)

    assert found.keys() == ALL
    assert {
        *TWINE,
        *("FLIT_USERNAME", "FLIT_PASSWORD", "MATURIN_USERNAME", "MATURIN_PASSWORD"),
        *("HATCH_INDEX_USER", "HATCH_INDEX_AUTH", "PDM_PUBLISH_USERNAME", "PDM_PUBLISH_PASSWORD", "UV_PUBLISH_TOKEN"),
    } <= ALL
    assert variables(home, urls=OFF) == {}


@pytest.mark.parametrize("client", UPLOAD_CLIENTS, ids=lambda client: client.url)
def test_credentials_of_the_person_s_own_are_never_mixed_with_dummies(home, client):
    for name in client.credentials:
        found = variables(home, {name: "s3cret"})

        assert found.keys() == ALL - client.dummies.keys()
        assert "s3cret" not in str(found)


# --- another host -----------------------------------------------------------------------------------------------------


def test_where_there_is_a_pypirc_for_others_its_readers_get_nothing(home):
    pypirc(home, other=OTHER)

    assert variables(home).keys() == ALL - READ_PYPIRC


@pytest.mark.parametrize("url", [LOCAL, UPSTREAM])
def test_where_a_pypirc_has_a_repository_that_leads_here_it_is_named_instead(home, url):
    pypirc(home, other=OTHER, company=url)

    found = variables(home)

    assert found.keys() == ALL - READ_PYPIRC | {"TWINE_REPOSITORY", "MATURIN_REPOSITORY", "HATCH_INDEX_REPO"}
    assert found["TWINE_REPOSITORY"] == found["MATURIN_REPOSITORY"] == "company"
    assert found["HATCH_INDEX_REPO"] == url  # Hatch finds the section by its URL


def test_a_repository_that_a_variable_names_stays(home):
    pypirc(home, other=OTHER, company=LOCAL)

    assert not variables(home, {"TWINE_REPOSITORY": "other"}).keys() & {"TWINE_REPOSITORY", *TWINE}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.toml", f'publish-url = "{OTHER}"\n'),
        ("pyproject.toml", f'[[tool.uv.index]]\nname = "x"\nurl = "{OTHER}"\npublish-url = "{OTHER}"\n'),
        ("pyproject.toml", f'[[tool.uv.index]]\nname = "x"\nurl = "{OTHER}"\npublish-url = "{UPSTREAM}"\n'),
        ("pdm.toml", f'[repository.x]\nurl = "{OTHER}"\n'),
        (".config/hatch/config.toml", f'[publish.index.repos.x]\nurl = "{OTHER}"\n'),
    ],
)
def test_a_client_whose_own_file_names_another_host_gets_no_dummies(home, name, text):
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    prefix = {"pdm.toml": "PDM_", ".config/hatch/config.toml": "HATCH_"}.get(name, "UV_")

    assert variables(home).keys() == {one for one in ALL if not one.startswith(prefix)}


@pytest.mark.parametrize("client", UPLOAD_CLIENTS, ids=lambda client: client.url)
def test_a_variable_that_names_another_host_keeps_its_client_from_dummies(home, client):
    assert variables(home, {client.url: OTHER}).keys() == ALL - client.dummies.keys()


def test_a_command_that_names_another_host_gets_no_dummies(home):
    command = ["twine", "upload", f"--repository-url={OTHER}"]

    assert variables(home, command=command) == {}
    assert variables(home, command=[*command, LOCAL]).keys() == ALL


def test_an_upload_to_what_a_client_takes_by_default_gets_no_dummies(home):
    assert variables(home, command=["twine", "upload", "dist/x.whl"]) == {}
    assert variables(home, {"TWINE_REPOSITORY_URL": LOCAL}, command=["twine", "upload", "x.whl"]).keys() == TWINE
    assert variables(home, command=["make", "publish"]).keys() == ALL


# --- the Package Manager ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", UPLOAD_CLIENTS, ids=lambda client: client.url)
def test_a_variable_that_names_the_package_manager_leads_here_even_beside_a_pypirc(home, client):
    pypirc(home, other=OTHER)

    found = variables(home, {client.url: UPSTREAM})

    assert found[client.url] == LOCAL
    assert found.items() >= client.dummies.items()


def test_the_one_url_for_uploads_of_uv_leads_here(home):
    (home / "uv.toml").write_text(f'publish-url = "{UPSTREAM}"\n')

    assert variables(home).items() >= {"UV_PUBLISH_URL": LOCAL, "UV_PUBLISH_TOKEN": "not-needed"}.items()


def test_a_repository_of_pdm_that_a_variable_names_leads_here(home):
    (home / "pdm.toml").write_text(f'[repository.company]\nurl = "{UPSTREAM}"\n')

    assert variables(home, {"PDM_PUBLISH_REPO": "company"})["PDM_PUBLISH_REPO"] == LOCAL


def test_while_the_package_manager_s_own_urls_are_answered_they_stay_as_they_are(home):
    upstream = Upstream(url="https://pm.example.com", uploads=True)
    intercepted = LocalUrls.intercepted(Settings(upstreams=(upstream,)))
    (home / "uv.toml").write_text(f'publish-url = "{UPSTREAM}"\n')

    assert variables(home, urls=intercepted).keys() == ALL
    assert variables(home, urls=intercepted, command=["twine", "upload", "--repository-url", OTHER]) == {}
    assert variables(home, {"TWINE_REPOSITORY_URL": UPSTREAM}, intercepted).keys() == ALL
