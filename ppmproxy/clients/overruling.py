"""Clients' settings that override the variables of `exec --intercept`: with one, a client bypasses or distrusts it.

Measured: a forward proxy in uv.toml, .curlrc, .npmrc or git's configuration goes before ``HTTPS_PROXY``; certificates
in Poetry's and PDM's own configuration go before every variable. Nothing of a value is shown: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.clients.paths import poetry_folder
from ppmproxy.clients.toml_settings import text_in, tree_of
from ppmproxy.environment import Environment

if TYPE_CHECKING:
    from ppmproxy.clients.editing.edits import Tree

Keys = Iterator[str]

_UV_KEYS = ("https-proxy", "no-proxy")
_PDM_KEYS = ("ca_certs", "verify_ssl")
_CURL = re.compile(r"\s*(?:--?)?(proxy|x|cacert|capath)(?:[\s=:]|$)")
_NPM = re.compile(r"\s*((?:https-|http-)?proxy|noproxy)\s*=")
_GIT_SECTION = re.compile(r'\s*\[\s*(\w+)(?:\s+"[^"]*")?\s*\]')
_GIT_KEY = re.compile(r"\s*(proxy|sslVerify)\s*=", re.IGNORECASE)
_CURL_NAMES = {"x": "proxy"}


@dataclass(frozen=True, slots=True)
class OverrulingSetting:
    """A setting that goes before ours, and the client that heeds it."""

    client: str
    path: Path
    key: str

    def __str__(self) -> str:
        return f"{self.client} heeds {self.key} in {self.path}"


def overruling_settings(environment: Environment) -> list[OverrulingSetting]:
    """All of them, in the files that the clients would read here; what cannot be read is passed over."""
    return [
        OverrulingSetting(client, path, key)
        for client, path, keys_of in _files(environment)
        for key in dict.fromkeys(keys_of(text_in(path)))
    ]


def _files(environment: Environment) -> Iterator[tuple[str, Path, Callable[[str], Keys]]]:
    home, config, project = environment.home, environment.config_home(), environment.cwd
    for path in (config / "uv" / "uv.toml", environment.nearest("uv.toml")):
        if path is not None:
            yield "uv", path, _keys_of_uv
    if pyproject := environment.nearest("pyproject.toml"):
        yield "uv", pyproject, _keys_of_tool_uv
    yield "Poetry", poetry_folder(environment) / "config.toml", _keys_of_poetry
    for path in (config / "pdm" / "config.toml", project / "pdm.toml"):
        yield "PDM", path, _keys_of_pdm
    yield "curl", (environment.path_in("CURL_HOME") or home) / ".curlrc", _keys_of_curl
    for path in dict.fromkeys((home / ".npmrc", project / ".npmrc")):
        yield "npm", path, _keys_of_npm
    for path in (home / ".gitconfig", config / "git" / "config", project / ".git" / "config"):
        yield "git", path, _keys_of_git


def _tree_with(text: str, *keys: str) -> Tree:
    """The settings in a text that has one of these keys somewhere; none in any other, which is not parsed."""
    return tree_of(text) if any(key in text for key in keys) else {}


def _keys_of_uv(text: str) -> Keys:
    tree = _tree_with(text, *_UV_KEYS)
    return (key for key in _UV_KEYS if key in tree)


def _keys_of_tool_uv(text: str) -> Keys:
    tool = _tree_with(text, *_UV_KEYS).get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    return (f"tool.uv.{key}" for key in _UV_KEYS if isinstance(uv, dict) and key in uv)


def _keys_of_poetry(text: str) -> Keys:
    certificates = _tree_with(text, "certificates").get("certificates")
    for name, values in certificates.items() if isinstance(certificates, dict) else ():
        if isinstance(values, dict):
            yield from (f"certificates.{name}.{key}" for key in values if key in {"cert", "client-cert"})


def _keys_of_pdm(text: str) -> Keys:
    def within(tree: object, path: str) -> Keys:
        for key, value in tree.items() if isinstance(tree, dict) else ():
            if key in _PDM_KEYS:
                yield f"{path}{key}"
            yield from within(value, f"{path}{key}.")

    return within(_tree_with(text, *_PDM_KEYS), "")


def _keys_of_curl(text: str) -> Keys:
    found = (_CURL.match(line) for line in text.splitlines())
    return (_CURL_NAMES.get(match[1], match[1]) for match in found if match)


def _keys_of_npm(text: str) -> Keys:
    return (match[1] for line in text.splitlines() if (match := _NPM.match(line)))


def _keys_of_git(text: str) -> Keys:
    section = ""
    for line in text.splitlines():
        if match := _GIT_SECTION.match(line):
            section = match[1].lower()
        elif section == "http" and (match := _GIT_KEY.match(line)):
            yield f"http.{match[1].lower()}"
