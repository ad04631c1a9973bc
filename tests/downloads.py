"""Programs and packages that tests need and the repository does not have: got once, kept in a cache.

To change where they are kept, or what happens when one of them cannot be had, open this file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

fcntl = pytest.importorskip("fcntl", reason="real clients and servers are tested on POSIX systems")

INSTALL_DEADLINE = 180.0  # seconds for one installation from the registry
NO_NETWORK = "connect to the package registry once and run again; what is got stays in the cache"

# A test that may have to get everything first, or to wait while another one does, needs more than the usual time.
MAY_DOWNLOAD = pytest.mark.timeout(900)


def skip_or_fail(what: str, remedy: str) -> NoReturn:
    """Skip, saying so; fail where nothing may be missing: CI sets PPMPROXY_TEST_STRICT=1."""
    reason = f"{what}: {remedy}"
    if os.environ.get("PPMPROXY_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def cache_folder() -> Path:
    """Where things are kept between runs; PPMPROXY_TEST_CACHE names another place."""
    named = os.environ.get("PPMPROXY_TEST_CACHE")
    return Path(named).absolute() if named else Path(__file__).absolute().parents[1] / ".cache"


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, which `make` fills the first time while everyone else waits.

    `make` reports what it cannot get with `subprocess.SubprocessError` or `OSError`; whoever asks then is told once.
    """
    folder, problem = _kept(name, make)
    if problem:
        skip_or_fail(f"{name} could not be got ({problem})", NO_NETWORK)
    return folder


@functools.cache
def _kept(name: str, make: Callable[[Path], None]) -> tuple[Path, str]:
    folder = cache_folder() / name
    complete = folder / ".complete"
    if not complete.exists():
        with exclusive_lock(cache_folder() / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # somebody was interrupted
                folder.mkdir()
                try:
                    make(folder)
                except (subprocess.SubprocessError, OSError) as error:
                    return folder, _last_words(error)
                complete.touch()
    return folder, ""


@contextlib.contextmanager
def exclusive_lock(lock: Path) -> Iterator[None]:
    """Held by one process at a time; ends with it, whatever happens to it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _last_words(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(said).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def pip_from_registry(*arguments: str) -> None:
    """Run pip of this machine, with the machine's own configuration, to get something from the registry."""
    python = cached_folder("installer", _make_installer) / "bin" / "python"
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    _run([*command, "--retries", "1", "--timeout", "30"])


def _make_installer(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", folder])


def make_environment(folder: Path, *requirements: str) -> None:
    """Make a virtual environment with these requirements, without pip."""
    _run([sys.executable, "-m", "venv", "--without-pip", folder])
    site_packages = next(folder.glob("lib/python*/site-packages"))
    pip_from_registry("install", "--target", str(site_packages), *requirements)


def _run(command: list[str | Path]) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=INSTALL_DEADLINE,
    )
