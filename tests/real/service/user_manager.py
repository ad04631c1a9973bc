"""A real `systemd --user` with a journal of its own, for a real Linux user, in namespaces of its own.

It needs no systemd as PID 1 and no login. Processes, mounts, cgroups and network are the manager's own: its loopback
has every port free, and of the machine it touches one empty cgroup, which is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from downloads import skip_or_fail
from real_users import _administer

SYSTEMD = Path("/lib/systemd/systemd")
PROGRAMS = (
    "useradd",
    "unshare",
    "nsenter",
    "setpriv",
    "script",
    "curl",
    "ip",
    "systemctl",
    "journalctl",
    "dbus-daemon",
)
PACKAGES = "apt-get install systemd dbus-user-session passwd util-linux iproute2"
DEADLINE = 240.0  # seconds for one command; most take one
START_DEADLINE = 90.0
PATH = "/usr/local/bin:/usr/bin:/bin"

# Its cgroups first: a manager that starts in the root cgroup would move every other process. The tmpfs are what a
# booted machine has, as far as systemd looks at it; sandboxes are built in `unit-root`. The journal has to be
# persistent, or it is not kept by user. As process 1, a manager would not be a user's.
START = """
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
unit=/sys/fs/cgroup/user.slice/user-$ID.slice/user@$ID.service
mkdir -p "$unit" /sys/fs/cgroup/init.scope
chown "$ID" "$unit" "$unit"/cgroup.procs "$unit"/cgroup.subtree_control "$unit"/cgroup.threads
for folder in /var/log /var/lib/systemd; do
  mkdir -p "$folder"
  mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mkdir -p /run/systemd/system /run/systemd/unit-root /run/systemd/propagate /run/systemd/incoming /run/systemd/journal
mkdir -p /run/log/journal /run/user /run/credentials /var/log/journal /var/lib/systemd/linger
install -d -m 700 -o "$ID" -g "$ID" "/run/user/$ID"
ip link set lo up
echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
/lib/systemd/systemd-journald &
until [ -S /run/systemd/journal/stdout ] && [ -S /run/systemd/journal/socket ]; do sleep 0.02; done
until journalctl --flush; do sleep 0.1; done  # it takes orders a moment later than lines
(
echo $BASHPID >"$unit/cgroup.procs"
exec setpriv --reuid="$ID" --regid="$ID" --init-groups env -i HOME="$HOME_OF" USER="$NAME" LOGNAME="$NAME" \\
  PATH="$PATH" LANG=C.UTF-8 XDG_RUNTIME_DIR="/run/user/$ID" SYSTEMD_LOG_TARGET=journal SYSTEMD_LOG_LEVEL=info \\
  /lib/systemd/systemd --user
) &
wait $!
"""


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class UserManager:
    """A user with a running `systemd --user`."""

    name: str
    uid: int
    home: Path
    init: int  # process that everything else in the namespaces descends from
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def units(self) -> Path:
        return self.home / ".config" / "systemd" / "user"

    @property
    def runtime(self) -> Path:
        return Path("/run/user") / str(self.uid)

    def command(self, *words: str | Path, **environ: str) -> list[str]:
        """A command line that runs something as the user, there; an empty variable is left out."""
        variables = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime}/bus",
            **self.environ,
            **environ,
        }
        kept = [f"{name}={value}" for name, value in variables.items() if value]
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "env", "-i", "-C"]
        return [*self.entering(), *become, str(self.home), *kept, *map(str, words)]

    def entering(self) -> list[str]:
        """What brings a command of root's into the namespaces."""
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--net", "--cgroup"]

    def runs(self, *words: str | Path, deadline: float = DEADLINE, **environ: str) -> Said:
        """Run something as the user, to its end."""
        return _said(self.command(*words, **environ), deadline)

    def root_runs(self, *words: str | Path) -> Said:
        """Run something as root, in there."""
        return _said([*self.entering(), *map(str, words)], DEADLINE)

    def must(self, *words: str | Path, **environ: str) -> str:
        """What a command says that has to succeed."""
        said = self.runs(*words, **environ)
        assert said.code == 0, f"{words}: {said}"
        return said.out

    def systemctl(self, *words: str) -> str:
        return self.must("systemctl", "--user", *words)

    def property_of(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` prints it; "" for one that is not loaded."""
        return self.systemctl("show", "--property", name, "--value", unit).strip()

    def until(self, true: Callable[[], bool], what: str, deadline: float = START_DEADLINE) -> None:
        """Come back as soon as something is true."""
        end = time.monotonic() + deadline
        while not true():
            assert time.monotonic() < end, f"{what} did not come true:\n{self.journal()}"
            time.sleep(0.05)

    def journal(self, *words: str) -> str:
        """What the journal has of the user's units, as text alone."""
        self.root_runs("journalctl", "--sync")
        return self.root_runs("journalctl", "--no-pager", "-o", "cat", f"_UID={self.uid}", *words).out

    def write(self, path: Path | str, text: str, mode: int = 0o600) -> Path:
        """A file of the user's."""
        file = self.home / path
        for folder in reversed([folder for folder in file.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.uid)
        file.write_text(text)
        file.chmod(mode)
        os.chown(file, self.uid, self.uid)
        return file


def _said(command: list[str], deadline: float) -> Said:
    ended = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=deadline, check=False
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)


def check_ground() -> None:
    """Skip, or fail, where no such manager can be started."""
    if sys.platform != "linux" or os.geteuid() != 0:
        skip_or_fail("users and namespaces cannot be made here", "run the tests as root on Linux")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed", f"on Debian: {PACKAGES}")
    if not SYSTEMD.exists():
        skip_or_fail("systemd is not installed", f"on Debian: {PACKAGES}")


@contextlib.contextmanager
def user_manager(name: str) -> Iterator[UserManager]:
    """A user with a manager, both gone afterwards."""
    check_ground()
    with _user(name) as (uid, home), _cgroup(uid) as cgroup, tempfile.TemporaryFile() as said:
        start = f'echo $$ >"{cgroup}/cgroup.procs"; exec "$@"'
        enter = ["unshare", "--mount", "--cgroup", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
        inside = ["--propagation=private", "bash", "-euc", START]
        environ = {"PATH": f"{PATH}:/usr/sbin:/sbin", "ID": str(uid), "NAME": name, "HOME_OF": str(home)}
        process = subprocess.Popen(
            ["bash", "-euc", start, "bash", *enter, *inside],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environ,
        )
        try:
            manager = UserManager(name, uid, home, _child_of(process, said))
            _wait_until_running(manager, process, said)
            yield manager
        finally:
            process.kill()  # and with it goes the first process in there, and everything that it began
            process.wait()


@contextlib.contextmanager
def _user(name: str) -> Iterator[tuple[int, Path]]:
    _administer("useradd", "--create-home", "--shell", "/bin/bash", name)
    about = pwd.getpwnam(name)
    try:
        yield about.pw_uid, Path(about.pw_dir)
    finally:
        _administer("userdel", "--force", name)  # processes that were killed may take a moment to go
        shutil.rmtree(about.pw_dir, ignore_errors=True)


@contextlib.contextmanager
def _cgroup(uid: int) -> Iterator[Path]:
    """A cgroup in the unified hierarchy, beside which there may be the older ones."""
    root = Path("/sys/fs/cgroup")
    root = root / "unified" if (root / "unified").is_dir() else root
    if not (root / "cgroup.procs").exists() or not os.access(root, os.W_OK):
        skip_or_fail("there is no cgroup that could be written to", "mount cgroup2 at /sys/fs/cgroup")
    cgroup = root / f"ppmproxy-test-{uid}-{os.getpid()}"
    try:
        cgroup.mkdir()
    except OSError as error:
        skip_or_fail(f"no cgroup can be made ({error.strerror})", "run where cgroups may be written to")
    try:
        yield cgroup
    finally:
        end = time.monotonic() + DEADLINE
        while not _removed(cgroup) and time.monotonic() < end:
            time.sleep(0.05)  # the last processes are still ending


def _removed(cgroup: Path) -> bool:
    folders = [Path(folder) for folder, _, _ in os.walk(cgroup, topdown=False)]
    try:
        for folder in folders:
            folder.rmdir()
    except OSError:
        return False
    return True


def _child_of(process: subprocess.Popen[bytes], said: tempfile._TemporaryFileWrapper[bytes]) -> int:
    """The first process inside: the only child of `unshare`."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + START_DEADLINE
    while time.monotonic() < end and process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise _not_started(said)


def _wait_until_running(
    manager: UserManager, process: subprocess.Popen[bytes], said: tempfile._TemporaryFileWrapper[bytes]
) -> None:
    """Look from outside at first: a command in there would be in the way of its mounts."""
    bus = Path(f"/proc/{manager.init}/root{manager.runtime}/bus")
    end = time.monotonic() + START_DEADLINE
    while process.poll() is None and time.monotonic() < end:
        if bus.exists():
            state = manager.runs("systemctl", "--user", "is-system-running").out.strip()
            if state in {"running", "degraded"}:
                return
        time.sleep(0.05)
    raise _not_started(said)


def _not_started(said: tempfile._TemporaryFileWrapper[bytes]) -> AssertionError:
    said.seek(0)
    return AssertionError(f"systemd --user did not start:\n{said.read().decode('utf-8', 'replace')}")
