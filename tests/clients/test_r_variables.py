"""Claims about R's variables for `exec`, `env` and `exec --intercept`."""

from pathlib import Path

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import chosen_index
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.lock_urls import canonical_rewriting
from ppmproxy.clients.r_profile import PROFILE
from ppmproxy.clients.r_variables import intercepted_r_variables, r_variables
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

PM = "https://pm.example.com/rspm"
HERE = "http://127.0.0.1:7760"
ORIGIN = Origin("http", "127.0.0.1", 7760)
SETTINGS = Settings(upstreams=(Upstream(url=PM, configured=True),))
URLS = LocalUrls.of_settings(SETTINGS)
CRAN = chosen_index(SETTINGS, "cran", "latest")


def variables(r_index=None, *, with_profile=True, **environ):
    environment = Environment(environ, Path("/nowhere"), Path("/nowhere"))
    return r_variables(environment, URLS, ORIGIN, r_index, with_profile=with_profile)


def test_without_a_named_repository_only_those_below_an_upstream_are_moved():
    assert variables() == {
        "R_PROFILE_USER": str(PROFILE),
        "_PPMPROXY_R_PROFILE": "",
        "_PPMPROXY_R_CRAN": "",
        "_PPMPROXY_R_REAL": f"{PM}/",
        "_PPMPROXY_R_LOCAL": f"{HERE}/",
    }


def test_a_named_repository_is_that_of_r_renv_and_pak():
    found = variables(CRAN, RENV_CONFIG_REPOS_OVERRIDE=f"{PM}/other/latest")

    assert {name: found[name] for name in ("_PPMPROXY_R_CRAN", "RENV_CONFIG_REPOS_OVERRIDE", "PKG_CRAN_MIRROR")} == {
        "_PPMPROXY_R_CRAN": f"{HERE}/cran/latest",
        "RENV_CONFIG_REPOS_OVERRIDE": f"{HERE}/cran/latest",
        "PKG_CRAN_MIRROR": f"{HERE}/cran/latest",
    }


def test_the_profile_can_be_left_out():
    assert set(variables(CRAN, with_profile=False)) == {"RENV_CONFIG_REPOS_OVERRIDE", "PKG_CRAN_MIRROR"}


def test_intercepted_clients_get_the_real_url():
    found = intercepted_r_variables({}, ORIGIN, CRAN, canonical_rewriting(SETTINGS).of)

    assert found["_PPMPROXY_R_CRAN"] == found["RENV_CONFIG_REPOS_OVERRIDE"] == f"{PM}/cran/latest"
    assert found["PKG_CRAN_MIRROR"] == f"{PM}/cran/latest"
    assert found["_PPMPROXY_R_REAL"] == ""


def test_intercepted_clients_lose_the_local_urls_of_env():
    found = intercepted_r_variables(variables(CRAN), ORIGIN, None, canonical_rewriting(SETTINGS).of)

    assert HERE not in str(found)
    assert found["RENV_CONFIG_REPOS_OVERRIDE"] == f"{PM}/cran/latest"
