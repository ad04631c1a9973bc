"""How each operating system takes a certificate authority into its store, where Python trusts what is in there.

Sources: update-ca-certificates(8) of Debian and Alpine, update-ca-trust(8) of Fedora, ca-certificates of openSUSE,
trust(1) of Arch, security(1) of macOS, certutil of Windows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

OS_RELEASE = Path("/etc/os-release")  # os-release(5)


@dataclass(frozen=True, slots=True)
class SystemStore:
    """The command that adds an authority, CA.crt, and the folders that it fills; none where there is no folder."""

    command: str
    folders: tuple[str, ...] = ()

    def fills(self, places: Collection[str]) -> bool:
        """Whether what is added is found at one of these places; a Python of its own may look elsewhere."""
        real = [os.path.realpath(place) for place in places]
        return not self.folders or any(
            place == folder or place.startswith(f"{folder}/") for place in real for folder in self.folders
        )


_DEBIAN = SystemStore(
    "sudo cp CA.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates", ("/etc/ssl/certs",)
)
_BY_ID = {
    **dict.fromkeys(("debian", "ubuntu", "alpine"), _DEBIAN),
    **dict.fromkeys(
        ("fedora", "rhel", "centos"),
        SystemStore("sudo cp CA.crt /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust", ("/etc/pki",)),
    ),
    **dict.fromkeys(
        ("suse", "opensuse"),
        SystemStore(
            "sudo cp CA.crt /etc/pki/trust/anchors/ && sudo update-ca-certificates",
            ("/etc/ssl", "/var/lib/ca-certificates"),
        ),
    ),
    "arch": SystemStore("sudo trust anchor CA.crt", ("/etc/ssl", "/etc/ca-certificates")),
}
_BY_PLATFORM = {
    "darwin": SystemStore(
        "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain CA.crt"
    ),
    "win32": SystemStore("certutil -addstore -f Root CA.crt"),
}


def system_store(platform: str = sys.platform, os_release: Path = OS_RELEASE) -> SystemStore | None:
    """The store of this system; None where it is not known."""
    if platform != "linux":
        return _BY_PLATFORM.get(platform)
    try:
        lines = os_release.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    ids = [said.get("ID", ""), *said.get("ID_LIKE", "").split()]
    return next((_BY_ID[one] for one in ids if one in _BY_ID), None)
