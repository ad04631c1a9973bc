"""The settings file, read from disk, and the settings in force with everything else that has a say.

To change what is read before the settings are known, open this file.
"""

from __future__ import annotations

import errno
import io
import os
import selectors
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from ppmproxy.config.load import Candidate, Inputs, LoadedConfig, file_candidates, load
from ppmproxy.files import open_nonblocking

MAX_SIZE = 1 << 20  # bytes
PIPE_TIMEOUT = 5.0  # seconds for each piece of what is written into a pipe, as the shell's <(…) is


def read_settings(environ: Mapping[str, str], home: Path, flags: Mapping[str, str | None]) -> LoadedConfig:
    """The settings in force; `ConfigError` when the file cannot be read or something in it cannot be used.

    `flags` holds the settings given on the command line by key, and the file's path under ``config``.
    """
    given = dict(flags)
    candidates = file_candidates(environ, home, given.pop("config", None), sys.platform)
    name, text = _first_readable(candidates)
    return load(Inputs(home=home, environ=environ, flags=given, file_text=text, file_name=name))


def _first_readable(candidates: tuple[Candidate, ...]) -> tuple[str, str | None]:
    for candidate in candidates:
        try:
            return str(candidate.path), _text_of(candidate.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if candidate.is_explicit:
                raise candidate.unreadable("no such file") from error
        except OSError as error:
            raise candidate.unreadable((error.strerror or str(error)).lower()) from error
        except UnicodeDecodeError as error:
            raise candidate.unreadable("is not UTF-8 text") from error
    return "", None


def _text_of(path: Path, timeout: float = PIPE_TIMEOUT) -> str:
    """The whole text, with its line ends as Python has them; `OSError` also where there is no end to it."""
    with open(path, "rb", buffering=0, opener=open_nonblocking) as file:
        content = _content_of(file, timeout)
    if len(content) > MAX_SIZE:
        raise OSError(errno.EFBIG, f"has more than {MAX_SIZE} bytes")
    return io.StringIO(content.decode(), newline=None).read()


def _content_of(file: io.FileIO, timeout: float) -> bytes:
    content = bytearray()
    may_block = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    while len(content) <= MAX_SIZE:
        if may_block and not _is_readable(file, timeout):
            raise OSError(errno.ETIMEDOUT, f"a pipe into which nobody has written for {timeout:g} s")
        piece = file.read(MAX_SIZE + 1 - len(content))
        if not piece:
            break
        content += piece
    return bytes(content)


def _is_readable(file: io.FileIO, timeout: float) -> bool:
    """Whether there is something to read, or the end; `select` would fail where more than 1024 files are open."""
    selector: selectors.BaseSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    with selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(timeout))
