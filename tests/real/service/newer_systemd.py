"""Debian 13's systemd, unpacked beside the one of this machine and asked in a root of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from downloads import INSTALL_DEADLINE, cached_folder, skip_or_fail

RELEASE = "trixie"
LIST = Path("/etc/apt/sources.list.d/debian.sources")
# What it is linked with. Its own postinst scripts never run, so nothing else is asked for.
PACKAGES = (
    *("systemd", "libsystemd0", "libsystemd-shared", "libc6", "libcap2", "libmount1", "libblkid1", "libselinux1"),
    *("libpcre2-8-0", "libcrypt1", "libssl3t64", "libacl1", "libseccomp2", "libaudit1", "libcap-ng0", "libpam0g"),
    *("coreutils", "dash", "libgcc-s1", "libattr1", "libgmp10", "libzstd1", "zlib1g"),
)


def _get(folder: Path) -> None:
    mirror = next(line.split()[1] for line in LIST.read_text().splitlines() if line.startswith("URIs:"))
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    for name in ("lists/partial", "cache/archives/partial", "debs", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={key}] {mirror} {RELEASE} main\n")
    beside = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in beside.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", *options, "update", "-qq"], folder)
    _run(["apt-get", *options, "download", "-qq", *PACKAGES], folder / "debs")
    for deb in (folder / "debs").iterdir():
        _run(["dpkg-deb", "--extract", deb, folder / "root"], folder)
    _furnish(folder / "root")
    for name in ("lists", "cache", "debs"):
        shutil.rmtree(folder / name)


def _furnish(root: Path) -> None:
    """What other packages, or their scripts, would have brought."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    (root / "usr" / "bin" / "sh").unlink(missing_ok=True)
    (root / "usr" / "bin" / "sh").symlink_to("dash")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")


def _run(command: list[str | Path], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE)


@contextlib.contextmanager
def newer_systemd() -> Iterator[Path]:
    """A root folder with it; skips where it cannot be had."""
    if sys.platform != "linux" or not LIST.exists() or shutil.which("dpkg-deb") is None:
        skip_or_fail("Debian 13's systemd is got by apt", "run on Debian")
    root = cached_folder(f"systemd-{RELEASE}", _get) / "root"
    for name in ("proc", "dev", "run/user/0", "tmp", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    yield root
