"""Claims about the commands of systemd/README.md: run as they stand by the user's shell, they do what it says."""

import pytest
from downloads import MAY_DOWNLOAD
from readme import blocks_of
from service_person import PAGE

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

INSTALLS = "real/service/test_service_readme::test_the_readme_installs_shows_and_removes_a_service"
TOKEN = "real/service/test_service_readme::test_the_readme_hands_a_token_file_over"
LOOKS = "real/service/test_service_readme::test_the_readme_looks_at_a_service_and_changes_it"


@pytest.fixture
def shell(person):
    """The user's shell, with `ppmproxy` on its path, and the fake Package Manager for packagemanager.example.com."""
    path = f"{person.command.parent}:/usr/local/bin:/usr/bin:/bin"

    def run(block, **environ):
        script = block.text.replace("https://packagemanager.example.com", person.package_manager.url)
        ca_file = str(person.package_manager.ca_file)
        terminal = ["script", "-qec", f"set -eu\n{script}", "/dev/null"]  # an editor wants one
        return person.systemd.runs(*terminal, SHELL="/bin/bash", PATH=path, PPMPROXY_CA_FILE=ca_file, **environ)

    return run


def test_the_readme_installs_shows_and_removes_a_service(person, shell):
    """Running "real/service/test_service_readme::test_the_readme_installs_shows_and_removes_a_service"."""
    install, remove = blocks_of(INSTALLS)
    before = person.files()
    linger = person.systemd.write(".local/bin/loginctl", '#!/bin/sh\necho "$*" >~/.local/asked\n', 0o755)

    said = shell(install)
    assert said.code == 0, said
    assert f"active (running): {person.package_manager.url}" in said.out

    said = shell(remove)
    assert said.code == 0, said
    assert (person.systemd.home / ".local" / "asked").read_text() == "enable-linger\n"
    assert person.files() == before
    linger.unlink()


def test_the_readme_hands_a_token_file_over(person, shell):
    """Running "real/service/test_service_readme::test_the_readme_hands_a_token_file_over"."""
    [block] = blocks_of(TOKEN)

    said = shell(block, TOKEN=person.package_manager.token)

    assert said.code == 0, said
    assert (person.systemd.home / ".config/ppmproxy/token").stat().st_mode & 0o777 == 0o600
    assert person.asks(PAGE).startswith("200 ")
    assert person.package_manager.tokens_seen[-1] == person.package_manager.token


def test_the_readme_looks_at_a_service_and_changes_it(person, shell):
    """Running "real/service/test_service_readme::test_the_readme_looks_at_a_service_and_changes_it"."""
    [block] = blocks_of(LOOKS)
    person.installs()
    editor = person.systemd.write(
        ".local/bin/editor", '#!/bin/sh\nprintf "[Unit]\\nDescription=Mine\\n" >"$1"\n', 0o755
    )

    said = shell(block, SYSTEMD_EDITOR=str(editor), SYSTEMD_PAGER="")

    assert said.code == 0, said
    assert "Active: active (running)" in said.out
    assert person.package_manager.url in said.out
    assert person.of_service("Description") == "Mine"
    assert (person.systemd.units / "ppmproxy.service.d" / "override.conf").exists()
