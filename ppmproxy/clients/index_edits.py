"""The edits that point each client at the proxy: new entries, and those that are the Package Manager itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ppmproxy.clients.editing.edits import (
    ANY,
    AddWord,
    Edit,
    ReplaceValues,
    SetBlock,
    SetKey,
    Tree,
    UpsertEntry,
)
from ppmproxy.clients.index_url import Index, is_index_url
from ppmproxy.clients.local_urls import VARIABLE, LocalUrls
from ppmproxy.clients.r_profile import profile_lines

SOURCE_NAME = "ppm"
_PIP_INDEX_KEYS = ("index-url", "extra-index-url")
_UV_INDEX_PATHS = (("index-url",), ("extra-index-url", ANY), ("pip", "index-url"), ("pip", "extra-index-url", ANY))
_UV_UPLOAD_PATHS = (("publish-url",), ("index", ANY, "publish-url"))
_POETRY_PRIMARY = ("primary", "default")


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """The index to point a client at. Entries below an upstream keep their repository, unless one was named."""

    index: Index
    urls: LocalUrls
    is_named: bool = False

    def keeps(self, url: object) -> bool:
        """Whether the entry that serves all packages may stay as it is."""
        return not self.is_named and self.urls.is_local(url)

    def keeps_index(self, url: object) -> bool:
        """The same for an entry of a Python client, which needs an index there."""
        return self.keeps(url) and is_index_url(str(url))

    def local_values(self, *paths: tuple[str, ...]) -> Iterator[ReplaceValues]:
        """Edits that make each URL below an upstream the proxy's; name, priority and all else of its entry stay."""
        return (ReplaceValues(path, lambda url, _: self.urls.local(url)) for path in paths)

    def local_upload(self, url: str, _entry: Tree) -> str:
        """The proxy's URL for uploads to an upstream that takes them."""
        return self.urls.local(url) if self.urls.takes_uploads(url) else url


def pip_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """Edits of a pip.conf."""
    urls = choice.urls
    return (
        *(ReplaceValues((ANY, key, ANY), lambda words, _: urls.local_words(words)) for key in _PIP_INDEX_KEYS),
        SetKey(("global", "index-url"), choice.index.simple_url, keeps=choice.keeps_index),
        AddWord(("global", "trusted-host"), choice.index.origin.host),  # or pip caches nothing
    )


def uv_edits(choice: IndexChoice, *table: str) -> tuple[Edit, ...]:
    """Edits of uv's settings, which are in a table of a pyproject.toml or make up a uv.toml.

    Of several defaults uv takes the first. `authenticate = "always"` would fail: the proxy has the credentials.
    """
    indexes, urls = (*table, "index"), choice.urls

    def is_default(entry: Tree) -> bool:
        return entry.get("default") is True

    def authenticate(value: str, entry: Tree) -> str:
        return "never" if urls.is_local(entry.get("url")) else value

    return (
        *choice.local_values((*indexes, ANY, "url")),
        *choice.local_values(*((*table, *path) for path in _UV_INDEX_PATHS)),
        *(ReplaceValues((*table, *path), choice.local_upload) for path in _UV_UPLOAD_PATHS),
        UpsertEntry(
            indexes,
            (("url", choice.index.simple_url), ("default", True)),
            is_default,
            satisfied=lambda entry: is_default(entry) and choice.keeps_index(entry.get("url")),
        ),
        ReplaceValues((*indexes, ANY, "authenticate"), authenticate),
    )


def poetry_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """Edits of Poetry's sources in a pyproject.toml."""
    sources = ("tool", "poetry", "source")
    return (
        *choice.local_values((*sources, ANY, "url")),
        UpsertEntry(
            sources,
            (("name", SOURCE_NAME), ("url", choice.index.simple_url), ("priority", "primary")),
            lambda entry: entry.get("name") == SOURCE_NAME,
            satisfied=lambda entry: (
                choice.keeps_index(entry.get("url")) and entry.get("priority", "primary") in _POETRY_PRIMARY
            ),
        ),
    )


def pdm_user_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """Edits of PDM's own settings."""
    url = ("pypi", "url")
    return (*choice.local_values(url), SetKey(url, choice.index.simple_url, keeps=choice.keeps_index))


def pdm_project_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """Edits of PDM's sources in a pyproject.toml; one named "pypi" replaces the public index."""
    sources = ("tool", "pdm", "source")
    return (
        *choice.local_values((*sources, ANY, "url")),
        UpsertEntry(
            sources,
            (("name", "pypi"), ("url", choice.index.simple_url)),
            lambda entry: entry.get("name") == "pypi",
            satisfied=lambda entry: entry.get("name") == "pypi" and choice.keeps_index(entry.get("url")),
            besides=(("verify_ssl", True),),
        ),
    )


def pipenv_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """Edits of a Pipfile, whose first source serves all packages that name no other."""
    return (
        *choice.local_values(("source", ANY, "url")),
        UpsertEntry(
            ("source",),
            (("url", choice.index.simple_url),),
            _is_public_source,
            satisfied=lambda entry: VARIABLE in str(entry.get("url")) or choice.keeps_index(entry.get("url")),
            besides=(("verify_ssl", True), ("name", SOURCE_NAME)),
            goes_first=True,
        ),
    )


def _is_public_source(entry: Tree) -> bool:
    """Whether a source of a Pipfile is ours, or the public index that ours replaces."""
    return entry.get("name") in {SOURCE_NAME, "pypi"} or "://pypi." in str(entry.get("url"))


def r_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """The lines of an .Rprofile."""
    index = choice.index
    lines = profile_lines(choice.urls.upstreams, index.origin, index.repo_url, is_named=choice.is_named)
    return (SetBlock(lines),)


def positron_edits(choice: IndexChoice) -> tuple[Edit, ...]:
    """R packages only: for Python packages, Positron reads the settings of pip and uv."""
    repository = ("positron.r.packageManagerRepository",)
    return (
        *choice.local_values(repository),
        SetKey(("positron.r.defaultRepositories",), "auto"),  # with any other value the next one is ignored
        SetKey(repository, choice.index.repo_url, keeps=choice.keeps),
    )
