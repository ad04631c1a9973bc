"""The environment variables that send clients' https requests through `exec --intercept`, and make clients trust it.

Measured with 20 kinds of client: each finds its authorities by a variable of its own, so all of them name one bundle
(uv ``SSL_CERT_FILE``; pip up to 23.2 ``PIP_CERT``; requests, Poetry, twine ``REQUESTS_CA_BUNDLE``; curl and R
``CURL_CA_BUNDLE``; git ``GIT_SSL_CAINFO``; Node and npm two of their own; wget a settings file). wget reads the
lower-case names of forward proxies only. pip.conf's ``proxy`` yields to ``PIP_PROXY`` alone.

uv prepares ``proxy-for`` on indexes (its pull request 20790, unreleased): where that has come, `configure uv` may write
it, and the real URLs stay without a proxy for all of https.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.clients.index_settings import IndexSetting, Role

BUNDLE_VARIABLES = (
    "SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
)  # fmt: skip
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "PIP_PROXY")
NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

# A password from a keyring would be asked for, and dropped; some plug-ins open a browser for it.
_NO_KEYRING = {
    "PIP_KEYRING_PROVIDER": "disabled",
    "UV_KEYRING_PROVIDER": "disabled",
    "POETRY_KEYRING_ENABLED": "false",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
}
_INDEX_VARIABLES = (
    "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PDM_PYPI_URL", "PIPENV_PYPI_MIRROR", "PPM_URL",
)  # fmt: skip
_DEFAULT_INDEX = {"pip": ("PIP_INDEX_URL",), "uv": ("UV_DEFAULT_INDEX",), "PDM": ("PDM_PYPI_URL",)}


@dataclass(frozen=True, slots=True)
class Interception:
    """Where the CONNECT proxy of a run is, whom its clients trust, and for which hosts it answers."""

    proxy_url: str = field(repr=False)  # with the password of the run
    bundle: Path
    wgetrc: Path
    hosts: frozenset[str]  # in lower case, without brackets
    index_url: str  # the real one of the chosen repository


def is_intercepted(environ: Mapping[str, str]) -> bool:
    """Whether these variables, of a command within `exec`, are those of `--intercept`."""
    proxies = {environ.get(name, "") for name in PROXY_VARIABLES}
    return len(proxies) == 1 and "" not in proxies and "SYSTEM_WGETRC" in environ


def intercept_variables(
    interception: Interception, settings: Collection[IndexSetting], environ: Mapping[str, str], local: str = ""
) -> dict[str, str]:
    """The variables for a command; `settings` are those that clients have already.

    A client without an index, or with the proxy's own URL `local` for one, gets the real URL: what it writes into a
    shared file is what everybody can use.
    """
    others = (one for one in settings if one.role is Role.INDEX and not (local and one.value.startswith(local)))
    configured = {setting.client for setting in others}
    ours = [name for name in _INDEX_VARIABLES if local and environ.get(name, "").startswith(local)]
    indexes = {
        name: interception.index_url
        for client, names in _DEFAULT_INDEX.items()
        if client not in configured
        for name in names
    }
    return {
        **indexes,
        **dict.fromkeys(ours, interception.index_url),
        **dict.fromkeys(PROXY_VARIABLES, interception.proxy_url),
        **dict.fromkeys(NO_PROXY_VARIABLES, no_proxy_for(environ, interception.hosts)),
        **dict.fromkeys(BUNDLE_VARIABLES, str(interception.bundle)),
        "SYSTEM_WGETRC": str(interception.wgetrc),
        **_NO_KEYRING,
    }


def no_proxy_for(environ: Mapping[str, str], hosts: Collection[str]) -> str:
    """The hosts that are asked directly: those that the environment names, without what would hide an upstream."""
    words = [word for name in NO_PROXY_VARIABLES for word in re.split(r"[\s,]+", environ.get(name, "")) if word]
    kept = [word for word in words if not any(_bypasses(word, host) for host in hosts)]
    return ",".join(dict.fromkeys([*kept, *(name for name in LOCAL_NAMES if name not in hosts)]))


def _bypasses(word: str, host: str) -> bool:
    """Whether some client would ask a host directly because of an entry: old pip takes any end of a name for one."""
    if word == "*":
        return True
    plain = word.lower().removeprefix("*").lstrip(".")
    plain = plain if plain.startswith("[") or plain.count(":") > 1 else plain.partition(":")[0]
    plain = plain.strip("[]").rstrip(".")
    return bool(plain) and (host.endswith(plain) or _is_within(host, plain))


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
