import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.editing.ini import INI
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.files import CLIENTS
from ppmproxy.clients.index_url import Index
from ppmproxy.clients.system_files import system_file
from ppmproxy.config.model import Upstream

UPSTREAM = "https://pm.example.com/rspm"
INDEX = Index(Origin("http", "127.0.0.1", 7760), Upstream(url=UPSTREAM, mount="/m"), "pypi", "latest")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_for_all_users_names_the_package_manager_and_never_the_proxy(client, platform):
    file = system_file(client, INDEX, platform)

    assert (file is None) == (client in {"poetry", "pipenv"})
    if file:
        text = "\n".join(file.lines)
        assert f"{UPSTREAM}/pypi/latest" in text
        assert "127.0.0.1" not in text


@pytest.mark.parametrize(
    ("client", "platform", "where"),
    [
        ("pip", "linux", "/etc/pip.conf"),
        ("pip", "win32", r"C:\ProgramData\pip\pip.ini"),
        ("uv", "linux", "/etc/uv/uv.toml"),
        ("uv", "darwin", "/etc/uv/uv.toml"),
        ("pdm", "linux", "/etc/xdg/pdm/config.toml"),
    ],
)
def test_each_platform_has_a_place_of_its_own(client, platform, where):
    assert system_file(client, INDEX, platform).where == where


def test_the_lines_are_in_the_language_of_the_file():
    pip, uv, pdm = ("\n".join(system_file(client, INDEX, "linux").lines) for client in ("pip", "uv", "pdm"))
    url = f"{UPSTREAM}/pypi/latest/simple/"

    assert INI.tree(pip) == {"global": {"index-url": [url]}}
    assert TOML.tree(uv) == {"index": [{"url": url, "default": True}]}
    assert TOML.tree(pdm) == {"pypi": {"url": url}}
