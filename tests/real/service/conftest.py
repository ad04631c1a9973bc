"""What the tests of the service share: a user with a systemd of their own, a Package Manager, an installation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from container_setup import engine, setup  # noqa: F401 - fixtures
from installations import uv_tool, wheelhouse
from service_person import PackageManager, Person
from user_manager import user_manager

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def wheels():
    with wheelhouse() as folder:
        yield folder


@pytest.fixture(scope="session")
def manager():
    with user_manager(f"ppm-s-{os.getpid()}") as running:
        yield running


@pytest.fixture(scope="session")
def package_manager_process(manager, tmp_path_factory):
    ca_file = manager.home / "package-manager.pem"
    command = [*manager.entering(), sys.executable, HERE / "package_manager.py", ca_file]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        url, token = json.loads(process.stdout.readline())
        ca_file.chmod(0o644)
        yield PackageManager(process, url, token, ca_file)
        process.stdin.close()


@pytest.fixture(scope="session")
def installed_person(manager, wheels, package_manager_process):
    return Person(manager, uv_tool(manager, wheels), package_manager_process)


@pytest.fixture
def person(installed_person):
    """Who has no service yet, and leaves none behind."""
    yield installed_person
    installed_person.package_manager.told("let_go")
    installed_person.package_manager.told("clear")
    installed_person.runs("service", "uninstall", "--force")
    systemd = installed_person.systemd
    systemd.must("sh", "-c", "rm -rf .config .ppm token*")
    systemd.runs("systemctl", "--user", "reset-failed")
    systemd.systemctl("daemon-reload")
