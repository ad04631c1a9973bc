"""A process of another user that gives names a new meaning while somebody acts on them.

Started by root as `racing_user.py UID names|file|folder FOLDER TARGET`; it becomes that user first, writes one line
once it has begun, and goes on until it is killed.
"""

import contextlib
import os
import sys
from pathlib import Path


def swap_names(folder, target):
    """Put a link to `target` in the place of every hidden file that appears."""
    while True:
        for path in folder.iterdir():
            if path.name.startswith("."):
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.symlink_to(target)


def swap_file(folder, target):
    """Have ``requirements.txt`` be a file and a link to `target` in turn."""
    file, link = folder / "file", folder / "link"
    while True:
        file.write_text("six\n")
        file.replace(folder / "requirements.txt")
        link.symlink_to(target)
        link.replace(folder / "requirements.txt")


def swap_folder(folder, target):
    """Have ``project`` be a folder and a link to `target` in turn."""
    folder.joinpath("real").mkdir()
    folder.joinpath("real").chmod(0o777)
    folder.joinpath("link").symlink_to(target)
    while True:
        for meaning in ("real", "link"):
            with contextlib.suppress(OSError):
                folder.joinpath(meaning).rename(folder / "project")
                folder.joinpath("project").rename(folder / meaning)


def main():
    user, act, folder, target = int(sys.argv[1]), *sys.argv[2:]
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    print("begun", flush=True)
    {"names": swap_names, "file": swap_file, "folder": swap_folder}[act](Path(folder), Path(target))


if __name__ == "__main__":
    main()
