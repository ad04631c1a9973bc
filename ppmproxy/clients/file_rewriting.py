"""Rewriting of one project file between the proxy's URLs and the Package Manager's, where the file is complete.

Of a Python script only the header of PEP 723 is rewritten. A text that its own language cannot parse is left alone:
another program is just writing it, and would lose the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.clients.editing.apply import BrokenText, Language
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.index_url import local_origin
from ppmproxy.clients.lock_hashes import PROJECT_FILES, with_project_hash
from ppmproxy.clients.lock_urls import (
    Rewriting,
    canonical_rewriting,
    local_rewriting,
    proxy_origins,
    proxy_urls_in,
)
from ppmproxy.clients.project_files import REQUIREMENT_SUFFIXES
from ppmproxy.clients.trusted_hosts import trusted_hosts_of, with_trusted_host, without_trusted_hosts
from ppmproxy.config.model import Settings

_ERRORS = "surrogateescape"  # whatever the encoding, every byte comes back
_SCRIPT_HEADER = re.compile(r"^# /// script[ \t]*\r?\n(?:#(?:| .*)\r?\n)*?# ///[ \t]*\r?$", re.MULTILINE)  # PEP 723
_JSON_NAMES = ("Pipfile.lock", "renv.lock", "pkg.lock", "manifest.json")  # pkg.lock: pak
_TOML_NAMES = ("uv.lock", "poetry.lock", "pdm.lock", "pyproject.toml", "Pipfile")


@dataclass(frozen=True, slots=True)
class RewrittenFile:
    """The new content of a file, and how many URLs were rewritten."""

    data: bytes = field(repr=False)
    urls: int


@dataclass(frozen=True, slots=True)
class FileRewriting:
    """One direction: how URLs are rewritten, and the options of requirements files that go with them."""

    urls: Rewriting
    options: Callable[[str, str], str] = field(repr=False)  # takes the text before and after

    def of(self, path: Path, data: bytes) -> RewrittenFile:
        """The file rewritten; `BrokenText` when there is something to rewrite and the file is not whole."""
        text = data.decode("utf-8", _ERRORS)
        result, urls = text, 0
        for start, end in reversed(_spans(path, text)):
            part = text[start:end]
            urls += self.urls.count(part)
            result = result[:start] + self.urls.of(part) + result[end:]
        if path.suffix in REQUIREMENT_SUFFIXES:
            result = self.options(text, result)
        if urls:
            _check_whole(path.name, text)
        return RewrittenFile(result.encode("utf-8", _ERRORS), urls)


def canonical_files(settings: Settings) -> FileRewriting:
    """What makes files name the Package Manager."""
    origins = proxy_origins(settings)
    return FileRewriting(canonical_rewriting(settings), lambda _, text: without_trusted_hosts(text, origins))


def local_files(settings: Settings) -> FileRewriting:
    """What makes files name the proxy; `ConfigError` without a TCP address."""
    origin = local_origin(settings)

    def with_option(before: str, text: str) -> str:
        return text if text == before else with_trusted_host(text, origin)

    return FileRewriting(local_rewriting(settings), with_option)


def with_hash_of(project: bytes, path: Path, data: bytes, settings: Settings) -> bytes:
    """A lock file whose recorded hash is that of the project file, if it was that of the file with other URLs."""
    name = Path(PROJECT_FILES[path.name])
    texts = [rewriting.of(name, project).data for rewriting in (canonical_files(settings), local_files(settings))]
    decoded = [text.decode("utf-8", _ERRORS) for text in texts]
    result = with_project_hash(path.name, data.decode("utf-8", _ERRORS), project.decode("utf-8", _ERRORS), decoded)
    return result.encode("utf-8", _ERRORS)


def proxy_references(path: Path, data: bytes, settings: Settings) -> Iterator[tuple[int, str]]:
    """Where a file names the proxy: the line's number, from 1, and the URL or option."""
    text = data.decode("utf-8", _ERRORS)
    for start, end in _spans(path, text):
        before = text.count("\n", 0, start)
        yield from ((before + line, url) for line, url in proxy_urls_in(text[start:end], settings))
    if path.suffix in REQUIREMENT_SUFFIXES:
        yield from trusted_hosts_of(text, proxy_origins(settings))


def _spans(path: Path, text: str) -> list[tuple[int, int]]:
    """The parts of a file that belong to installers."""
    if path.suffix != ".py":
        return [(0, len(text))]
    return [match.span() for match in _SCRIPT_HEADER.finditer(text)]


def _check_whole(name: str, text: str) -> None:
    language = _language_of(name)
    try:
        if language is not None:
            language.tree(text.removeprefix("\ufeff"))
    except BrokenText as error:
        raise BrokenText(f"not {language.name if language else ''}: {error}", error.line) from error


def _language_of(name: str) -> Language | None:
    if name in _JSON_NAMES or name.endswith("lock.json"):
        return JSON
    is_toml = name in _TOML_NAMES or name.endswith(".py.lock") or re.fullmatch(r"pylock(\.[^.]+)?\.toml", name)
    return TOML if is_toml else None
