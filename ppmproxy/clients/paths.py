"""Paths of the clients' configuration files, with the variables that change them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

_NO_FILES = ("/dev/null", "nul")  # in PIP_CONFIG_FILE: pip reads no file at all


def pip_user_file(environment: Environment) -> Path:
    """The user's pip.conf; `ConfigError` where pip reads no file."""
    # PIP_CONFIG_FILE replaces the user's file; os.devnull in it turns all files off.
    named = environment.path_in("PIP_CONFIG_FILE")
    if named in (Path("/dev/null"), Path("nul"), environment.cwd / "nul"):
        raise ConfigError("PIP_CONFIG_FILE has pip read no file at all", "unset PIP_CONFIG_FILE and try again")
    if named:
        return named
    if environment.platform == "win32":
        return environment.app_data(local=False) / "pip" / "pip.ini"
    on_mac = environment.application_support() / "pip"
    if environment.platform == "darwin" and environment.exists(on_mac):
        return on_mac / "pip.conf"
    return environment.config_home() / "pip" / "pip.conf"


def pip_system_files(environment: Environment) -> Iterator[Path]:
    """Those for all users, the least important first; those that are Windows' or macOS's alone are not read here."""
    if environment.platform != "win32":
        yield from (folder / "pip" / "pip.conf" for folder in _xdg_config_dirs(environment))
        yield Path("/etc/pip.conf")


def pip_files(environment: Environment) -> Iterator[Path]:
    """The global, the user's and the virtual environment's file, in the order of `pip config debug`."""
    named = environment.environ.get("PIP_CONFIG_FILE", "")
    if named in _NO_FILES:
        return
    if environment.platform == "win32":
        name, user = (
            "pip.ini",
            [environment.app_data(local=False) / "pip" / "pip.ini", environment.home / "pip" / "pip.ini"],
        )
    else:
        name = "pip.conf"
        user = [environment.home / ".pip" / name, environment.config_home() / "pip" / name]
    yield from pip_system_files(environment)
    if environment.platform == "darwin":
        user.append(environment.application_support() / "pip" / name)
    replaces_user = bool(named) and environment.exists(environment.cwd / named)
    yield from [] if replaces_user else user
    if virtual_environment := environment.path_in("VIRTUAL_ENV"):
        yield virtual_environment / name
    if replaces_user:
        yield environment.cwd / named


def _xdg_config_dirs(environment: Environment) -> Iterator[Path]:
    """The folders for settings of all users, by the XDG Base Directory Specification."""
    folders = environment.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return (Path(folder) for folder in folders.split(":") if folder.startswith("/"))


def uv_user_file(environment: Environment) -> Path:
    """The user's uv.toml, or the file that replaces it."""
    folder = environment.app_data(local=False) if environment.platform == "win32" else environment.config_home()
    return environment.path_in("UV_CONFIG_FILE") or folder / "uv" / "uv.toml"


def uv_files(environment: Environment) -> Iterator[Path]:
    """The system's, the user's and the project's uv.toml; one in ``UV_CONFIG_FILE`` replaces all."""
    if environment.environ.get("UV_NO_CONFIG"):
        return
    yield from uv_own_files(environment)
    nearest = environment.nearest("uv.toml")
    if nearest and environment.path_in("UV_CONFIG_FILE") is None:
        yield nearest


def poetry_folder(environment: Environment) -> Path:
    """The folder of the user's configuration of Poetry: ``config.toml``, and the pyproject.toml of ``poetry self``."""
    folders = {"win32": environment.app_data(local=False), "darwin": environment.application_support()}
    folder = folders.get(environment.platform, environment.config_home()) / "pypoetry"
    return environment.path_in("POETRY_CONFIG_DIR") or folder


def poetry_user_file(environment: Environment) -> Path:
    """The pyproject.toml of ``poetry self``."""
    return poetry_folder(environment) / "pyproject.toml"


def uv_system_files(environment: Environment) -> Iterator[Path]:
    """The one for all users: the first that there is (docs.astral.sh/uv/concepts/configuration-files)."""
    if environment.path_in("UV_CONFIG_FILE") is None and environment.platform != "win32":
        places = [*(folder / "uv" / "uv.toml" for folder in _xdg_config_dirs(environment)), Path("/etc/uv/uv.toml")]
        yield next((path for path in places if environment.exists(path)), places[-1])


def uv_own_files(environment: Environment) -> Iterator[Path]:
    """Those outside a project: the system's and the user's, or the one that replaces them."""
    yield from uv_system_files(environment)
    yield uv_user_file(environment)


def pdm_user_file(environment: Environment) -> Path:
    """The user's config.toml of PDM."""
    folders = {"win32": environment.app_data(local=True) / "pdm", "darwin": environment.application_support()}
    folder = folders.get(environment.platform, environment.config_home())
    return environment.path_in("PDM_CONFIG_FILE") or folder / "pdm" / "config.toml"


def hatch_user_file(environment: Environment) -> Path:
    """The user's config.toml of Hatch."""
    folders = {"win32": environment.app_data(local=True), "darwin": environment.application_support()}
    folder = folders.get(environment.platform, environment.config_home())
    return environment.path_in("HATCH_CONFIG") or folder / "hatch" / "config.toml"


def netrc_files(environment: Environment) -> Iterator[Path]:
    """The .netrc files that curl reads."""
    named = environment.path_in("NETRC")
    yield from (named,) if named else (environment.home / ".netrc", environment.home / "_netrc")
