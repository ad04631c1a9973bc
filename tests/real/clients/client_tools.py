"""Clients of the registry besides pip and uv, each in an environment of its own, and what one person does with them.

To add a client, or to change how one of them is configured, installs or locks, open this file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from client_environments import OLD, Client, python_for
from downloads import cached_folder, make_environment, skip_or_fail
from processes import ProgramResult, plain_environment, run_program

PROJECT = "six"  # what everyone installs
DEADLINE = 300.0  # seconds for one run of a client, on a machine that is busy
PYPROJECT = f"""\
[project]
name = "mine"
version = "1"
requires-python = ">=3.10,<4"
dependencies = ["{PROJECT}"]
"""


@dataclass(frozen=True)
class Tool:
    """One client: what a project of its own looks like, and the commands that a person types there.

    `@INDEX@` stands for the index's URL, `@UPLOAD@` and `@FILE@` for where to upload what, `@PYTHON@` for the Python of
    the project's virtual environment, and `@UV@` for uv.
    """

    name: str
    requirements: tuple[str, ...] = ()  # in the registry; none: uv, which the tests' own environment has
    module: str = ""  # what `python -m` runs
    binary: str = ""  # a program that the package brings along, run instead
    script: str = ""  # what `python -c` runs, for one without a module to run
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    install: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()
    lock_file: str = ""
    again: tuple[str, ...] = ()  # installs from the lock file, and refuses one that does not fit
    has_environment: bool = True  # whether it makes the project's virtual environment, `.venv`, itself
    upload: str = ""
    builds: bool = False  # whether the upload builds the distribution first
    takes_metadata: bool = True  # whether it copes with JSON that offers metadata by its first name (PEP 714)
    talkative: str = ""  # what is added to a command so that the client says what the server said; "": nothing need be

    def __str__(self) -> str:
        return self.name


PIP = Tool(
    "pip",
    ("pip",),
    "pip",
    environ={"PIP_INDEX_URL": "@INDEX@"},
    install=(f"install {PROJECT}",),
    lock=(f"lock {PROJECT} -o pylock.toml",),
    lock_file="pylock.toml",
    again=("install -r pylock.toml",),
    has_environment=False,
)
OLD_PIP = replace(
    PIP,
    name=f"pip {OLD}",
    requirements=(f"pip=={OLD}",),
    lock=(),
    lock_file="",
    again=(),
    takes_metadata=False,
)
UV = Tool(
    "uv",
    files={"pyproject.toml": PYPROJECT},
    environ={"UV_DEFAULT_INDEX": "@INDEX@", "UV_HTTP_RETRIES": "1"},
    install=("sync",),
    lock=("lock",),
    lock_file="uv.lock",
    again=("sync --locked",),
    upload="publish --trusted-publishing never --token not-needed --publish-url @UPLOAD@ @FILE@",
)
UV_PYLOCK = Tool(
    "uv",
    files={"pyproject.toml": PYPROJECT},
    environ={"UV_DEFAULT_INDEX": "@INDEX@"},
    lock=("export --format pylock.toml --no-emit-project -o pylock.toml",),
    lock_file="pylock.toml",
    again=("venv", "pip sync --python @PYTHON@ --preview pylock.toml"),
)
POETRY = Tool(
    "Poetry",
    ("poetry",),
    "poetry",
    files={
        "pyproject.toml": PYPROJECT + '\n[[tool.poetry.source]]\nname = "ppm"\nurl = "@INDEX@"\npriority = "primary"\n'
    },
    environ={
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "POETRY_NO_INTERACTION": "1",
        "POETRY_KEYRING_ENABLED": "false",
        "POETRY_REPOSITORIES_PPM_URL": "@UPLOAD@",
    },
    install=("install --no-root",),
    lock=("lock",),
    lock_file="poetry.lock",
    again=("check --lock", "sync --no-root"),
    upload="publish --repository ppm --dist-dir dist",
)
PDM = Tool(
    "PDM",
    ("pdm[locked]",),  # with the versions that it was released with: it breaks with the newest hishel
    "pdm",
    files={"pyproject.toml": PYPROJECT + "[tool.pdm]\ndistribution = false\n"},
    environ={"PDM_PYPI_URL": "@INDEX@", "PDM_CHECK_UPDATE": "0", "PDM_REQUEST_TIMEOUT": "30"},
    install=("install --no-self",),
    lock=("lock --strategy static_urls",),
    lock_file="pdm.lock",
    again=("install --frozen-lockfile --check --no-self",),
    upload="publish --no-build --repository @UPLOAD@ --username ppmproxy --password not-needed",
    talkative="-vv",
)
HATCH = Tool(
    "Hatch",
    ("hatch",),
    "hatch",
    files={
        "pyproject.toml": '[project]\nname = "mine"\nversion = "1"\n\n'
        f'[tool.hatch.envs.default]\nskip-install = true\ndependencies = ["{PROJECT}"]\npath = ".venv"\n'
        'locked = true\ninstaller = "uv"\n'
    },
    environ={"PIP_INDEX_URL": "@INDEX@", "UV_DEFAULT_INDEX": "@INDEX@", "HATCH_ENV_TYPE_VIRTUAL_UV_PATH": "@UV@"},
    install=("env create",),
    lock=("env lock",),
    lock_file="pylock.toml",
    again=("env lock --check", "env create"),
    upload="publish --no-prompt --repo @UPLOAD@ --user ppmproxy --auth not-needed @FILE@",
)
PIPENV = Tool(
    "pipenv",
    ("pipenv",),
    "pipenv",
    files={"Pipfile": f'[[source]]\nname = "ppm"\nurl = "@INDEX@"\nverify_ssl = true\n\n[packages]\n{PROJECT} = "*"\n'},
    environ={"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_NOSPIN": "1", "PIPENV_YES": "1"},
    install=("install",),
    lock=("lock",),
    lock_file="Pipfile.lock",
    again=("verify", "sync"),
    talkative="--verbose",
)
PIP_TOOLS = Tool(
    "pip-tools",
    ("pip-tools",),
    "piptools",
    files={"requirements.in": f"{PROJECT}\n"},
    environ={"PIP_INDEX_URL": "@INDEX@"},
    install=("compile --strip-extras", "sync --python-executable @PYTHON@"),
    lock=("compile --strip-extras --generate-hashes --emit-index-url",),
    lock_file="requirements.txt",
    again=("sync --python-executable @PYTHON@",),
    has_environment=False,
)
TWINE = Tool(
    "twine",
    ("twine",),
    "twine",
    environ={"TWINE_USERNAME": "ppmproxy", "TWINE_PASSWORD": "not-needed", "TWINE_NON_INTERACTIVE": "1"},
    upload="upload --disable-progress-bar --repository-url @UPLOAD@ @FILE@",
)
FLIT = Tool(
    "flit",
    ("flit",),
    "flit",
    files={
        "pyproject.toml": '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n\n'
        '[project]\nname = "mine"\nversion = "1"\ndescription = "An example"\nrequires-python = ">=3.10"\n',
        "mine.py": '"""An example."""\n',
    },
    environ={"FLIT_INDEX_URL": "@UPLOAD@", "FLIT_USERNAME": "ppmproxy", "FLIT_PASSWORD": "not-needed"},
    upload="publish --format wheel",
    builds=True,
)
MATURIN = Tool(
    "maturin",
    ("maturin",),
    binary="maturin",
    environ={"MATURIN_USERNAME": "ppmproxy", "MATURIN_PASSWORD": "not-needed", "MATURIN_NON_INTERACTIVE": "true"},
    upload="upload --repository-url @UPLOAD@ @FILE@",
)
TOOLS = (PIP, OLD_PIP, UV, POETRY, PDM, HATCH, PIPENV, PIP_TOOLS, TWINE, FLIT, MATURIN)


@dataclass(frozen=True)
class Workspace:
    """Where one person works with one client: a home, and a project with a virtual environment of its own."""

    tool: Tool
    project: Path
    environ: dict[str, str]
    words: Mapping[str, str]

    @property
    def lock_file(self) -> Path:
        return self.project / self.tool.lock_file

    @property
    def python(self) -> Path:
        return self.project / ".venv" / "bin" / "python"

    def start_over(self) -> None:
        """Take away what was installed and locked; the client's caches stay."""
        shutil.rmtree(self.project / ".venv")
        self.lock_file.unlink(missing_ok=True)
        if not self.tool.has_environment:
            self.make_environment()

    def make_environment(self) -> None:
        """Make the virtual environment, for a client that leaves it to its user."""
        python = python_for(Client.OLD_PIP) if self.tool.name == OLD_PIP.name else sys.executable
        command = [python, "-m", "venv", self.project / ".venv"]
        command += ["--without-pip"] if self.tool.module == PIP.module else []  # it brings its own
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)

    async def run(self, *commands: str, through: Sequence[str | Path] = (), talkative: bool = False) -> ProgramResult:
        """The first command that fails, or the last one, each started `through` another program.

        `talkative`: in the way that shows what the server said.
        """
        end = ProgramResult(0, "", 0.0)
        for command in commands:
            words = [filled(word, self.words) for word in command.split()]
            words += self.tool.talkative.split() if talkative else []
            started = [*through, *program(self.tool, self.python), *words]
            end = await run_program(started, self.environ, self.project, DEADLINE)
            if end.code:
                break
        return end

    async def imported(self) -> str:
        """The version of the project that was installed, once it could be imported."""
        command = [self.python, "-I", "-c", f"import {PROJECT}; print({PROJECT}.__version__)"]
        end = await run_program(command, self.environ, self.project)
        assert end.code == 0, end.output
        return end.output.strip()


def workspace(tool: Tool, folder: Path, **words: str) -> Workspace:
    """A new working folder below `folder`; INDEX, UPLOAD and FILE are what the client's configuration names."""
    home, project = folder / "home", folder / "project"
    home.mkdir(parents=True)
    project.mkdir()
    known = {"INDEX": "", "UPLOAD": "", "FILE": "", "PYTHON": str(project / ".venv" / "bin" / "python")} | words
    known["UV"] = _uv() if "@UV@" in "".join(tool.environ.values()) else ""
    for name, text in tool.files.items():
        (project / name).write_text(filled(text, known))
    environ = plain_environment(home, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_RETRIES="1")
    # No UV_PYTHON here: `uv pip sync` would take away everything but the lock file's packages from that very Python.
    environ |= {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "COLUMNS": "400"}
    environ |= {name: filled(value, known) for name, value in tool.environ.items()}
    new = Workspace(tool, project, environ, known)
    if not tool.has_environment:
        new.make_environment()
    return new


def filled(text: str, words: Mapping[str, str]) -> str:
    """A text with its `@WORD@`s replaced."""
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text


def program(tool: Tool, python: Path) -> list[str | Path]:
    """What a client's commands begin with; pip is run by the project's Python, just as `pip --python` runs itself."""
    if not tool.requirements:
        return [_uv()]
    folder = _environment(tool)
    if tool.binary:
        return [next(folder.glob(f"lib/python*/site-packages/bin/{tool.binary}"))]
    if tool.script:
        return [folder / "bin" / "python", "-c", tool.script]
    if tool.module == PIP.module:
        return [python, next(folder.glob("lib/python*/site-packages/pip"))]
    return [folder / "bin" / "python", "-m", tool.module]


def _environment(tool: Tool) -> Path:
    return cached_folder(
        f"client-{tool.name.lower().replace(' ', '-')}", lambda folder: make_environment(folder, *tool.requirements)
    )


def _uv() -> str:
    if importlib.util.find_spec("uv") is None:
        skip_or_fail("uv is not installed", "install the dependency group test")
    from uv import find_uv_bin

    return find_uv_bin()


def get_every_tool(*tools: Tool) -> None:
    """Get what is not there yet, while there is a network; whoever lacks something is told when asking for it."""
    for tool in tools:
        with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
            program(tool, Path())
