"""What a person meant who typed the name of a command, or a flag, that other programs have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

VERSION_FLAG = "--version"
VERSION = f"ppmproxy {VERSION_FLAG}"
_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("start", "serve", "server", "up", "daemon", "proxy"), "ppmproxy run"),
    **dict.fromkeys(("stop", "kill", "quit", "exit", "down", "end"), "ppmproxy shutdown"),
    **dict.fromkeys(("version", "ver"), VERSION),
    **dict.fromkeys(("info", "ps", "state", "show"), "ppmproxy status"),
    **dict.fromkeys(("check", "diagnose", "health", "test"), "ppmproxy doctor"),
    **dict.fromkeys(("signin", "sign-in", "auth", "token"), "ppmproxy login"),
    **dict.fromkeys(("signout", "sign-out"), "ppmproxy logout"),
    **dict.fromkeys(("settings", "set", "get"), "ppmproxy config show"),
    **dict.fromkeys(("setup", "init"), "ppmproxy configure pip"),
    "restart": "ppmproxy shutdown && ppmproxy run",
    "install": "ppmproxy service install",
    "uninstall": "ppmproxy service uninstall",
    "enable": "ppmproxy service install",
    "disable": "ppmproxy service uninstall",
    "prefetch": "ppmproxy cache prefetch uv.lock",
}
_VERSION_FLAGS = frozenset({VERSION_FLAG, "-V", "-v"})


def meant_command(name: str, commands: Collection[str]) -> str:
    """The command line that is most likely meant by a name that is no command; "" where none is likely."""
    plain = name.lower()
    if plain in commands:
        return f"ppmproxy {plain}"
    if meant := _MEANT.get(plain):
        return meant
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    near = get_close_matches(plain, [*commands, *_MEANT], n=1)
    return _MEANT.get(near[0], f"ppmproxy {near[0]}") if near else ""


def asks_for_version(word: str) -> bool:
    """Whether a word is a flag with which programs print their version."""
    return word in _VERSION_FLAGS
