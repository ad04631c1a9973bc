"""R's profile: the variables that lead to one with the proxy's repositories, and the lines for a person's own.

R reads one user profile: the file in ``R_PROFILE_USER``, else ``.Rprofile`` in the current folder, else the one at home
(R's ``?Startup``). `PROFILE` is part of this installation and sources the person's own, so that nothing is written for
it and nothing is left behind. ``R_REPOSITORIES`` was tried and does not set repositories.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ppmproxy.auth.origin import Origin
from ppmproxy.clients.r_environ import r_home
from ppmproxy.config.model import Upstream
from ppmproxy.environment import Environment

PROFILE = Path(__file__).with_name("ppmproxy_profile.R")
OWN_PROFILE = "_PPMPROXY_R_PROFILE"  # the person's R_PROFILE_USER; empty when it was not set
_SHARED_PART = "  # --- also in "  # how the line begins after which a person's profile has the same


def r_profile_variables(
    environ: Mapping[str, str], upstreams: tuple[Upstream, ...], origin: Origin, cran_url: str
) -> dict[str, str]:
    """The variables that have R take its repositories below `upstreams` from the proxy at `origin`.

    The repository CRAN is `cran_url`, unless that is empty.
    """
    prefixes = _prefixes(upstreams, origin)
    return {
        "R_PROFILE_USER": str(PROFILE),
        OWN_PROFILE: own_profile(environ),
        "_PPMPROXY_R_CRAN": cran_url,
        "_PPMPROXY_R_REAL": " ".join(prefixes),
        "_PPMPROXY_R_LOCAL": " ".join(prefixes.values()),
    }


def own_profile(environ: Mapping[str, str]) -> str:
    """The profile that a person has chosen by R_PROFILE_USER; empty when none is."""
    if has_our_profile(environ):
        return environ.get(OWN_PROFILE, "")
    return environ.get("R_PROFILE_USER", "") or ("" if "R_PROFILE_USER" not in environ else os.devnull)


def has_our_profile(environ: Mapping[str, str]) -> bool:
    """Whether R reads the profile of this installation, or of another one."""
    return Path(environ.get("R_PROFILE_USER", "")).name == PROFILE.name


def user_profile(environment: Environment) -> Path:
    """The person's own profile: the one that they have chosen, or .Rprofile at home."""
    chosen = own_profile(environment.environ)
    if chosen and chosen != os.devnull:
        return environment.cwd / environment.expand(chosen)
    return r_home(environment) / ".Rprofile"


def profile_lines(upstreams: tuple[Upstream, ...], origin: Origin, cran_url: str, *, is_named: bool) -> tuple[str, ...]:
    """The lines for a person's profile. One below an upstream stays CRAN, unless another `is_named`."""
    prefixes = _prefixes(upstreams, origin)
    condition = "" if is_named else 'if (!any(leads_here(repos["CRAN"]), na.rm = TRUE)) '
    shared = PROFILE.read_text(encoding="utf-8").split(_SHARED_PART)[1].splitlines()[1:]
    return (
        "local({",
        "  chooses <- TRUE",
        "  choose <- function(repos) {",
        f'    {condition}repos["CRAN"] <- "{cran_url}"',
        "    repos",
        "  }",
        f"  real <- {_vector(prefixes)}",
        f"  here <- {_vector(prefixes.values())}",
        '  spared <- Sys.getenv("no_proxy", Sys.getenv("NO_PROXY"))',
        f'  spared <- c(spared[nzchar(spared)], "localhost", "{origin.host}")',
        '  Sys.setenv(no_proxy = paste(spared, collapse = ","))',
        *shared,
    )


def _prefixes(upstreams: tuple[Upstream, ...], origin: Origin) -> dict[str, str]:
    """How the URLs of each upstream begin, and those of the proxy in their place."""
    return {f"{one.url}/": f"{origin}{one.mount_prefix}/" for one in upstreams}


def _vector(texts: Iterable[str]) -> str:
    """A character vector in R."""
    quoted = ('"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"')) for text in texts)
    return f"c({', '.join(quoted)})"
