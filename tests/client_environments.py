"""Real pip and uv, each test with a home, caches and a virtual environment of its own, and real wheels to install."""

from __future__ import annotations

import enum
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from downloads import cached_folder, pip_from_registry, skip_or_fail
from processes import PROGRAM_DEADLINE, ProgramResult, plain_environment, run_program

from ppmproxy.auth.secret import encoded_forms
from ppmproxy.testing.package_manager import Distribution

OLD = "22.3.1"
NEWEST_FOR_OLD = (3, 11)  # Python 3.12 removed modules that the setuptools inside this pip imports
LARGE = "pycountry"  # over 5 MB
PROJECTS = ("six", "idna", "packaging", LARGE)


class Client(enum.Enum):
    """An installer."""

    PIP = "pip"
    OLD_PIP = f"pip {OLD}"
    UV = "uv"


@dataclass(frozen=True)
class ClientEnvironment:
    """A home with an empty virtual environment, for one client."""

    client: Client
    folder: Path
    environ: dict[str, str]

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "venv").glob("lib/python*/site-packages"))

    async def install(self, *arguments: str, deadline: float = PROGRAM_DEADLINE, **more: str) -> ProgramResult:
        """`pip install …` or `uv pip install …`, with more variables in its environment."""
        command = ("install",) if self.client is not Client.UV else ("pip", "install", "--python", str(self.python))
        return await self.run(*command, *arguments, deadline=deadline, **more)

    async def run(self, *arguments: str, deadline: float = PROGRAM_DEADLINE, **more: str) -> ProgramResult:
        """`pip …` or `uv …`; fails when it takes longer than its deadline (seconds)."""
        return await run_program(
            [*program(self.client, self.python), *arguments], self.environ | more, self.folder, deadline
        )

    async def imported(self, project: str) -> str:
        """The version of an installed project, once it could be imported."""
        program = f"import importlib.metadata, {project}; print(importlib.metadata.version({project!r}))"
        end = await run_program([self.python, "-I", "-c", program], self.environ, self.folder)
        assert end.code == 0, end.output
        return end.output.strip()


def client_environment(client: Client, folder: Path, index_url: str) -> ClientEnvironment:
    """A new environment below `folder`, in which a variable names the index."""
    home = folder / client.name.lower()
    home.mkdir()
    environ = plain_environment(home, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    environ |= {"PIP_INDEX_URL": index_url, "UV_DEFAULT_INDEX": index_url, "UV_PYTHON_DOWNLOADS": "never"}
    new = ClientEnvironment(client, home, environ)
    command = [python_for(client), "-m", "venv", "--without-pip", home / "venv"]
    subprocess.run(command, check=True, capture_output=True, timeout=PROGRAM_DEADLINE)
    return new


def program(client: Client, python: Path | str) -> list[str | Path]:
    """The client's command; pip is run by a Python that need not have it, as `pip --python` does."""
    if client is Client.UV:
        return [_uv()]
    folder = (
        cached_folder("pip-newest", _get_pip) if client is Client.PIP else cached_folder(f"pip-{OLD}", _get_old_pip)
    )
    return [python, folder / "pip"]


def _uv() -> str:
    if importlib.util.find_spec("uv") is None:
        skip_or_fail("uv is not installed", "install the dependency group test")
    from uv import find_uv_bin

    return find_uv_bin()


def _get_pip(folder: Path) -> None:
    pip_from_registry("install", "--target", str(folder), "pip")


def _get_old_pip(folder: Path) -> None:
    pip_from_registry("install", "--target", str(folder), f"pip=={OLD}")


@functools.cache
def python_for(client: Client) -> str:
    """A Python that the client runs on."""
    if client is not Client.OLD_PIP or sys.version_info[:2] <= NEWEST_FOR_OLD:
        return sys.executable
    for name in ("python3.11", "python3.10"):
        found = shutil.which(name)
        # A version manager's shim for a Python that is not installed is found, and does not run.
        if found and subprocess.run([found, "-c", ""], check=False, capture_output=True, timeout=60).returncode == 0:
            return found
    return skip_or_fail(f"pip {OLD} runs on no Python newer than 3.11", "install Python 3.11, or run the tests with it")


# --- real wheels ------------------------------------------------------------------------------------------------------


@functools.cache
def real_wheels() -> dict[str, Distribution]:
    """Wheels of the registry by project, each with the metadata it has inside."""
    folder = cached_folder("-".join(("wheels", *PROJECTS)), _get_wheels)
    wheels = [_distribution(path) for path in sorted(folder.glob("*.whl"))]
    return {wheel.project: wheel for wheel in wheels}


@functools.cache
def downloaded_wheel(project: str) -> Distribution:
    """The newest wheel of one more project of the registry."""
    arguments = ("download", "--no-deps", "--only-binary", ":all:", "--dest")
    folder = cached_folder(f"wheel-{project}", lambda folder: pip_from_registry(*arguments, str(folder), project))
    return _distribution(next(folder.glob("*.whl")))


def _get_wheels(folder: Path) -> None:
    pip_from_registry("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), *PROJECTS)


def _distribution(path: Path) -> Distribution:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name)
    heads = metadata.decode().partition("\n\n")[0].splitlines()
    demanded = [line.partition(":")[2].strip() for line in heads if line.startswith("Requires-Python:")]
    return Distribution(path.name, path.read_bytes(), requires_python=next(iter(demanded), None), metadata=metadata)


# --- tokens in output -------------------------------------------------------------------------------------------------


def shows_token(token: str, *texts: str) -> bool:
    """Whether a token is in any of the texts, in any of its forms."""
    return any(form in text for form in encoded_forms(token) for text in texts)
