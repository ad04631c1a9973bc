import fcntl
import io
import os
import resource
import threading

import pytest

from ppmproxy.config.read import MAX_SIZE, _content_of, _text_of, read_settings
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

MANY = 1500  # beyond the limit of `select`


def settings_in(path, tmp_path):
    return read_settings(Environment({}, tmp_path), {"config": str(path)}).settings


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_with_any_line_ends(newline, tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(newline.join(['upstream = "https://pm.example.com"', "drain_timeout = 7", ""]).encode())

    assert settings_in(path, tmp_path).drain_timeout == 7


def test_a_pipe_is_read_to_its_end(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_text, args=["drain_timeout = 7\n"])
    writing.start()

    settings = settings_in(path, tmp_path)

    writing.join()
    assert settings.drain_timeout == 7


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= MANY, reason="so many may not be open here")
def test_a_pipe_is_read_by_a_daemon_that_has_many_files_open(tmp_path):
    many = fcntl.fcntl(0, fcntl.F_DUPFD, MANY)
    reading, writing = os.pipe()
    os.write(writing, b"drain_timeout = 7\n")
    os.close(writing)
    os.dup2(reading, many)
    os.close(reading)

    with io.FileIO(many) as pipe:
        assert _content_of(pipe, 0.1) == b"drain_timeout = 7\n"


def test_a_pipe_without_data_is_an_error_after_a_time_limit(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="nobody has written"):
        _text_of(tmp_path / "pipe", 0.1)


@pytest.mark.parametrize("name", ["large.toml", "/dev/zero"])
def test_a_file_that_is_too_large_is_refused_without_reading_it_to_its_end(name, tmp_path):
    (tmp_path / "large.toml").write_text("#" * (MAX_SIZE + 1))

    with pytest.raises(ConfigError, match="has more than"):
        settings_in(tmp_path / name, tmp_path)


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="is a directory"):
        settings_in(tmp_path, tmp_path)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        ('upstream = "https://pm.example.com"\n'.encode("utf-16"), "is not UTF-8 text", "save it as UTF-8"),
        (b'upstream = "\xff"\n', "is not UTF-8 text", "save it as UTF-8"),
        (None, "is a directory", "put a file in its place"),
    ],
)
def test_the_advice_for_a_file_that_cannot_be_read_mends_it(tmp_path, named, content, what, remedy):
    path = tmp_path / ".config" / "ppmproxy" / "config.toml"
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=what) as caught:
        read_settings(Environment({}, tmp_path, platform="linux"), {"config": str(path)} if named else {})

    assert caught.value.hint.startswith(f"{remedy}, or name another file")
