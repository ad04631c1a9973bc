"""R and its clients: what Debian installs, and renv from a newer Debian than this one.

To add a client of R, or to have another version of renv, open this file.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from downloads import INSTALL_DEADLINE, cached_folder, skip_or_fail
from processes import ProgramResult, plain_environment, run_program

from ppmproxy.testing.package_manager import RPackage

DEADLINE = 300.0  # seconds for one program of R, on a machine that is busy
RENV_SUITE = "trixie"
DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
SITES = ("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Component: main")


def rscript() -> str:
    """R's program for scripts; the test skips without it."""
    return shutil.which("Rscript") or skip_or_fail("R is not installed", "on Debian: apt-get install r-base-core")


def needs_package(name: str) -> None:
    """Skip the test when a package that Debian has for R is not installed."""
    if not any(Path("/usr/lib/R", place, name).is_dir() for place in ("site-library", "library")):
        skip_or_fail(f"R has no {name}", f"on Debian: apt-get install r-cran-{name}")


def renv_library() -> Path:
    """A library with renv in it."""
    return cached_folder(f"renv-{RENV_SUITE}", _get_renv) / "usr/lib/R/site-library"


def _get_renv(folder: Path) -> None:
    """renv is no package of this Debian; the newer one's needs nothing but R."""
    site = _output(*SITES).splitlines()[0]
    (folder / "sources.list").write_text(f"deb [signed-by={DEBIAN_KEYS}] {site} {RENV_SUITE} main\n")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _output(*apt, "update", folder=folder)
    _output(*apt, "download", "r-cran-renv", folder=folder)
    [package] = folder.glob("r-cran-renv_*.deb")
    _output("dpkg-deb", "-x", str(package), str(folder), folder=folder)
    shutil.rmtree(folder / "lists")
    package.unlink()


def _output(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE, cwd=folder)
    return done.stdout


@dataclass(frozen=True)
class RealRPackage(RPackage):
    """A package that is installed, as the binary that its installation is."""

    folder: Path = field(default_factory=Path)

    def tarball(self, built: str | None = None) -> bytes:  # noqa: ARG002 - it is a binary of this R in any case
        """The installed files: R takes them for a binary, because their DESCRIPTION says by which R they were built."""
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.add(self.folder, self.name)
        return packed.getvalue()


def renv_package() -> RealRPackage:
    """renv, for a repository from which it installs itself."""
    folder = renv_library() / "renv"
    lines = (folder / "DESCRIPTION").read_text().splitlines()
    version = next(line.partition(": ")[2] for line in lines if line.startswith("Version: "))
    return RealRPackage("renv", version, folder=folder)


@dataclass(frozen=True)
class RPerson:
    """Somebody with a home, a library and a project of R."""

    folder: Path
    environ: dict[str, str]

    @classmethod
    def in_folder(cls, folder: Path, **environ: str) -> RPerson:
        for name in ("home", "library", "project"):
            (folder / name).mkdir(parents=True)
        renv = {"RENV_PATHS_ROOT": str(folder / "renv"), "RENV_CONFIG_SANDBOX_ENABLED": "FALSE"}
        own = plain_environment(folder / "home", R_LIBS_USER=str(folder / "library"))
        return cls(folder, own | renv | environ)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def lock_file(self) -> Path:
        return self.project / "renv.lock"

    @property
    def profile(self) -> Path:
        """The one at home."""
        return self.folder / "home" / ".Rprofile"

    async def runs(self, program: str, *through: str | Path, **environ: str) -> ProgramResult:
        """A program of R, in the project."""
        command = [*through, rscript(), "-e", program]
        return await run_program(command, self.environ | environ, self.project, DEADLINE)
