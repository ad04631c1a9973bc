"""Claims about the lines to paste: they are what `ppmproxy env` and `configure` set."""

import pytest

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import DEFAULT_R_REPO, DEFAULT_SNAPSHOT, Index
from ppmproxy.clients.variables import client_variables
from ppmproxy.config.model import DEFAULT_REPO, Upstream
from ppmproxy.server.admin.client_lines import client_lines, local_url

URL = "http://127.0.0.1:7760"
UPSTREAMS = [
    Upstream(url="https://pm.test", configured=True),
    Upstream("research", "https://pm.test/rspm", "/research", configured=True),
]


@pytest.mark.parametrize("upstream", UPSTREAMS, ids=lambda upstream: upstream.name)
def test_the_lines_name_the_index_that_env_names(upstream):
    index = Index(Origin("http", "127.0.0.1", 7760), upstream, DEFAULT_REPO, DEFAULT_SNAPSHOT)
    of_r = Index(index.origin, upstream, DEFAULT_R_REPO, DEFAULT_SNAPSHOT)
    variables = client_variables(index, of_r, {})
    lines = {one.client: one.lines for one in client_lines(URL, upstream)}

    for client, name in {"pip": "PIP_INDEX_URL", "uv": "UV_DEFAULT_INDEX", "PDM": "PDM_PYPI_URL"}.items():
        assert variables[name] in lines[client].replace('"', " ").split()
    assert lines["pip"].endswith(f"trusted-host {variables['PIP_TRUSTED_HOST']}")
    assert f'"{of_r.repo_url}"' in lines["R"]
    assert lines["Poetry"].split()[-1] == index.simple_url


@pytest.mark.parametrize(
    ("urls", "url"),
    [
        ((URL, "http://[::1]:7760"), URL),
        (("http://[::1]:7760", URL), URL),
        (("unix:/run/x.sock", "http://[::1]:7760"), "http://[::1]:7760"),
        (("unix:/run/x.sock",), ""),
        ((), ""),
    ],
)
def test_the_address_is_the_one_that_clients_write(urls, url):
    assert local_url(urls) == url
