"""Reading the settings: the file from disk, then the settings in force.

The file may be a pipe, as the shell's <(…) is. It is read with limits on size and time.
"""

from __future__ import annotations

import errno
import io
import os
import selectors
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ppmproxy.config.load import Candidate, ConfigInputs, LoadedConfig, file_candidates, load
from ppmproxy.environment import Environment
from ppmproxy.files import open_nonblocking

MAX_SIZE = 1 << 20  # bytes
PIPE_TIMEOUT = 5.0  # seconds for each piece of a pipe


def read_settings(environment: Environment, flags: Mapping[str, str | None]) -> LoadedConfig:
    """The settings in force; `ConfigError` when the file cannot be read, or for a mistake in a setting.

    `flags` has the command line's settings by key, and the file's path under ``config``.
    """
    given = dict(flags)
    candidates = file_candidates(environment, given.pop("config", None))
    name, text = _first_readable(candidates)
    return replace(load(ConfigInputs(environment, given, text, name)), file_name=name, candidates=candidates)


def _first_readable(candidates: tuple[Candidate, ...]) -> tuple[str, str | None]:
    for candidate in candidates:
        try:
            return str(candidate.path), _text_of(candidate.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if candidate.is_explicit:
                raise candidate.unreadable("no such file") from error
        except IsADirectoryError as error:
            raise candidate.unreadable("is a directory", "put a file in its place") from error
        except OSError as error:
            raise candidate.unreadable((error.strerror or str(error)).lower()) from error
        except UnicodeDecodeError as error:
            raise candidate.unreadable("is not UTF-8 text", "save it as UTF-8") from error
    return "", None


def _text_of(path: Path, timeout: float = PIPE_TIMEOUT) -> str:
    """The file's text with normalised line ends; `OSError`, also for a file without end."""
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
    """Whether data or the end of the file arrives in time. Not by `select`, which fails beyond 1024 descriptors."""
    selector: selectors.BaseSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    with selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(timeout))
