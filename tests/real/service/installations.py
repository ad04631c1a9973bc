"""Real installations of the working tree, as the user of a `UserManager` would make them."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from downloads import _run, cached_folder, skip_or_fail
from user_manager import UserManager

ROOT = Path(__file__).absolute().parents[3]
FAST = ["-q", "--disable-pip-version-check", "--no-index"]


@functools.cache
def python_for_all() -> Path:
    """A Python that other users may run, and that can make virtual environments."""
    own = Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info)
    for candidate in (own, Path("/usr/bin/python3"), Path("/usr/local/bin/python3")):
        if _is_open_to_all(candidate) and _makes_environments(candidate):
            return candidate
    return skip_or_fail("no Python here is open to other users", "on Debian: apt-get install python3-venv")


def _is_open_to_all(program: Path) -> bool:
    if not program.exists():
        return False
    real = program.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (real, *real.parents, *program.parents))


def _makes_environments(python: Path) -> bool:
    check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def _make_wheels(folder: Path) -> None:
    _run([python_for_all(), "-m", "venv", folder / "venv"])
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "-q", "--retries", "1", "--timeout", "30"]
    _run([*pip, "install", "hatchling>=1.27"])
    _run([*pip, "wheel", "--wheel-dir", folder / "wheels", f"{ROOT}[desktop]"])
    for ours in (folder / "wheels").glob("ppmproxy-*"):
        ours.unlink()  # as it was today


@contextmanager
def wheelhouse() -> Iterator[Path]:
    """A folder, open to all, with wheels of the working tree and of everything that it needs."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:8]
    folder = cached_folder(f"service-{digest}-{python_for_all().resolve().name}", _make_wheels)
    with tempfile.TemporaryDirectory(prefix="ppm-wheels-") as name:
        wheels = Path(name)
        shutil.copytree(folder / "wheels", wheels, dirs_exist_ok=True)
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "wheel", *FAST]
        _run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT])
        for path in (wheels, *wheels.iterdir()):
            path.chmod(0o755)
        yield wheels


def venv(manager: UserManager, wheels: Path, folder: str, what: str = "ppmproxy") -> Path:
    """A virtual environment of the user's with ppmproxy in it, or with an extra of it; the command."""
    place = manager.home / folder
    manager.must(python_for_all(), "-m", "venv", place)
    manager.must(place / "bin" / "python", "-m", "pip", "install", *FAST, "--find-links", wheels, what)
    return place / "bin" / "ppmproxy"


def uv_tool(manager: UserManager, wheels: Path) -> Path:
    """The user's `uv tool install ppmproxy`; the command."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        skip_or_fail("uv is not installed", "pip install uv")
    uv = Path(shutil.copy(found, wheels / "uv"))  # where every user may run it
    uv.chmod(0o755)
    options = ["--offline", "--no-index", "--find-links", wheels, "--python", python_for_all()]
    manager.must(uv, "tool", "install", *options, "ppmproxy")
    return manager.home / ".local" / "bin" / "ppmproxy"
