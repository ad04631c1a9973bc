"""Files in which no token can be read, and why."""

import os
from pathlib import Path


def missing(path):
    assert not path.exists()


def pipe(path):
    os.mkfifo(path)


BROKEN_FILES = {
    "missing": (missing, "no such file"),
    "directory": (Path.mkdir, "directory"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00\x01"), "is not text"),
    "two lines": (lambda path: path.write_text("one\ntwo\n"), "line break"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "larger than 1 mib"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic link"),
    "pipe": (pipe, "is empty"),
}
