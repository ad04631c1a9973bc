from pathlib import Path

import pytest

from ppmproxy.clients.paths import uv_own_files
from ppmproxy.environment import Environment

USERS = "/home/u/.config/uv/uv.toml"


@pytest.mark.parametrize(
    ("environ", "there", "files"),
    [
        ({}, [], ["/etc/uv/uv.toml", USERS]),
        ({}, ["/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml"], ["/etc/xdg/uv/uv.toml", USERS]),
        ({"XDG_CONFIG_DIRS": "/a:relative:/b"}, ["/b/uv/uv.toml"], ["/b/uv/uv.toml", USERS]),
        ({"XDG_CONFIG_DIRS": "/a"}, ["/etc/xdg/uv/uv.toml"], ["/etc/uv/uv.toml", USERS]),
        ({"UV_CONFIG_FILE": "/mine.toml"}, ["/etc/uv/uv.toml"], ["/mine.toml"]),
    ],
)
def test_uv_reads_the_first_file_of_the_system_and_the_user_s(environ, there, files):
    exists = {Path(path) for path in there}.__contains__
    here = Environment(environ, Path("/home/u"), Path("/p"), "linux", exists)

    assert [path.as_posix() for path in uv_own_files(here)] == files
