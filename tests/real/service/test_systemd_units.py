"""Claims about the units in systemd/, judged by systemd itself: 252 of this machine, and 257 unpacked beside it."""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from downloads import MAY_DOWNLOAD
from installations import ROOT
from newer_systemd import newer_systemd
from user_manager import DEADLINE

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

UNITS = ROOT / "systemd"
MOST_EXPOSED = {"ppmproxy.service": 2.0, "ppmproxy@.service": 3.0}  # of 10


@contextlib.contextmanager
def system_wide(person):
    """The command where the template has it, for as long as it is looked at; in the person's namespaces alone."""
    there = person.systemd.root_runs("mount", "-t", "tmpfs", "tmpfs", "/usr/local/bin")
    assert there.code == 0, there
    person.systemd.root_runs("cp", "/bin/true", "/usr/local/bin/ppmproxy")
    yield
    person.systemd.root_runs("umount", "/usr/local/bin")


def test_systemd_has_nothing_to_say_of_the_units_of_a_user(person):
    for name in ("ppmproxy.service", "ppmproxy.socket"):
        person.systemd.write(person.systemd.units / name, (UNITS / name).read_text())
    units = [person.systemd.units / "ppmproxy.service", person.systemd.units / "ppmproxy.socket"]

    said = person.systemd.runs("systemd-analyze", "--user", "verify", *units)

    assert (said.code, said.out, said.err) == (0, "", "")


def test_systemd_has_nothing_to_say_of_the_units_that_are_installed(person):
    person.installs(PPMPROXY_TOKEN_FILE=str(person.systemd.write("token", person.package_manager.token)))

    said = person.systemd.runs("systemd-analyze", "--user", "verify", person.systemd.units / "ppmproxy.service")

    assert (said.code, said.out, said.err) == (0, "", "")


def test_systemd_has_nothing_to_say_of_the_template(person):
    with system_wide(person):
        said = person.systemd.root_runs("systemd-analyze", "verify", UNITS / "ppmproxy@.service")

    assert (said.code, said.out, said.err) == (0, "", "")


def test_a_mistake_in_a_unit_would_have_been_said(person):
    text = (UNITS / "ppmproxy.service").read_text().replace("PrivateUsers=", "PrivateUser=")
    person.systemd.write(person.systemd.units / "ppmproxy.service", text)

    said = person.systemd.runs("systemd-analyze", "--user", "verify", person.systemd.units / "ppmproxy.service")

    assert "PrivateUser" in said.err


def exposure(said):
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])


def test_the_service_of_a_user_is_exposed_to_little(person):
    person.installs()

    said = person.systemd.must("systemd-analyze", "--user", "security", "--no-pager", "ppmproxy.service")

    assert exposure(said) <= MOST_EXPOSED["ppmproxy.service"], said


def test_the_service_of_a_system_is_exposed_to_little(person):
    with system_wide(person):
        said = person.systemd.root_runs(
            "systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / "ppmproxy@.service"
        )

    assert exposure(said.out) <= MOST_EXPOSED["ppmproxy@.service"], said


# --- 257 --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def debian_13():
    """A folder with Debian 13's systemd in it, and our units where it looks for a user's and a system's."""
    with newer_systemd() as root:
        yield root


def analyze(root, *words):
    inside = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root / 'proc'}", "chroot", root]
    command = [*inside, "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", "XDG_RUNTIME_DIR=/run/user/0"]
    return subprocess.run(
        [*command, "systemd-analyze", *words], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@pytest.fixture
def units(debian_13):
    folder = debian_13 / "units"
    shutil.copytree(UNITS, folder, dirs_exist_ok=True)
    for command in ("root/.local/bin/ppmproxy", "usr/local/bin/ppmproxy"):
        file = debian_13 / command
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    return Path("/units")


def test_it_is_a_newer_systemd_that_is_asked(debian_13):
    assert analyze(debian_13, "--version").stdout.startswith("systemd 257")


@pytest.mark.parametrize(
    ("scope", "name"),
    [("--user", "ppmproxy.service"), ("--user", "ppmproxy.socket"), ("--system", "ppmproxy@.service")],
)
def test_a_newer_systemd_has_nothing_to_say_of_the_units(debian_13, units, scope, name):
    said = analyze(debian_13, scope, "verify", str(units / name))

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_a_newer_systemd_takes_them_for_little_exposed_too(debian_13, units, name):
    said = analyze(debian_13, "security", "--offline=true", "--no-pager", str(units / name))

    assert exposure(said.stdout) <= MOST_EXPOSED[name], said
