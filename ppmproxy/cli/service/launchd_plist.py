"""A launchd agent for ppmproxy, as macOS wants it described.

To change how macOS starts the service and keeps it alive, open this file (launchd.plist(5)).
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.parsers.expat import ExpatError

LABEL = "ppmproxy"


def agent(program: Sequence[str], environment: Mapping[str, str], log: Path) -> str:
    """The property list: started at login, and again whenever it fails."""
    description: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": list(program),
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "ProcessType": "Background",
        "Umask": 0o077,
        "WorkingDirectory": "/",
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return plistlib.dumps(description, sort_keys=False).decode()


def environment_of(description: str) -> dict[str, str]:
    """The variables in a property list of ours; none in one that cannot be read."""
    try:
        found = plistlib.loads(description.encode()).get("EnvironmentVariables", {})
        return {str(name): str(value) for name, value in found.items()}
    except (plistlib.InvalidFileException, ExpatError, ValueError, AttributeError):
        return {}
