"""The environment variables for uploads: dummy credentials, without which clients send nothing.

The proxy drops them and adds the token. A variable goes before the client's own file and along to every host, so a
client gets none where its variables or files give credentials of the person's own, or name another host. Where there is
a ``.pypirc``, a variable names its repository that leads here instead, and ``-r`` may name another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.upload_repositories import (
    Repository,
    pypirc_file,
    repositories_in_pypirc,
    repositories_of_hatch,
    repositories_of_pdm,
    repositories_of_uv,
)
from ppmproxy.environment import Environment

_USER, _PASSWORD = "ppmproxy", "not-needed"
_URL = re.compile(r"https?://[^\s'\"]+", re.IGNORECASE)


def _no_file(_: Environment) -> Iterator[Repository]:
    return iter(())


@dataclass(frozen=True, slots=True)
class UploadClient:
    """A client's variables for uploads: the dummies, and what names a repository, by URL and by name ("": none)."""

    dummies: Mapping[str, str]
    credentials: tuple[str, ...]  # any of these gives credentials of the person's own
    url: str
    name: str = ""
    own_file: Callable[[Environment], Iterator[Repository]] = _no_file
    reads_pypirc: bool = False
    takes_url_as_name: bool = False  # whether `url` is overridden by `-r`, as a name is


UPLOAD_CLIENTS = (
    UploadClient(  # twine
        {"TWINE_USERNAME": _USER, "TWINE_PASSWORD": _PASSWORD, "TWINE_NON_INTERACTIVE": "1"},
        ("TWINE_USERNAME", "TWINE_PASSWORD"),
        "TWINE_REPOSITORY_URL",
        "TWINE_REPOSITORY",
        reads_pypirc=True,
    ),
    UploadClient(  # flit, which refuses FLIT_INDEX_URL together with a name
        {"FLIT_USERNAME": _USER, "FLIT_PASSWORD": _PASSWORD},
        ("FLIT_USERNAME", "FLIT_PASSWORD"),
        "FLIT_INDEX_URL",
        reads_pypirc=True,
    ),
    UploadClient(
        {"MATURIN_USERNAME": _USER, "MATURIN_PASSWORD": _PASSWORD},
        ("MATURIN_USERNAME", "MATURIN_PASSWORD", "MATURIN_PYPI_TOKEN"),
        "MATURIN_REPOSITORY_URL",
        "MATURIN_REPOSITORY",
        reads_pypirc=True,
    ),
    UploadClient(
        {"HATCH_INDEX_USER": _USER, "HATCH_INDEX_AUTH": _PASSWORD},
        ("HATCH_INDEX_USER", "HATCH_INDEX_AUTH"),
        "HATCH_INDEX_REPO",
        own_file=repositories_of_hatch,
        reads_pypirc=True,
        takes_url_as_name=True,
    ),
    UploadClient(
        {"PDM_PUBLISH_USERNAME": _USER, "PDM_PUBLISH_PASSWORD": _PASSWORD},
        ("PDM_PUBLISH_USERNAME", "PDM_PUBLISH_PASSWORD"),
        "PDM_PUBLISH_REPO",
        own_file=repositories_of_pdm,
    ),
    UploadClient(  # uv, which refuses a token together with a user name
        {"UV_PUBLISH_TOKEN": _PASSWORD},
        ("UV_PUBLISH_TOKEN", "UV_PUBLISH_USERNAME", "UV_PUBLISH_PASSWORD"),
        "UV_PUBLISH_URL",
        "UV_PUBLISH_INDEX",
        own_file=repositories_of_uv,
    ),
)


def upload_variables(environment: Environment, urls: LocalUrls, command: Sequence[str] = ()) -> dict[str, str]:
    """The variables, on top of the caller's, where uploads are on; `command` is what will be run with them."""
    if not any(upstream.uploads for upstream in urls.upstreams) or _names_another_host(command, urls):
        return {}
    found: dict[str, str] = {}
    for client in UPLOAD_CLIENTS:
        found |= _variables_of(client, environment, urls)
    return found


def _variables_of(client: UploadClient, environment: Environment, urls: LocalUrls) -> dict[str, str]:
    environ = environment.environ
    if any(environ.get(name) for name in client.credentials):
        return {}
    if given := environ.get(client.url):
        return _for_given(client, given, environment, urls)
    if environ.get(client.name):
        return {}
    if client.reads_pypirc and environment.exists(pypirc_file(environment)):
        return _named(client, environment, urls)
    found = list(client.own_file(environment))
    if len(found) == 1 and not found[0].name:  # what the client takes when nothing else is named
        return _for_given(client, found[0].url, environment, urls)
    return dict(client.dummies) if all(urls.is_local(one.url) for one in found) else {}


def _for_given(client: UploadClient, given: str, environment: Environment, urls: LocalUrls) -> dict[str, str]:
    """The variables where one repository is given, by its URL or its name in the client's own file."""
    by_name = {one.name: one.url for one in client.own_file(environment)}
    url = by_name.get(given, given)
    if not _leads_here(url, urls):
        return {}
    local = urls.local(url)
    return dict(client.dummies) | ({} if local == url else {client.url: local})


def _named(client: UploadClient, environment: Environment, urls: LocalUrls) -> dict[str, str]:
    """The variable for the repository in ``.pypirc`` that leads here; its section has the credentials."""
    ours = next((one for one in repositories_in_pypirc(environment) if _leads_here(one.url, urls)), None)
    if ours is None or any(client.own_file(environment)):
        return {}
    if client.takes_url_as_name:
        return {client.url: ours.url}
    return {client.name: ours.name} if client.name else {}


def _leads_here(url: str, urls: LocalUrls) -> bool:
    return urls.is_local(url) or urls.takes_uploads(url)


def _names_another_host(command: Sequence[str], urls: LocalUrls) -> bool:
    """Whether a command has URLs in it, and all of them lead elsewhere."""
    named = [url for word in command for url in _URL.findall(word)]
    return bool(named) and not any(map(urls.is_local, named))
