"""Claims about Unix sockets to listen on: for one user alone, never in the place of a live one, gone afterwards."""

import os
import socket
import stat
import sys

import pytest
import real_users

from ppmproxy.access.listeners import open_listeners, url_of
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.errors import EXIT_CANNOT_LISTEN, CannotListenError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets on Windows")
two_users, open_folder = real_users.two_users, real_users.open_folder


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def path(folder):
    return folder / "ppmproxy.sock"


@pytest.fixture
def listening(path):
    [listener] = open_listeners([UnixAddress(path)])
    yield listener
    listener.close()


def refusal_of(path):
    with pytest.raises(CannotListenError) as caught:
        open_listeners([UnixAddress(path)])
    assert caught.value.exit_code == EXIT_CANNOT_LISTEN
    assert caught.value.hint
    return str(caught.value)


def connects(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def test_it_takes_connections_of_this_user_alone(listening, path):
    assert connects(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert url_of(listening) == f"unix:{path}"


def test_its_mode_does_not_depend_on_the_umask(path):
    before = os.umask(0)
    try:
        [listener] = open_listeners([UnixAddress(path)])
        with listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_it_is_gone_once_it_is_closed(listening, path):
    listening.close()
    listening.close()

    assert not path.exists()


def test_what_lies_there_by_then_is_left_alone(listening, path):
    path.unlink()
    path.write_text("somebody else's")

    listening.close()

    assert path.read_text() == "somebody else's"


def test_a_stale_socket_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    assert path.exists()

    [listener] = open_listeners([UnixAddress(path)])

    with listener:
        assert connects(path)


def test_a_live_socket_is_refused_and_its_process_named(listening, path):
    assert f"process {os.getpid()}" in refusal_of(path)
    assert connects(path)


def test_a_file_is_never_replaced(path):
    path.write_text("precious")

    assert "is not a socket" in refusal_of(path)
    assert path.read_text() == "precious"


def test_a_link_is_never_followed(path, folder):
    path.symlink_to(folder / "elsewhere")

    assert "is not a socket" in refusal_of(path)
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_may_write_to_is_refused(path, folder, mode):
    folder.chmod(mode)

    assert "could replace the socket" in refusal_of(path)


def test_a_folder_with_the_sticky_bit_is_fine(path, folder):
    folder.chmod(0o1777)

    [listener] = open_listeners([UnixAddress(path)])

    listener.close()


def test_a_folder_that_is_not_there_is_named(path, folder):
    folder.rmdir()

    assert f"the folder {folder} does not exist" in refusal_of(path)


def test_a_path_that_is_too_long_is_refused(folder):
    assert "cannot listen on" in refusal_of(folder / ("long" * 40))


def test_when_a_later_address_is_taken_the_path_is_gone_again(path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListenError):
        open_listeners([UnixAddress(path), TcpAddress("127.0.0.1", taken.getsockname()[1])])

    assert not path.exists()


@pytest.mark.real
def test_another_users_folder_is_refused(two_users, open_folder):
    somebody, _ = two_users
    os.chown(open_folder, somebody.uid, -1)

    assert f"belongs to another user (uid {somebody.uid})" in refusal_of(open_folder / "s")


@pytest.mark.real
def test_no_other_user_can_connect(two_users, open_folder):
    [listener] = open_listeners([UnixAddress(open_folder / "s")])

    with listener:
        for user in two_users:
            with pytest.raises(ConnectionError, match="PermissionError"):
                user.asked("connect", "c", "AF_UNIX", str(open_folder / "s"))
