"""A real Docker engine with BuildKit and compose, in namespaces of its own, and the image that it built.

The machine's own engine, if it has one, is not touched. The engine runs twice over one store: beside the machine's
network, with nothing of its own there, to build the image from the package registry; and in a network namespace that
ends with it, for everything else. Its mounts are in a namespace of their own, the store in memory: all of it is gone
with the last process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from downloads import cached_folder, skip_or_fail
from readme import blocks_of
from registry_attempts import when_it_succeeds

ROOT = Path(__file__).absolute().parents[3]
DEADLINE = 300.0  # seconds for one command; most take one
BUILD_DEADLINE = 600.0
IMAGE = "ppmproxy"
AGAIN = "ppmproxy:again"  # of the same inputs
WITH_BUCKETS = "ppmproxy:shared-cache"
BUILT_BY = "real/service/test_container_image::test_the_image_is_built_as_the_readme_says"
BASE = "python:3.13-slim"  # what Dockerfile says; stands for a tree of Debian's packages here
SUITE = "trixie"  # Debian 13: Python 3.13, and engine 26
ENGINE = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd")
NEEDED = {
    "ip": "iproute2",
    "runc": "docker.io",
    "iptables": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
}
TREE = "ca-certificates,curl,netbase,tzdata,python3,python3-venv"
SEARCHED = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass
class Engine:
    """A running engine; `docker` and `compose` are the command line, as a person uses it."""

    folder: Path
    process: subprocess.Popen[bytes]
    environ: dict[str, str] = field(repr=False)

    def docker(self, *arguments: str | Path, **options) -> Ran:
        """`docker …`, which must succeed unless `check` is False."""
        return self.run("docker", *arguments, **options)

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        folder: Path = ROOT,
        deadline: float = DEADLINE,
        more: dict[str, str] | None = None,
    ) -> Ran:
        """A program beside the engine, in its network."""
        inside = ["nsenter", f"--target={self.process.pid}", "--net", "--mount", f"--wd={folder}"]
        ended = subprocess.run(
            [*inside, *command],
            check=False,
            env=self.environ | {"PWD": str(folder)} | (more or {}),  # the system cannot tell it in here
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline,
        )
        ran = Ran(ended.returncode, ended.stdout, ended.stderr)
        assert not check or ran.code == 0, f"{command} ended with {ran.code}:\n{ran.said}"
        return ran

    def script(self, text: str, *, check: bool = True, folder: Path = ROOT, **more: str) -> Ran:
        """Lines for a shell, as docker/README.md has them."""
        return self.run("sh", "-euc", text, check=check, folder=folder, more=more)

    def inspect(self, name: str, template: str) -> str:
        return self.docker("inspect", "--format", template, name).out.strip()

    def logs(self, name: str) -> str:
        return self.docker("logs", name).said

    def events(self, name: str, event: str) -> list[dict]:
        """The events of one name that a container has logged."""
        lines = [json.loads(line) for line in self.logs(name).splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def ended(self, name: str) -> int:
        """The exit code of a container, once it has ended."""
        return int(self.docker("wait", name).out)

    def healthy(self, name: str) -> None:
        """Come back when a container is healthy."""
        self.until(lambda: self.inspect(name, "{{.State.Health.Status}}") == "healthy", name)

    def until(self, true, name: str, seconds: float = 90.0) -> None:
        """Come back as soon as something is true of a container."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it did not come true in {seconds:g} s:\n{self.logs(name)}"
            time.sleep(0.05)

    @contextlib.contextmanager
    def container(self, name: str, *arguments: str | Path) -> Iterator[str]:
        """`docker run --detach --name NAME …`, removed at the end."""
        self.docker("run", "--detach", "--name", name, *arguments)
        try:
            yield name
        finally:
            self.docker("rm", "--force", "--volumes", name)


# --- what is needed ---------------------------------------------------------------------------------------------------


def check_machine() -> None:
    """Skip, or fail, where an engine cannot be run."""
    if sys.platform != "linux" or os.geteuid() != 0:
        skip_or_fail("a container engine cannot be run here", "run the tests as root on Linux")
    for program, package in NEEDED.items():
        if shutil.which(program, path=SEARCHED) is None:
            skip_or_fail(f"{program} is not installed", f"on Debian: apt-get install {package}")


def newer_engine() -> Path:
    """Debian 13's engine, unpacked beside the system's packages: Debian 12's has neither compose nor BuildKit."""
    return cached_folder(f"docker-{SUITE}", _unpack_engine)


def _unpack_engine(folder: Path) -> None:
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "packages"):
        (apt / name).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={keyring}] {_mirror()} {SUITE} main\n")
    apt_get = [
        "apt-get",
        "-qq",
        "-o",
        f"Dir::Etc::sourcelist={apt}/sources.list",
        "-o",
        "Dir::Etc::sourceparts=/dev/null",
    ]
    apt_get += [
        "-o",
        f"Dir::State::Lists={apt}/lists",
        "-o",
        f"Dir::Cache={apt}/cache",
        "-o",
        "Dir::State::status=/dev/null",
    ]
    _get([*apt_get, "update"], apt)
    _get([*apt_get, "download", *ENGINE], apt / "packages")
    for package in (apt / "packages").glob("*.deb"):
        _get(["dpkg-deb", "--extract", package, folder], apt)
    shutil.rmtree(apt)


def _mirror() -> str:
    """Where this machine gets Debian's packages."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    said = subprocess.run(targets, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout
    return next(line for line in said.splitlines() if "security" not in line)


def base_image() -> Path:
    """What stands for python:3.13-slim: Debian's Python, pip, and the authorities that this machine trusts."""
    return (
        cached_folder(f"{BASE.replace(':', '-')}-{hashlib.sha256(TREE.encode()).hexdigest()[:8]}", _make_base)
        / "base.tar"
    )


def _make_base(folder: Path) -> None:
    own = Path("/usr/local/share/ca-certificates")
    trusted = [f"--customize-hook=copy-in {path} {own}" for path in sorted(own.glob("*.crt"))]
    make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={TREE}", *trusted]
    make += [
        '--customize-hook=chroot "$1" update-ca-certificates',
        '--customize-hook=chroot "$1" python3 -m venv --copies /usr/local',
    ]
    _get([*make, SUITE, folder / "base.tar", _mirror()], folder)


def _get(command: list, folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE,
        stdin=subprocess.DEVNULL,
    )


# --- running ----------------------------------------------------------------------------------------------------------


BESIDE = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")


@dataclass(frozen=True)
class Store:
    """Where images and containers are, in a mount namespace."""

    folder: Path
    holder: subprocess.Popen[bytes]

    @property
    def entered(self) -> list[str]:
        """What a command is begun with to find the store."""
        return ["nsenter", f"--target={self.holder.pid}", "--mount"]


@contextlib.contextmanager
def store(folder: Path) -> Iterator[Store]:
    """An empty store, in memory."""
    (folder / "data").mkdir()
    script = f"mount -t tmpfs -o mode=0711 images {folder}/data && echo mounted && exec cat"
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:  # its input ends with this, and so does it
        assert holder.stdout.readline() == b"mounted\n", "no store could be mounted"
        yield Store(folder, holder)


@contextlib.contextmanager
def running(store: Store, *, apart: bool) -> Iterator[Engine]:
    """An engine over a store: with a network of its own, or beside the machine's without touching it."""
    unpacked, folder = newer_engine(), store.folder
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for plugin in (unpacked / "usr/libexec/docker/cli-plugins").iterdir():
        if not (plugins / plugin.name).exists():
            (plugins / plugin.name).symlink_to(plugin)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PPMPROXY_", "DOCKER_"))}
    environ |= {
        "PATH": f"{unpacked}/usr/bin:{unpacked}/usr/sbin:{SEARCHED}",
        "DOCKER_HOST": f"unix://{folder}/socket",
        "DOCKER_CONFIG": f"{folder}/config",
        "HOME": str(folder),
    }
    daemon = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    daemon += [f"--host=unix://{folder}/socket", "--log-level=warn", *(() if apart else BESIDE)]
    begin = 'test "$0" = beside || { ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; }; exec "$@"'
    namespaces = [*store.entered, *(["unshare", "--net"] if apart else [])]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*namespaces, "sh", "-c", begin, "apart" if apart else "beside", *daemon],
            env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    engine = Engine(folder, process, environ)
    try:
        _wait_for(engine)
        yield engine
    finally:
        _end(engine)


def _wait_for(engine: Engine) -> None:
    deadline = time.monotonic() + DEADLINE
    while engine.docker("version", check=False).code != 0:
        assert engine.process.poll() is None, f"the engine ended:\n{(engine.folder / 'log').read_text()}"
        assert time.monotonic() < deadline, f"the engine did not start:\n{(engine.folder / 'log').read_text()}"
        time.sleep(0.1)


def _end(engine: Engine) -> None:
    """End it, and all that it started: its own children end with the session's processes."""
    if engine.process.poll() is None:
        names = engine.docker("ps", "--all", "--quiet", check=False).out.split()
        if names:
            engine.docker("rm", "--force", "--volumes", *names, check=False)
        engine.process.terminate()
    try:
        engine.process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(engine.process.pid, signal.SIGKILL)
        raise


def load_base(engine: Engine) -> None:
    """Give the engine what Dockerfile begins with."""
    changes = ["--change", "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--change", 'CMD ["python3"]']
    engine.docker("import", *changes, base_image(), BASE)


def build(engine: Engine, tag: str = IMAGE, *flags: str) -> Ran:
    """Build the image from the Dockerfile as it is, with packages from where this machine gets them."""
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        check=False, capture_output=True, text=True, timeout=DEADLINE,
    ).stdout.strip()  # fmt: skip
    argument = [f"--build-arg=PIP_INDEX_URL={index}"] if index else []
    [block] = blocks_of(BUILT_BY)
    asked = shlex.split(block.text)
    assert asked[:4] == ["docker", "build", "-t", IMAGE]
    command = ["docker", "build", "--network=host", *argument, *flags, "-t", tag, *asked[4:]]
    ran = when_it_succeeds(lambda: engine.run(*command, check=False, deadline=BUILD_DEADLINE))
    assert ran.code == 0, ran.said
    return ran
