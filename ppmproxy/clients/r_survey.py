"""R's repositories on this machine: those of the profile that R reads here, with what our part of it makes of them.

Our part is a block that `configure r` has written into a profile, or the profile that `exec` and `env` name.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppmproxy.clients.editing.apply import BrokenText
from ppmproxy.clients.editing.block import parts_of
from ppmproxy.clients.index_settings import VARIABLE, IndexSetting, Role
from ppmproxy.clients.r_environ import as_r_sees_it, renviron_file
from ppmproxy.clients.r_indexes import read_r_environment, read_r_profile
from ppmproxy.clients.r_profile import PROFILE, has_our_profile, own_profile, user_profile
from ppmproxy.environment import Environment

TextOf = Callable[[Path], str | None]
_AT_HOME = "~/.Rprofile"
_CRAN_NAMES = ("CRAN", "repos")
_URL = re.compile(r'"(https?://[^"]+)"')
_CRAN_LINE = re.compile(r'repos\["CRAN"\] <- "([^"]+)"')
_PREFIX_LINES = re.compile(r"^ *(?:real|here) <- c\(.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProfilePart:
    """What our part of a profile does: the URL of CRAN, if any, and how prefixes of URLs are replaced."""

    where: str = ""
    cran_url: str = ""
    prefixes: Mapping[str, str] = field(default_factory=dict)

    def applied_to(self, settings: Iterable[IndexSetting]) -> Iterator[IndexSetting]:
        """The settings after it."""
        moved = [replace(one, value=self._moved(one.value)) for one in settings]
        for one in moved:
            if not self.cran_url or self._is_local(one.value):
                yield one
            elif one.section not in _CRAN_NAMES:  # still asked, next to ours
                yield replace(one, role=Role.EXTRA)
        if self.cran_url and not any(one.role is Role.INDEX and self._is_local(one.value) for one in moved):
            yield IndexSetting("R", Role.INDEX, self.where, self.cran_url)

    def _moved(self, url: str) -> str:
        real = next((real for real in sorted(self.prefixes, key=len, reverse=True) if url.startswith(real)), None)
        return url if real is None else self.prefixes[real] + url.removeprefix(real)

    def _is_local(self, url: str) -> bool:
        return url.startswith(tuple(self.prefixes.values()))


@dataclass(frozen=True, slots=True)
class RSettings:
    """Settings of R and its clients in force here, and profiles that are not parsed."""

    settings: list[IndexSetting] = field(default_factory=list)
    parts: list[ProfilePart] = field(default_factory=list)
    broken: list[tuple[Path, BrokenText]] = field(default_factory=list)

    def of_lock(self, locked: Iterable[IndexSetting]) -> Iterator[IndexSetting]:
        """The repositories of a renv.lock, where nothing puts others in their place."""
        if any(one.client == "renv" for one in self.settings) or any(part.cran_url for part in self.parts):
            return iter(())
        for part in self.parts:
            locked = part.applied_to(locked)
        return iter(locked)


def r_settings(environment: Environment, text_of: TextOf) -> RSettings:
    """The settings of R in this folder; `text_of` reads a file."""
    found, text_of, process = RSettings(), functools.cache(text_of), environment.environ
    environment = as_r_sees_it(environment)
    profiles = list(_profiles_in_force(environment, text_of))
    for path in profiles:
        in_project = path.parent == environment.cwd and path != user_profile(environment)
        try:
            _add_profile(path, text_of(path) or "", found, in_project=in_project)
        except BrokenText as error:
            found.broken.append((path, error))
    if has_our_profile(environment.environ):
        _apply(_part_of_variables(environment.environ), found)
    elif not found.parts and has_our_profile(process):
        found.settings.append(IndexSetting("R", Role.NOT_READ, str(user_profile(environment)), str(PROFILE)))
    elif not found.parts and (hidden := _hidden_profile(environment, profiles, text_of)):
        found.settings.append(hidden)
    found.settings.extend(_settings_of_variables(environment, process))
    return found


def _profiles_in_force(environment: Environment, text_of: TextOf) -> Iterator[Path]:
    """The profile that R reads here, and before it the one at home where that is sourced."""
    here, of_user = environment.cwd / ".Rprofile", user_profile(environment)
    if own_profile(environment.environ) or not environment.exists(here) or here == of_user:
        yield from () if own_profile(environment.environ) == os.devnull else (of_user,)
        return
    if _AT_HOME in (text_of(here) or ""):
        yield of_user
    yield here


def _add_profile(path: Path, text: str, found: RSettings, *, in_project: bool) -> None:
    before, block, after = parts_of(text)
    first, rest = "".join(before), "\n" * (len(before) + len(block)) + "".join(after)
    found.settings.extend(_in(read_r_profile(first, str(path)), in_project=in_project))
    if block:
        _apply(_part_of_block("".join(block), f"{path}, the lines of ppmproxy"), found)
    found.settings.extend(_in(read_r_profile(rest, str(path)), in_project=in_project))


def _in(settings: Iterable[IndexSetting], *, in_project: bool) -> Iterator[IndexSetting]:
    return (replace(one, in_project=in_project) for one in settings)


def _apply(part: ProfilePart, found: RSettings) -> None:
    found.settings[:] = part.applied_to(found.settings)
    found.parts.append(part)


def _part_of_block(block: str, where: str) -> ProfilePart:
    real_and_here = [_URL.findall(line) for line in _PREFIX_LINES.findall(block)]
    prefixes = dict(zip(*real_and_here, strict=False)) if len(real_and_here) == 2 else {}  # noqa: PLR2004 - real, here
    cran = _CRAN_LINE.search(block)
    return ProfilePart(where, cran[1] if cran else "", prefixes)


def _part_of_variables(environ: Mapping[str, str]) -> ProfilePart:
    real, here = (environ.get(f"_PPMPROXY_R_{name}", "").split() for name in ("REAL", "LOCAL"))
    cran_url = environ.get("_PPMPROXY_R_CRAN", "")
    return ProfilePart("environment variable R_PROFILE_USER", cran_url, dict(zip(real, here, strict=False)))


def _settings_of_variables(environment: Environment, process: Mapping[str, str]) -> Iterator[IndexSetting]:
    """Those of the variables; the .Renviron is named where it overrules the process."""
    path = renviron_file(environment)
    for one in read_r_environment(environment.environ):
        name = one.where.removeprefix(VARIABLE)
        is_in_file = process.get(name) != environment.environ[name]
        yield replace(one, where=f"{path}, {name}") if is_in_file else one


def _hidden_profile(environment: Environment, in_force: list[Path], text_of: TextOf) -> IndexSetting | None:
    """The user's profile with our part, where R reads another one."""
    path = user_profile(environment)
    if path in in_force or not in_force:
        return None
    try:
        _, block, _ = parts_of(text_of(path) or "")
    except BrokenText:
        return None
    return IndexSetting("R", Role.NOT_READ, str(in_force[-1]), str(path)) if block else None
