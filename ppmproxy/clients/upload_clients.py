"""The clients that upload, and the dummy credentials that each gets, without which it sends nothing.

The proxy drops them and adds the token. A variable goes before the client's own file and along to every host, so a
client gets none where its variables or files give credentials of the person's own or name another host, and where the
command names another host, or none. Where there is a ``.pypirc``, a variable names its repository that leads here
instead, and ``-r`` may name another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.upload_commands import is_plain_upload, names_another_host
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


def variables_of_clients(environment: Environment, urls: LocalUrls, command: Sequence[str]) -> dict[str, str]:
    """The variables, on top of the caller's; `command` is what will be run with them."""
    if names_another_host(command, urls):
        return {}
    run = _Run(environment, urls, command)
    return {name: value for client in UPLOAD_CLIENTS for name, value in _variables_of(client, run).items()}


@dataclass(frozen=True, slots=True)
class _Run:
    """Where the clients run, with which URL map, and by which command, if it is known."""

    environment: Environment
    urls: LocalUrls
    command: Sequence[str]

    def leads_here(self, url: str) -> bool:
        """Whether a URL is the proxy's, or one for uploads to an upstream that takes them."""
        return self.urls.is_local(url) or self.urls.takes_uploads(url)


def _variables_of(client: UploadClient, run: _Run) -> dict[str, str]:
    environ = run.environment.environ
    if any(environ.get(name) for name in client.credentials):
        return {}
    if given := environ.get(client.url):
        return _for_given(client, given, run)
    if environ.get(client.name):
        return {}
    if client.reads_pypirc and run.environment.exists(pypirc_file(run.environment)):
        return _named(client, run)
    found = list(client.own_file(run.environment))
    if len(found) == 1 and not found[0].name:  # what the client takes when nothing else is named
        return _for_given(client, found[0].url, run)
    if found:
        return dict(client.dummies) if all(run.urls.is_local(one.url) for one in found) else {}
    return {} if is_plain_upload(run.command, run.urls) else dict(client.dummies)


def _for_given(client: UploadClient, given: str, run: _Run) -> dict[str, str]:
    """The variables where one repository is given, by its URL or its name in the client's own file."""
    by_name = {one.name: one.url for one in client.own_file(run.environment)}
    url = by_name.get(given, given)
    if not run.leads_here(url):
        return {}
    local = run.urls.local(url)
    return dict(client.dummies) | ({} if local == url else {client.url: local})


def _named(client: UploadClient, run: _Run) -> dict[str, str]:
    """The variable for the repository in ``.pypirc`` that leads here; its section has the credentials."""
    ours = next((one for one in repositories_in_pypirc(run.environment) if run.leads_here(one.url)), None)
    if ours is None or any(client.own_file(run.environment)):
        return {}
    if client.takes_url_as_name:
        return {client.url: ours.url}
    return {client.name: ours.name} if client.name else {}
