"""The settings file, read from disk, and the settings in force with everything else that has a say.

To change what is read before the settings are known, open this file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from ppmproxy.config import Candidate, Effective, Inputs, file_candidates, load


def effective_settings(environ: Mapping[str, str], home: Path, flags: Mapping[str, str | None]) -> Effective:
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
            return str(candidate.path), candidate.path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            if candidate.is_explicit:
                raise candidate.unreadable("no such file") from error
        except OSError as error:
            raise candidate.unreadable((error.strerror or str(error)).lower()) from error
        except UnicodeDecodeError as error:
            raise candidate.unreadable("is not UTF-8 text") from error
    return "", None
