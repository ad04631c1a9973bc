"""R's variables for `exec` and `env`: its profile, and the repositories of renv and pak."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.index_url import Index
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.r_indexes import R_VARIABLES, r_repository_variables, renv_variables
from ppmproxy.clients.r_profile import r_profile_variables
from ppmproxy.environment import Environment


def r_variables(
    environment: Environment, urls: LocalUrls, origin: Origin, r_index: Index | None, *, with_profile: bool = True
) -> dict[str, str]:
    """The variables; without `r_index`, R's repositories below an upstream come from the proxy, and no other does."""
    cran_url = r_index.repo_url if r_index else ""
    profile = r_profile_variables(environment.environ, urls.upstreams, origin, cran_url) if with_profile else {}
    return profile | (r_repository_variables(cran_url) if r_index else renv_variables(environment, urls))


def intercepted_r_variables(
    environ: Mapping[str, str], origin: Origin, r_index: Index | None, canonical: Callable[[str], str]
) -> dict[str, str]:
    """The variables for `exec --intercept`, which name the Package Manager's real URLs."""
    if r_index:
        repositories = r_repository_variables(r_index.real_repo_url)
    else:
        repositories = {name: canonical(environ[name]) for name in R_VARIABLES if environ.get(name)}
    return r_profile_variables(environ, (), origin, r_index.real_repo_url if r_index else "") | repositories
