"""What may happen to the files of a cache behind its back."""

import os
import sqlite3


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flipped_in_silence(path):
    times = path.stat()
    flipped(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncated(path):
    os.truncate(path, 10)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def replaced_by_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def replaced_by_a_fifo(path):
    path.unlink()
    os.mkfifo(path)


def removed(path):
    path.unlink()


DAMAGES = [
    flipped,
    flipped_in_silence,
    truncated,
    replaced_by_a_folder,
    replaced_by_a_link,
    replaced_by_a_fifo,
    removed,
]


def deleted(database):
    for path in database.parent.glob("index.sqlite3*"):
        path.unlink()


def damaged(database):
    deleted(database)
    database.write_bytes(b"this is no database" * 1000)


def of_a_newer_version(database):
    with sqlite3.connect(database) as found:
        found.execute("PRAGMA user_version=999")
    found.close()


def half_zeros(database):
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(200)
        file.write(bytes(size - 200))


def a_folder(database):
    deleted(database)
    database.mkdir()


OF_DATABASES = [damaged, of_a_newer_version, half_zeros, a_folder]
