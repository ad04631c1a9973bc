"""Claims about `listen = "auto"`: the usual port, or one of the user's own where another user has it, and it stays."""

import os
import socket
import sys

import pytest
import real_users
from free_ports import free_port

from ppmproxy.access.auto_port import own_port, port_file, with_chosen_port
from ppmproxy.config.local_address import AutoListen, TcpAddress
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment

two_users = real_users.two_users


@pytest.fixture
def environment(tmp_path):
    return Environment({}, tmp_path)


@pytest.fixture
def usual():
    """A port that nobody has, in place of 7760."""
    return free_port()


def port_of(usual, environment):
    chosen = with_chosen_port(Settings(listen=AutoListen.on(usual)), environment).listen
    assert chosen == (TcpAddress("127.0.0.1", chosen[0].port), TcpAddress("::1", chosen[0].port))
    return chosen[0].port


def test_a_user_who_can_have_the_usual_port_has_it_and_keeps_it(environment, usual):
    assert port_of(usual, environment) == usual
    assert port_file(environment) == environment.home / ".local/state/ppmproxy/port"
    assert port_file(environment).read_text() == f"{usual}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a port")
def test_a_port_that_this_user_has_already_is_the_usual_one(environment, usual):
    with socket.create_server(("127.0.0.1", usual)):
        assert port_of(usual, environment) == usual


@pytest.mark.parametrize(("family", "host"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_where_another_user_has_it_on_one_family_the_port_is_this_user_s_own(
    environment, usual, two_users, family, host
):
    two_users[0].asked("listen", "usual", family, [host, usual])
    try:
        chosen = port_of(usual, environment)
    finally:
        two_users[0].asked("close", "usual")

    assert chosen == own_port(os.getuid()) == 20000 + os.getuid() % 10000
    assert port_of(usual, environment) == chosen  # clients name it by now


@pytest.mark.parametrize("kept", ["20345", " 20345\n", "7760"])
def test_a_port_that_was_chosen_stays(environment, usual, kept):
    port_file(environment).parent.mkdir(parents=True)
    port_file(environment).write_text(kept)

    assert port_of(usual, environment) == int(kept)


@pytest.mark.parametrize("kept", ["", "0", "70000", "no port", "-1", "9" * 100])
def test_what_is_no_port_is_chosen_anew(environment, usual, kept):
    port_file(environment).parent.mkdir(parents=True)
    port_file(environment).write_text(kept)

    assert port_of(usual, environment) == usual
    assert port_file(environment).read_text() == f"{usual}\n"


def test_a_folder_that_cannot_be_written_is_no_fault(environment, usual):
    (environment.home / ".local").write_text("no folder")

    assert port_of(usual, environment) == usual


def test_addresses_of_one_s_own_stay(environment):
    settings = Settings(listen=(TcpAddress("127.0.0.1", 1234),))

    assert with_chosen_port(settings, environment) is settings
    assert not port_file(environment).exists()


def test_users_have_ports_of_their_own():
    assert [own_port(uid) for uid in (0, 1000, 1001, 31000)] == [20000, 21000, 21001, 21000]
