"""Checks of the clients' own settings: which of them bypass or override the proxy, and the fix for each.

pip asks all its indexes and takes the highest version, so a second index may win. uv, Poetry, PDM and pipenv ask one
index after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from urllib.parse import urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.cli.doctor.checks import CheckResult, failed, ok, warning
from ppmproxy.clients.index_settings import IndexSetting, Role, origin_shown, settings_in_force
from ppmproxy.clients.index_url import is_index_url
from ppmproxy.clients.leftovers import KEYRING_OFF
from ppmproxy.clients.lock_urls import listening_origins, proxy_origins
from ppmproxy.clients.r_indexes import R_VARIABLES
from ppmproxy.clients.r_profile import PROFILE
from ppmproxy.config.local_address import LOOPBACK_HOSTS
from ppmproxy.config.model import Settings

_OF_BOTH = ("pip", "uv", "PDM", "R")  # configured for the user or the project, which goes before
_BY_VARIABLE = ("renv", "pak")  # have no file that `configure` writes
_PYTHON = ("pip", "uv", "PDM", "Poetry", "pipenv")
_INDEX_ROLES = {Role.INDEX, Role.EXTRA, Role.EXPLICIT}


@dataclass(frozen=True, slots=True)
class KnownOrigins:
    """The origins of the proxy and of the Package Managers behind it."""

    ours: frozenset[Origin]
    upstreams: frozenset[Origin]
    unheard: frozenset[Origin] = frozenset()  # of a proxy, at which the one that runs does not listen
    is_intercepted: bool = False  # whether requests for the Package Managers' own URLs come to the proxy

    @classmethod
    def of_settings(cls, settings: Settings, *, is_running: bool = False, is_intercepted: bool = False) -> KnownOrigins:
        """Those of these settings, in every spelling; `is_running`: with the addresses of the running daemon."""
        upstreams = frozenset(upstream.origin for upstream in settings.upstreams)
        ours, listening = frozenset(proxy_origins(settings)), frozenset(listening_origins(settings))
        unheard = ours - listening if is_running else frozenset()
        return cls(listening if is_running else ours, upstreams, unheard, is_intercepted)

    def leads_here(self, url: str) -> bool:
        """Whether requests for a URL come to the proxy; those for one with a variable in it may."""
        origin = _origin(url)
        return "${" in url or origin in self.ours or (self.is_intercepted and origin in self.upstreams)

    def leads_around(self, url: str) -> bool:
        """Whether a URL is a Package Manager's own, past the proxy."""
        return not self.is_intercepted and _origin(url) in self.upstreams


def client_checks(
    settings: Sequence[IndexSetting], netrc_hosts: Collection[str], known: KnownOrigins
) -> Iterator[CheckResult]:
    """One result for each fault, or one that there is none."""
    settings = settings_in_force(settings)
    yield from _or_ok(_second_indexes(settings, known), "second-index", "no client is told of a second index")
    yield from _or_ok(
        chain(_direct(settings, known), _not_read(settings)), "direct-index", "no client is pointed past the proxy"
    )
    yield from _or_ok(_insistent(settings, known), "uv-authenticate", "no index has uv insist on a password")
    yield from _or_ok(_overrules(settings, netrc_hosts), "credentials", "no .netrc or keyring overrules the proxy")
    yield from _or_ok(_no_cache(settings, known), "pip-cache", "pip keeps what comes from the proxy")
    yield from _client_proxy(settings, known)


def _or_ok(found: Iterator[CheckResult], check: str, what: str) -> Iterator[CheckResult]:
    faults = list(found)
    yield from faults or [ok(check, what)]


def _second_indexes(settings: Sequence[IndexSetting], known: KnownOrigins) -> Iterator[CheckResult]:
    for one in settings:
        if one.role is not Role.EXTRA or known.leads_here(one.value) or known.leads_around(one.value):
            continue  # `direct-index` reports one that is the Package Manager itself
        if _origin(one.value) in known.unheard:
            continue  # as above
        what = f"{one.where} names a second index, {origin_shown(one.value)}"
        fix = _removal(one)
        if one.client == "pip":
            yield failed("second-index", f"{what}: pip takes packages from there, whatever the proxy says", fix)
        else:
            yield warning("second-index", f"{what}: {one.client} may take packages from there", fix)


def _removal(one: IndexSetting) -> str:
    variable = one.where.removeprefix("environment variable ")
    if variable != one.where:
        return f"unset {variable}"
    return f"remove it from {one.where}, or have the Package Manager serve those packages"


def _direct(settings: Sequence[IndexSetting], known: KnownOrigins) -> Iterator[CheckResult]:
    for one in settings:
        what = f"{one.where} points {one.client} at {origin_shown(one.value)}"
        if one.role in _INDEX_ROLES and _origin(one.value) in known.unheard:
            yield failed("direct-index", f"{what}, where the running proxy does not listen", _pointing(one))
        elif one.role in _INDEX_ROLES and known.leads_around(one.value):
            yield failed("direct-index", f"{what} directly, not at the proxy", _without_bypass(one))
        elif _origin(one.value) in known.ours and _lacks_simple(one):
            path = urlsplit(one.value).path or "/"
            yield warning("direct-index", f"{what}{path}, which is no index: /simple/ is missing", _pointing(one))
        elif one.role is Role.INDEX and not known.leads_here(one.value):
            ours = [other for other in settings if other.client == one.client and known.leads_here(other.value)]
            is_left = ours if one.file else [other for other in ours if _file_of(other) == _file_of(one)]
            yield warning("direct-index", f"{what}, not at the proxy", _removal(one) if is_left else _replacing(one))


def _lacks_simple(one: IndexSetting) -> bool:
    """Whether a Python client's index is where no index is; a uv index of its own kind may be anywhere."""
    return one.role is Role.INDEX and one.client in _PYTHON and not is_index_url(one.value)


def _file_of(one: IndexSetting) -> str:
    return one.where.partition(", ")[0]


def _not_read(settings: Sequence[IndexSetting]) -> Iterator[CheckResult]:
    """Profiles of R that lead to the proxy, and are not read here."""
    for one in settings:
        if one.role is Role.NOT_READ:
            what = f"{one.client} reads {one.where} in this folder, and not {one.value}, which leads to the proxy"
            is_ours = one.value == str(PROFILE)  # of `exec` and `env`; only a .Renviron goes before them
            fix = "remove R_PROFILE_USER from .Renviron" if is_ours else "run commands by `ppmproxy exec -- …`"
            yield warning("direct-index", what, f"{fix}; or ppmproxy configure r{'' if is_ours else ' --project'}")


def _replacing(one: IndexSetting) -> str:
    """What to do about an index of another server."""
    fix = _pointing(one)
    return fix.replace("ppmproxy env", "ppmproxy env --r-repo cran") if one.client in _BY_VARIABLE else fix


def _without_bypass(one: IndexSetting) -> str:
    """What to do about an index that is the Package Manager itself; a file that others share can stay as it is."""
    is_shared = one.in_project or one.for_all or ", line " in one.where
    return f"run commands by `ppmproxy exec --intercept -- …`; or {_pointing(one)}" if is_shared else _pointing(one)


def _insistent(settings: Sequence[IndexSetting], known: KnownOrigins) -> Iterator[CheckResult]:
    for one in settings:
        if one.role is Role.AUTHENTICATE and (known.leads_here(one.value) or known.leads_around(one.value)):
            what = f"{one.where} has uv refuse to ask without a password, and the proxy has it"
            yield failed("uv-authenticate", what, _pointing(one))


def _pointing(one: IndexSetting) -> str:
    if one.where.startswith("environment variable "):
        return 'eval "$(ppmproxy env)"'
    if one.client in _BY_VARIABLE:
        file, _, name = one.where.rpartition(", ")
        return f"remove {name} from {file}" if name in R_VARIABLES else 'eval "$(ppmproxy env)"'
    if ", line " in one.where:
        return "remove that line, and run `ppmproxy configure pip`"
    command = f"ppmproxy configure {one.client.lower()}"
    if one.in_project and one.client in _OF_BOTH:
        return f"{command} --project"
    return f"{command} {one.flag}" if one.flag else command


def _overrules(settings: Sequence[IndexSetting], netrc_hosts: Collection[str]) -> Iterator[CheckResult]:
    for host in netrc_hosts:
        if host.lower() in (*LOOPBACK_HOSTS, "default"):
            what = f".netrc has an entry for {host}: clients send that password to the proxy, which drops it"
            yield warning("credentials", what, f"remove the entry for {host} from .netrc")
    for one in settings:
        if one.role is Role.KEYRING and one.value not in KEYRING_OFF:
            what = f"{one.where} has {one.client} look for a password of its own in the keyring"
            yield warning("credentials", what, _removal(one).partition(", or have")[0])


def _no_cache(settings: Sequence[IndexSetting], known: KnownOrigins) -> Iterator[CheckResult]:
    """Of pip's variables and files, a variable hides what the files say."""
    pip = [one for one in settings if one.client == "pip"]
    indexes, trusted = _in_force(pip, Role.INDEX), _in_force(pip, Role.TRUSTED)
    hosts = {one.value.lower() for one in trusted}
    for one in indexes:
        parts = urlsplit(one.value)
        if _origin(one.value) in known.ours and not hosts & _spellings(one.value):
            what = f"{one.where} leads to the proxy, and no trusted-host names {parts.hostname}: pip caches nothing"
            yield warning("pip-cache", what, "ppmproxy configure pip, or set PIP_TRUSTED_HOST=" + str(parts.hostname))


def _in_force(settings: Sequence[IndexSetting], role: Role) -> list[IndexSetting]:
    of_role = [one for one in settings if one.role is role]
    return [one for one in of_role if one.where.startswith("environment variable ")] or of_role


def _spellings(url: str) -> set[str]:
    origin = Origin.of(url)
    return {origin.host, f"{origin.host}:{origin.port}", f"[{origin.host}]", f"[{origin.host}]:{origin.port}"}


def _client_proxy(settings: Sequence[IndexSetting], known: KnownOrigins) -> Iterator[CheckResult]:
    for one in settings:
        if one.role is Role.PROXY and not known.is_intercepted:  # which sets PIP_PROXY itself, and spares localhost
            what = f"{one.where} has pip send everything through a forward proxy, localhost included"
            yield warning("proxy-variables", what, "remove it there, and set HTTPS_PROXY and NO_PROXY instead")


def _origin(url: str) -> Origin | None:
    try:
        return Origin.of(url)
    except ValueError:
        return None
