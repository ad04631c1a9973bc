"""Claims about `units`: the text of the units, and that the files in systemd/ have the same.

``python tests/cli/service/test_units.py`` writes those of a user anew. The one for a system is written by hand.
"""

import sys
from pathlib import Path

import pytest

from ppmproxy.cli.service.units import (
    UnitSettings,
    environment_of_unit,
    exec_line,
    first_unlistenable,
    is_unmodified,
    service_unit,
    socket_unit,
    version_in,
    with_digest,
)
from ppmproxy.config.local_address import TcpAddress, UnixAddress

FOLDER = Path(__file__).resolve().parents[3] / "systemd"
FILES = {
    "ppmproxy.service": service_unit(UnitSettings()),
    "ppmproxy.socket": socket_unit(UnitSettings()),
}
TEMPLATE = "ppmproxy@.service"
DIFFERS = ("Description=", "ExecStart=", "#LoadCredential=", "Also=")  # between a user's service and a system's
PROTECTED = ("CapabilityBoundingSet=", "PrivateDevices=", "Protect")
OF_A_USER = {"ProtectSystem=strict", "ProtectHome=read-only"}


def lines(unit):
    return unit.splitlines()


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_the_units_that_are_installed(name):
    assert (FOLDER / name).read_text() == FILES[name], "run python tests/cli/service/test_units.py"
    assert sorted(path.name for path in FOLDER.glob("ppmproxy*")) == sorted([*FILES, TEMPLATE])


def test_the_service_of_a_system_is_supervised_restricted_and_protected_as_a_user_s():
    template = lines((FOLDER / TEMPLATE).read_text())
    common = [line for line in lines(service_unit(UnitSettings(is_sandboxed=False))) if not line.startswith(DIFFERS)]
    protected = [line for line in lines(FILES["ppmproxy.service"]) if line.startswith(PROTECTED)]

    assert [line for line in template if line in common] == common
    assert {*protected} - OF_A_USER <= {*template}


def test_both_families_of_the_port_that_never_changes_are_listened_on():
    listened = [line for line in lines(FILES["ppmproxy.socket"]) if line.startswith("ListenStream=")]

    assert listened == ["ListenStream=127.0.0.1:7760", "ListenStream=[::1]:7760"]


def test_a_token_is_asked_for_only_where_there_is_a_file_of_it():
    """systemd does not start a service whose credential is missing, and with single sign-on there is no file."""
    assert "#LoadCredential=token:%h/.config/ppmproxy/token" in lines(service_unit(UnitSettings()))
    assert "LoadCredential=token:/a 100%%/token" in lines(service_unit(UnitSettings(token_file=Path("/a 100%/token"))))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("/usr/bin/python", "-m", "ppmproxy"), ':"/usr/bin/python" "-m" "ppmproxy"'),
        (("/a b/$HOME/%h",), ':"/a b/$HOME/%%h"'),
        (('/a"b\\c', "tab\there"), ':"/a\\"b\\\\c" "tab\\there"'),
    ],
)
def test_a_command_line_of_any_words_is_read_back_by_systemd(words, line):
    assert exec_line(*words) == line


def test_a_variable_is_written_so_that_systemd_reads_it_as_it_was():
    unit = service_unit(UnitSettings(environment=(("NAME", 'a "b" 100% $c\\'),)))

    assert 'Environment="NAME=a \\"b\\" 100%% $c\\\\"' in lines(unit)


@pytest.mark.parametrize("value", ["plain", 'a "b" 100% $c\\', "tab\tand\nline", "%%", "\\n", ""])
def test_what_a_unit_was_given_is_read_back_as_it_was(value):
    service = UnitSettings(environment=(("NAME", value), ("OTHER", "b")), token_file=Path("/a 100%/b:c"))

    assert environment_of_unit(service_unit(service)) == (service.environment, service.token_file)
    assert environment_of_unit(service_unit(UnitSettings())) == ((), None)


@pytest.mark.parametrize(
    ("address", "stream"),
    [
        (TcpAddress("localhost", 7760), "127.0.0.1:7760"),
        (TcpAddress("0.0.0.0", 80), "0.0.0.0:80"),
        (TcpAddress("::1", 7760), "[::1]:7760"),
        (UnixAddress(Path("/run/a b/100%")), "/run/a b/100%%"),
    ],
)
def test_an_address_is_written_as_systemd_writes_it(address, stream):
    assert f"ListenStream={stream}" in lines(socket_unit(UnitSettings(listen=(address,))))
    assert first_unlistenable([address]) is None


@pytest.mark.parametrize("address", [TcpAddress("127.0.0.1", 0), TcpAddress("pm.example.com", 7760)])
def test_an_address_that_a_socket_unit_cannot_have_is_found(address):
    assert first_unlistenable([TcpAddress("::1", 7760), address]) == address


def test_users_who_are_listed_cost_the_sandbox_that_would_hide_them():
    sandboxed, open_ = (lines(service_unit(UnitSettings(is_sandboxed=sandboxed))) for sandboxed in (True, False))

    assert "PrivateUsers=yes" in sandboxed
    assert not [line for line in open_ if line.startswith(("PrivateUsers=", "Protect", "CapabilityBoundingSet"))]
    assert "NoNewPrivileges=yes" in open_


def test_the_way_into_the_kernel_that_tells_users_apart_stays_open():
    [families] = [line for line in lines(FILES["ppmproxy.service"]) if line.startswith("RestrictAddressFamilies=")]

    assert "AF_NETLINK" in families


def test_a_written_unit_shows_its_version_and_every_later_change():
    text = with_digest(FILES["ppmproxy.service"], "1.2.3")

    assert is_unmodified(text)
    assert version_in(text) == "1.2.3"
    assert not is_unmodified(text.replace("WatchdogSec=30", "WatchdogSec=0"))
    assert not is_unmodified(text + "\n")
    assert not is_unmodified(FILES["ppmproxy.service"])
    assert not is_unmodified("")


def draw():
    """Write the files; git keeps them."""
    FOLDER.mkdir(exist_ok=True)
    for name, unit in FILES.items():
        (FOLDER / name).write_text(unit)


if __name__ == "__main__":
    draw()
    sys.stdout.write("drawn: systemd/\n")
