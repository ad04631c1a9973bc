"""Where tokens are kept: environment, file, .netrc.

To change where a token is looked for, open this file. A new source is one class here with `name` and `find`, and one
word in `source_named` (and in `STANDARD_CHAIN` when it is asked unasked).

Each source answers with what it found, with why it has nothing, or with why it is broken; it never raises for what a
person, a file or a clock can cause, and never prints a value.
"""

from __future__ import annotations

import asyncio
import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ppmproxy.credentials import (
    STANDARD_CHAIN,
    Credential,
    CredentialSource,
    Finding,
    NothingFound,
    Search,
    SourceBroken,
    Use,
    Wanted,
    token_problem,
)
from ppmproxy.settings import CredentialSpec, Upstream

FILE_TIMEOUT = 5.0  # seconds; a named pipe or a dead network drive must not hold requests up
LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sources look at besides their own settings."""

    environ: Mapping[str, str]
    home: Path


@dataclass(frozen=True, slots=True)
class EnvSource:
    """An environment variable that holds the token."""

    variable: str
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"environment variable {self.variable}"

    async def find(self, _wanted: Wanted) -> Finding:
        value = self.environ.get(self.variable)
        if value is None:
            return NothingFound(self.name, "not set")
        return _checked(value.strip(), self.name)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that holds the token on its one line."""

    path: Path
    label: str = ""

    @property
    def name(self) -> str:
        return f"{self.label} {self.path}".strip() if self.label else f"file {self.path}"

    async def find(self, _wanted: Wanted) -> Finding:
        try:
            text = await _text_of(self.path)
        except _UnreadableError as error:
            return SourceBroken(self.name, str(error))
        return _checked(text.strip(), self.name)


@dataclass(frozen=True, slots=True)
class NetrcSource:
    """The entry for the upstream's host, or the default entry, of a .netrc file (``$NETRC`` names another)."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    async def find(self, wanted: Wanted) -> Finding:
        if not await asyncio.to_thread(self.path.exists):
            return NothingFound(self.name, "no such file")
        try:
            await _text_of(self.path)  # within the time limit, and text at all
            entries = await asyncio.to_thread(netrc.netrc, str(self.path))
        except _UnreadableError as error:
            return SourceBroken(self.name, str(error))
        except netrc.NetrcParseError as error:
            return SourceBroken(self.name, f"line {error.lineno} cannot be read as netrc")
        host = urlsplit(wanted.url).hostname or ""
        entry = entries.authenticators(host)
        if entry is None:
            return NothingFound(self.name, f"no entry for {host}")
        login, _account, password = entry
        return _checked(password or "", f"{self.name}, entry for {host}", login or "__token__")


@dataclass(frozen=True, slots=True)
class NoSource:
    """``from = "none"``: the search ends here."""

    name: str = "none"

    async def find(self, _wanted: Wanted) -> Finding:
        return NothingFound(self.name, "the settings say so")


class _UnreadableError(Exception):
    """A file that cannot be read, and why."""


async def _text_of(path: Path) -> str:
    try:
        return await asyncio.wait_for(asyncio.to_thread(_read, path), FILE_TIMEOUT)
    except asyncio.TimeoutError:
        raise _UnreadableError(f"reading took more than {FILE_TIMEOUT:g} s") from None
    except OSError as error:
        raise _UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise _UnreadableError("is not text") from None


def _read(path: Path) -> str:
    # Not blocking on a named pipe without a writer: a thread stuck in open() could not even be ended with the process.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_FILE).decode()


def _checked(token: str, source: str, user: str = "__token__") -> Finding:
    problem = token_problem(token)
    if problem:
        return SourceBroken(source, f"the value {problem}")
    return Credential.of_token(token, source, user)


# --- chains ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Link:
    """A source with what it may be asked for."""

    source: CredentialSource
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    ends_search: bool = False

    def answers(self, wanted: Wanted) -> bool:
        fits_use = self.use is Use.ANY or self.use is wanted.use
        return fits_use and (not self.repos or wanted.repo in self.repos)


def source_named(word: str, around: Surroundings) -> CredentialSource | None:
    """A source of the standard chain by its word; None when it does not apply here."""
    environ, home = around.environ, around.home
    makers: dict[str, Callable[[], CredentialSource | None]] = {
        "PPMPROXY_TOKEN": lambda: EnvSource("PPMPROXY_TOKEN", environ),
        "PPMPROXY_TOKEN_FILE": lambda: _file_of_variable("PPMPROXY_TOKEN_FILE", around),
        "netrc": lambda: NetrcSource(Path(environ.get("NETRC") or home / ".netrc").expanduser()),
    }
    return makers[word]()


def _file_of_variable(variable: str, around: Surroundings) -> CredentialSource | None:
    named = around.environ.get(variable)
    return FileSource(_expanded(named, around.home), f"{variable}:") if named else None


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else Path(path)


def _of_spec(spec: CredentialSpec, around: Surroundings) -> CredentialSource:
    makers: dict[str, Callable[[], CredentialSource]] = {
        "env": lambda: EnvSource(spec.variable or "PPMPROXY_TOKEN", around.environ),
        "file": lambda: FileSource(spec.path or around.home / ".config/ppmproxy/token"),
        "netrc": lambda: NetrcSource(
            spec.path or Path(around.environ.get("NETRC") or around.home / ".netrc").expanduser()
        ),
        "none": NoSource,
    }
    return makers[spec.source]()


def _links(upstream: Upstream, around: Surroundings) -> list[_Link]:
    if not upstream.configured:
        return []  # a token must never reach the public default
    if upstream.credentials is None:
        sources = (source_named(word, around) for word in STANDARD_CHAIN)
        return [_Link(source) for source in sources if source is not None]
    return [
        _Link(_of_spec(spec, around), spec.use, spec.repos, ends_search=spec.source == "none")
        for spec in upstream.credentials
    ]


class CredentialChain:
    """The sources of one upstream, asked in their order; one look-up at a time for each purpose, shared by all who wait."""

    def __init__(self, links: Sequence[_Link], found: Callable[[Credential], None]) -> None:
        """`found` hears of every credential before anyone else does: to have it masked."""
        self._links = tuple(links)
        self._found = found
        self._running: dict[Wanted, asyncio.Task[Search]] = {}

    @classmethod
    def of(cls, upstream: Upstream, around: Surroundings, found: Callable[[Credential], None]) -> CredentialChain:
        """The chain that the settings of an upstream describe."""
        return cls(_links(upstream, around), found)

    async def find(self, wanted: Wanted) -> Search:
        """The first credential that any source has for this purpose, and what the sources before it said."""
        task = self._running.get(wanted)
        if task is None:
            task = asyncio.create_task(self._search(wanted))
            self._running[wanted] = task
            task.add_done_callback(lambda _: self._running.pop(wanted, None))
        return await asyncio.shield(task)

    async def _search(self, wanted: Wanted) -> Search:
        passed_over: list[NothingFound | SourceBroken] = []
        for link in self._links:
            if not link.answers(wanted):
                continue
            said = await link.source.find(wanted)
            if isinstance(said, Credential):
                self._found(said)
                return Search(said, tuple(passed_over))
            passed_over.append(said)
            if link.ends_search:
                break
        return Search(None, tuple(passed_over))
