"""The names of Python projects, as indexes have them."""

from __future__ import annotations

import re
from typing import Final

_SEPARATORS: Final = re.compile("[-_.]+")


def normalized(project: str) -> str:
    """A project's name in the spelling that URLs have (PEP 503)."""
    return _SEPARATORS.sub("-", project).lower()
