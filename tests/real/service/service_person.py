"""A person who has ppmproxy as a service, and the Package Manager beside them."""

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from user_manager import UserManager

URL = "http://127.0.0.1:7760"
LONGEST_ANSWER = 120  # seconds for a request that a service may have to be started for
PAGE = f"{URL}/pypi/latest/simple/hello/"
ASK = f"""
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout={LONGEST_ANSWER}) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    sys.exit("nobody answers: " + str(error))
"""


@dataclass(frozen=True)
class PackageManager:
    """The fake Package Manager, in the user's network."""

    process: subprocess.Popen
    url: str
    token: str
    ca_file: Path

    def told(self, act, *arguments):
        """What it says to an act of package_manager.py."""
        self.process.stdin.write(json.dumps([act, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @property
    def tokens_seen(self):
        """The last words of each Authorization that it was sent, "" where there was none."""
        return [authorization.rpartition(" ")[2] for _, authorization in self.told("seen")]


@dataclass(frozen=True)
class Person:
    """The user, with ppmproxy installed by `uv tool`."""

    systemd: UserManager
    command: Path
    package_manager: PackageManager

    def runs(self, *words, **environ):
        """`ppmproxy …`."""
        return self.systemd.runs(self.command, *words, **environ)

    def installs(self, *words, **environ):
        """`ppmproxy service install`, in front of the fake Package Manager."""
        said = self.runs("service", "install", *words, **self.settings, **environ)
        assert said.code == 0, said
        self.package_manager.told("clear")  # the service was asked for its checks
        return said

    @property
    def settings(self):
        manager = self.package_manager
        return {"PPMPROXY_UPSTREAM": manager.url, "PPMPROXY_CA_FILE": str(manager.ca_file)}

    def begins(self, url):
        """A request, under way."""
        command = self.systemd.command("/usr/bin/env", "python3", "-c", ASK, url)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def asks(self, url):
        """Status and body of an answer; "" when there is none."""
        return answer_of(self.begins(url))

    def of_service(self, name):
        return self.systemd.property_of("ppmproxy.service", name)

    def of_socket(self, name):
        return self.systemd.property_of("ppmproxy.socket", name)

    def until_status(self, words):
        """Come back when `systemctl status` shows these words."""
        self.systemd.until(lambda: words in self.of_service("StatusText"), f"{words!r} in the status")
        return self.of_service("StatusText")

    def drops_in(self, unit, text):
        """What `systemctl --user edit` would write."""
        self.systemd.write(self.systemd.units / f"{unit}.d" / "test.conf", text)
        self.systemd.systemctl("daemon-reload")

    def files(self):
        """Everything in the home, but for what Python and systemd keep for themselves."""
        found = (path.relative_to(self.systemd.home) for path in self.systemd.home.rglob("*"))
        return sorted(str(path) for path in found if path.parts[0] not in {".local", ".cache"})


def answer_of(request):
    """The same, of a request that was under way."""
    out, _ = request.communicate(timeout=2 * LONGEST_ANSWER)
    return out


@contextlib.contextmanager
def holding(person, address):
    """Somebody else listens on an address of the person's machine."""
    host, _, port = address.rpartition(":")
    family = "AF_INET6" if ":" in host else "AF_INET"
    program = (
        f"import socket; s = socket.create_server(({host!r}, {port}), family=socket.{family}); "
        "print('there', flush=True)\nwhile True: s.accept()"
    )
    command = person.systemd.command("/usr/bin/env", "python3", "-c", program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "there\n"
        yield
        person.systemd.must("pkill", "-f", "create_server")
