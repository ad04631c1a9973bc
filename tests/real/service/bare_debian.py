"""A person in a bare Debian file system, as a container image has it, who follows README.md.

Mounts, processes and network are its own. The registry is reached through the machine's network; everything else has
nothing but a loopback, where the fake Package Manager is https://packagemanager.example.com.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client_environments import real_wheels
from downloads import cached_folder, skip_or_fail
from registry_attempts import when_it_succeeds
from service_person import PackageManager
from user_manager import Said, _child_of, _said

HERE = Path(__file__).absolute().parent
ROOT = HERE.parents[2]
RELEASE = "bookworm"
NAME = "packagemanager.example.com"
UID = 1000
HOME = "/home/kim"
PATH = f"{HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
CHECKOUT = ("ppmproxy", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile")
DEADLINE = 300.0  # seconds for commands that need no registry
INSTALL_DEADLINE = 1500.0  # for one installation; a busy machine takes five minutes
INDEX = "http://127.0.0.1:7760/pypi/latest/simple/"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
NEEDED = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
NAMESPACES = ("--mount", "--propagation=private", "--pid", "--net", "--fork", "--kill-child")
# In memory, so that thousands of files cost nothing and are gone with the last process.
START = """
ip link set lo up
mount -t tmpfs -o mode=755 debian "$1"
tar -C "$1" -xpf "$2" --exclude='./dev/*'
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
echo ready
exec cat
"""


@dataclass(frozen=True)
class Newcomer:
    """A person with a shell; root, too, until the machine is set up."""

    root: Path  # as this process sees it
    place: Path  # as the namespaces see it
    init: int  # the first process in them
    package_manager: PackageManager

    @property
    def home(self) -> Path:
        return self.root / HOME[1:]

    def command(self, script: str, *, is_root: bool = False, has_registry: bool = False, **environ: str) -> list[str]:
        """A command line that has a shell run a script, in the checkout."""
        networks = [] if has_registry else ["--net"]
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", *networks]
        become = ["chroot", f"--userspec={0 if is_root else UID}", "--groups=", self.place]
        variables = {"HOME": "/root" if is_root else HOME, "PATH": PATH, "LANG": "C.UTF-8"}
        variables |= (_registry() if has_registry else {}) | environ
        named = [f"{name}={value}" for name, value in variables.items()]
        inside = f"cd {'/' if is_root else f'{HOME}/ppmproxy'}\n{script}"
        return [*enter, *map(str, become), "/usr/bin/env", "-i", *named, "bash", "-euc", inside]

    def runs(self, script: str, *, deadline: float = DEADLINE, **options) -> Said:
        """A script's end."""
        return _said(self.command(script, **options), deadline)

    def must(self, script: str, *, has_registry: bool = False, **options) -> str:
        """What a script says that has to succeed; one that asks the registry is tried again."""
        attempt = functools.partial(self.runs, script, has_registry=has_registry, **options)
        said = when_it_succeeds(attempt) if has_registry else attempt()
        assert said.code == 0, f"{script}\n{said}"
        return said.out

    def forgets(self) -> None:
        """Everything at home is as after the installation."""
        self.must(
            "ppmproxy shutdown || true; rm -rf .venv ~/log ~/.config ~/.ppm ~/.cache ~/.local/state; mkdir ~/.config"
        )
        self.package_manager.told("clear")

    def files(self) -> dict[str, bytes]:
        """Every file at home but those of the checkout, of pipx and of pip's cache."""
        others = tuple(self.home / name for name in ("ppmproxy", ".local/pipx", ".local/bin", ".cache/pip"))
        files = (path for path in sorted(self.home.rglob("*")) if path.is_file())
        return {str(path): path.read_bytes() for path in files if not {*others} & {*path.parents}}


def _registry() -> dict[str, str]:
    """How this machine gets packages, as variables."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=DEADLINE).stdout.strip()
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    indexes = {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index} if index else {}
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_TIMEOUT": "30", "DEBIAN_FRONTEND": "noninteractive"}
    return proxies | indexes | quiet | {"PIP_CERT": BUNDLE, "SSL_CERT_FILE": BUNDLE}


def _bare_system(folder: Path) -> None:
    made = ["mmdebstrap", "--quiet", "--variant=minbase", RELEASE, folder / "root.tar", _mirror()]
    subprocess.run(made, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE, stdin=subprocess.DEVNULL)


def _mirror() -> str:
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    said = subprocess.run(targets, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout
    return next(line for line in said.splitlines() if "security" not in line)


def check_machine() -> None:
    """Skip, or fail, where there cannot be such a system."""
    if sys.platform != "linux" or os.geteuid() != 0:
        skip_or_fail("a system of its own cannot be entered here", "run the tests as root on Linux")
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed", f"on Debian: apt-get install {package}")


@contextlib.contextmanager
def newcomer() -> Iterator[Newcomer]:
    """A person with a checkout, on a machine that has nothing; both gone afterwards."""
    check_machine()
    system = cached_folder(f"debian-{RELEASE}", _bare_system)
    with tempfile.TemporaryDirectory(prefix="ppm-debian-") as name, contextlib.ExitStack() as stack:
        place = Path(name, "root")
        place.mkdir()
        init = stack.enter_context(_namespaces(place, system / "root.tar"))
        root = Path(f"/proc/{init}/root{place}")
        _furnish(root)
        package_manager = stack.enter_context(_package_manager(init, root, Path(name)))
        person = Newcomer(root, place, init, package_manager)
        person.must(f"useradd --create-home --shell /bin/bash --uid {UID} kim", is_root=True)
        for path in CHECKOUT:
            _copy(ROOT / path, person.home / "ppmproxy" / path)
        person.must(f"chown -R {UID}:{UID} {HOME}", is_root=True)
        yield person


def _furnish(root: Path) -> None:
    """What an administrator has put there: names, and the authorities of the company and of this machine's registry."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    hosts = Path("/etc/hosts").read_text()
    (root / "etc/hosts").write_text(f"{hosts}\n127.0.0.1 {NAME}\n")
    own = root / "usr/local/share/ca-certificates"
    own.mkdir(parents=True)
    for path in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        shutil.copy(path, own)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@contextlib.contextmanager
def _namespaces(place: Path, archive: Path) -> Iterator[int]:
    command = ["unshare", *NAMESPACES, "sh", "-euc", START, "sh", place, archive]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
        try:
            assert process.stdout.readline() == b"ready\n", "no namespaces could be made"
            yield _child_of(process, said)
        finally:
            process.kill()  # and with it goes everything in there
            process.communicate()


@contextlib.contextmanager
def _package_manager(init: int, root: Path, folder: Path) -> Iterator[PackageManager]:
    """The fake Package Manager, in the network without a registry; its authority is one of the company's."""
    ca_file = root / "usr/local/share/ca-certificates/company.crt"
    six = real_wheels()["six"]
    wheel = folder / six.filename
    wheel.write_bytes(six.data)
    command = [
        "nsenter",
        f"--target={init}",
        "--net",
        sys.executable,
        HERE / "package_manager.py",
        ca_file,
        NAME,
        wheel,
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with process:
        _, token = json.loads(process.stdout.readline())
        yield PackageManager(process, f"https://{NAME}", token, ca_file)
        process.stdin.close()


def approved_in_the_end(person: Newcomer, process: subprocess.Popen[str]) -> None:
    """Confirm the sign-in that a running command begins."""
    end = time.monotonic() + DEADLINE
    while not person.package_manager.told("approve_pending"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no sign-in began"
        time.sleep(0.05)
