"""Programs and packages that tests download once and keep in a cache."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

fcntl = pytest.importorskip("fcntl", reason="real clients and servers are tested on POSIX systems")

INSTALL_DEADLINE = 600.0  # seconds for one installation from the registry; it takes half a minute at most
PAUSES = (5.0, 20.0, 60.0)  # seconds before a download is tried again, where it has to succeed
NO_NETWORK = "connect to the package registry once and run again; downloads stay in the cache"

# A test that may download first, or wait for the download of another one, needs more than the usual time.
MAY_DOWNLOAD = pytest.mark.timeout(1800)


def skip_or_fail(what: str, remedy: str) -> NoReturn:
    """Skip the test with a reason; fail it under PPMPROXY_TEST_STRICT=1, which CI sets."""
    reason = f"{what}: {remedy}"
    if _is_strict():
        pytest.fail(reason)
    pytest.skip(reason)


def _is_strict() -> bool:
    return os.environ.get("PPMPROXY_TEST_STRICT") == "1"


def cache_folder() -> Path:
    """The folder of downloads; PPMPROXY_TEST_CACHE names another one."""
    named = os.environ.get("PPMPROXY_TEST_CACHE")
    return Path(named).absolute() if named else Path(__file__).absolute().parents[1] / ".cache"


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, which `make` fills the first time while other tests wait.

    `make` raises `subprocess.SubprocessError` or `OSError` when it cannot; the tests that need the folder then skip.
    """
    folder, problem = _kept(name, make)
    if problem:
        skip_or_fail(f"{name} could not be downloaded ({problem})", NO_NETWORK)
    return folder


@functools.cache
def _kept(name: str, make: Callable[[Path], None]) -> tuple[Path, str]:
    folder = cache_folder() / name
    complete = folder / ".complete"
    if not complete.exists():
        with exclusive_lock(cache_folder() / f"{name}.lock"):
            if not complete.exists() and (problem := _made(folder, make)):
                return folder, problem
            complete.touch()
    return folder, ""


def _made(folder: Path, make: Callable[[Path], None]) -> str:
    """Why a folder could not be filled; "" when it was. A registry may fail once, and a skipped test is none."""
    pauses = list(PAUSES) if _is_strict() else []
    while True:
        shutil.rmtree(folder, ignore_errors=True)  # of a download that was interrupted
        folder.mkdir()
        try:
            make(folder)
        except (subprocess.SubprocessError, OSError) as error:
            if not pauses:
                return _last_line(error)
            time.sleep(pauses.pop(0))
        else:
            return ""


@contextlib.contextmanager
def exclusive_lock(lock: Path) -> Iterator[None]:
    """A lock on a file, which one process holds at a time and which ends with it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _last_line(error: Exception) -> str:
    is_late = isinstance(error, subprocess.TimeoutExpired)  # what was said until then is no reason
    message = str(error) if is_late else getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(message).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def pip_from_registry(*arguments: str) -> None:
    """Run pip with the configuration of this machine, to download from the registry."""
    python = cached_folder("installer", _make_installer) / "bin" / "python"
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    _run([*command, "--retries", "3", "--timeout", "60"])


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
