"""The environment variables that point every client at the proxy, for `env` and `exec`.

Poetry has no variable for the index it installs from; `configure` is for it. R has a profile, see `r_profile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ppmproxy.clients.index_url import Index
from ppmproxy.clients.r_indexes import r_repository_variables
from ppmproxy.config.local_address import LOOPBACK_HOSTS

# urllib reads the lower-case name first, Rust's reqwest the upper-case one; libcurl knows both.
NO_PROXY_NAMES = ("NO_PROXY", "no_proxy")


def client_variables(index: Index, r_index: Index | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables and their values, on top of those in `environ`.

    Without `r_index` no variable of R is set. Lists are extended. `upload_variables` has those for uploads.
    """
    return {
        **_python(index, environ),
        **_r(r_index),
        **_no_proxy(environ, index.origin.host),
    }


def _python(index: Index, environ: Mapping[str, str]) -> dict[str, str]:
    url = index.simple_url
    return {
        "PIP_INDEX_URL": url,
        "PIP_TRUSTED_HOST": _with_words(environ.get("PIP_TRUSTED_HOST", ""), [index.origin.host], " "),  # or no cache
        "UV_DEFAULT_INDEX": url,
        "UV_INDEX_URL": url,  # before uv 0.4.23; Positron and reticulate read it too
        "PDM_PYPI_URL": url,
        "PIPENV_PYPI_MIRROR": url,  # in place of the public index in a Pipfile
        "PPM_URL": url,  # for a Pipfile with "${PPM_URL}", which keeps it and its lock file portable
    }


def _r(index: Index | None) -> dict[str, str]:
    if index is None:
        return {}
    return r_repository_variables(index.repo_url)


def _no_proxy(environ: Mapping[str, str], host: str) -> dict[str, str]:
    """Both spellings with our hosts added; one that is not set starts from the other's value, which it would hide."""
    upper, lower = (environ.get(name, "") for name in NO_PROXY_NAMES)
    hosts = [*LOOPBACK_HOSTS, *([] if host in LOOPBACK_HOSTS else [host])]
    return {
        name: existing if existing.strip() == "*" else _with_words(existing, hosts, ",")
        for name, existing in zip(NO_PROXY_NAMES, (upper or lower, lower or upper), strict=True)
    }


def _with_words(existing: str, words: list[str], separator: str) -> str:
    """A list with the missing words appended."""
    there = re.split(r"[\s,]+", existing)
    missing = [word for word in words if word not in there]
    kept = existing.rstrip(f" {separator}")
    return separator.join([kept, *missing] if kept else missing) if missing else existing
