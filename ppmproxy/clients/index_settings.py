"""Index settings in clients' files and variables, and other settings that override the proxy.

They are only read here; `cli.doctor.clients` judges them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.auth.origin import Origin

if TYPE_CHECKING:
    from ppmproxy.clients.editing.edits import Tree


class Role(enum.Enum):
    """The effect of a setting on where packages come from."""

    INDEX = "index"  # the one index
    EXTRA = "extra"  # one more, asked as well
    EXPLICIT = "explicit"  # one for the packages that name it
    AUTHENTICATE = "authenticate"  # an index without whose password the client asks nothing
    TRUSTED = "trusted-host"
    KEYRING = "keyring"
    PROXY = "proxy"
    NOT_READ = "not-read"  # a file that leads to the proxy, and that its client does not read here


@dataclass(frozen=True, slots=True)
class IndexSetting:
    """One setting of a client, and where it stands, in words. The value may hold a password."""

    client: str
    role: Role
    where: str
    value: str = field(repr=False)
    in_project: bool = False  # in a file of the project or of its virtual environment
    for_all: bool = False  # in a file for all users of the machine
    file: str = ""  # of pip's files, which overrule each other
    section: str = ""  # of such a file; for R, the repository's name
    flag: str = ""  # with which `configure` edits this very file, where it would edit another one without


VARIABLE = "environment variable "  # how `where` of a variable begins
_PIP_KEYS = {
    "index-url": Role.INDEX,
    "extra-index-url": Role.EXTRA,
    "trusted-host": Role.TRUSTED,
    "keyring-provider": Role.KEYRING,
    "proxy": Role.PROXY,
}
_VARIABLES = {
    **{f"PIP_{key.upper().replace('-', '_')}": ("pip", role) for key, role in _PIP_KEYS.items()},
    "UV_DEFAULT_INDEX": ("uv", Role.INDEX),
    "UV_INDEX_URL": ("uv", Role.INDEX),
    "UV_INDEX": ("uv", Role.EXTRA),
    "UV_EXTRA_INDEX_URL": ("uv", Role.EXTRA),
    "UV_KEYRING_PROVIDER": ("uv", Role.KEYRING),
    "PDM_PYPI_URL": ("PDM", Role.INDEX),
    "PIPENV_PYPI_MIRROR": ("pipenv", Role.INDEX),
}
_OPTION = re.compile(r"\s*(?:(--extra-index-url)|(?:--index-url|--pypi-url|-i))(?:\s*=\s*|\s+|(?<=-i))(\S+)")
_INCLUDE = re.compile(r"\s*(?:--requirement|--constraint|-r|-c)(?:\s*=\s*|\s+|(?<=-[rc]))(\S+)")
_NAMED = re.compile(r"[A-Za-z][\w.-]*=(?=[A-Za-z][A-Za-z0-9+.-]*:)")  # UV_INDEX may name each: name=URL


def read_environment(environ: Mapping[str, str]) -> Iterator[IndexSetting]:
    """Settings in the variables of pip, uv, PDM and pipenv."""
    for name, (client, role) in _VARIABLES.items():
        for value in _words(environ.get(name, "")):
            yield IndexSetting(client, role, f"{VARIABLE}{name}", _NAMED.sub("", value, count=1))


def settings_in_force(settings: Sequence[IndexSetting]) -> list[IndexSetting]:
    """The settings without those that others overrule.

    In pip, a variable goes before all files, and a file before those read earlier, for each section by itself. In uv,
    an index of the user's or the project's goes before the one for all users.
    """
    by_variable = {one.role for one in settings if one.client == "pip" and one.where.startswith(VARIABLE)}
    last_file = {(one.role, one.section): one.file for one in settings if one.file}
    has_nearer = any(one.client == "uv" and one.role is Role.INDEX and not one.for_all for one in settings)

    def is_overruled(one: IndexSetting) -> bool:
        if one.file:
            return one.role in by_variable or last_file[one.role, one.section] != one.file
        return has_nearer and one.for_all and one.role is Role.INDEX

    return [one for one in settings if not is_overruled(one)]


def read_pip(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """Settings in a pip.conf, as parsed by `editing.ini`."""
    for section, keys in tree.items():
        for key, lines in _table(keys).items():
            role = _PIP_KEYS.get(key)
            for value in _words(" ".join(map(str, _list(lines)))) if role else ():
                place = f"{where}, {key} in [{section}]"
                yield IndexSetting("pip", role, place, value, file=where, section=section)  # type: ignore[arg-type]


def read_uv(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """Settings in a uv.toml, or in the table tool.uv of a pyproject.toml."""
    for entry in _list(tree.get("index")):
        index = _table(entry)
        role = Role.EXPLICIT if index.get("explicit") else Role.INDEX if index.get("default") else Role.EXTRA
        yield from _url("uv", role, f"{where}, {_titled('[[index]]', index)}", index.get("url"))
        if index.get("authenticate") == "always":
            place = f"{where}, authenticate in {_titled('[[index]]', index)}"
            yield from _url("uv", Role.AUTHENTICATE, place, index.get("url"))
    for table, prefix in ((tree, ""), (_table(tree.get("pip")), "pip.")):
        yield from _url("uv", Role.INDEX, f"{where}, {prefix}index-url", table.get("index-url"))
        for url in _list(table.get("extra-index-url")):
            yield from _url("uv", Role.EXTRA, f"{where}, {prefix}extra-index-url", url)
        yield from _url("uv", Role.KEYRING, f"{where}, {prefix}keyring-provider", table.get("keyring-provider"))


def read_pyproject(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """Settings of uv, Poetry and PDM in a pyproject.toml."""
    tools = _table(tree.get("tool"))
    yield from read_uv(_table(tools.get("uv")), f"{where}, tool.uv")
    poetry = [_table(source) for source in _list(_table(tools.get("poetry")).get("source"))]
    asked = [source for source in poetry if source.get("priority") != "explicit"]
    yield from _sources("Poetry", f"{where}, [[tool.poetry.source]]", asked)
    for source in poetry:
        if source.get("priority") == "explicit":
            place = f"{where}, {_titled('[[tool.poetry.source]]', source)}"
            yield from _url("Poetry", Role.EXPLICIT, place, source.get("url"))
    pdm = [_table(source) for source in _list(_table(tools.get("pdm")).get("source"))]
    yield from _sources("PDM", f"{where}, [[tool.pdm.source]]", pdm)


def read_pipfile(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """Settings in a Pipfile."""
    yield from _sources("pipenv", f"{where}, [[source]]", [_table(source) for source in _list(tree.get("source"))])


def read_pdm(tree: Tree, where: str) -> Iterator[IndexSetting]:
    """Settings in PDM's own configuration."""
    pypi = _table(tree.get("pypi"))
    yield from _url("PDM", Role.INDEX, f"{where}, pypi.url", pypi.get("url", tree.get("pypi.url")))


def read_requirements(text: str, where: str) -> Iterator[IndexSetting]:
    """Index options in a requirements file."""
    for number, line in enumerate(text.splitlines(), start=1):
        option = _OPTION.match(line)
        if option:
            role = Role.EXTRA if option[1] else Role.INDEX
            yield IndexSetting("pip", role, f"{where}, line {number}", option[2].strip("'\""))


def included_files(text: str) -> Iterator[str]:
    """The names of other files that a requirements file includes."""
    for line in text.splitlines():
        option = _INCLUDE.match(line)
        if option:
            yield option[1].strip("'\"")


def _sources(client: str, where: str, sources: list[Tree]) -> Iterator[IndexSetting]:
    for number, source in enumerate(sources):
        role = Role.EXTRA if number else Role.INDEX
        yield from _url(client, role, where + _name_of(source), source.get("url"))


def _titled(header: str, entry: Tree) -> str:
    return header + _name_of(entry)


def _name_of(entry: Tree) -> str:
    return f" {entry['name']}" if isinstance(entry.get("name"), str) else ""


def _url(client: str, role: Role, where: str, value: object) -> Iterator[IndexSetting]:
    if isinstance(value, str) and value:
        yield IndexSetting(client, role, where, value)


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", value) if word]


def _table(value: object) -> Tree:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def origin_shown(url: str) -> str:
    """The origin of a URL, which is all that is shown of it."""
    try:
        return str(Origin.of(url.strip()))
    except ValueError:
        return "something that is no URL"
