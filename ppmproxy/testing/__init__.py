"""A fake Package Manager, for the demonstration, the leak test and the tests: `ppmproxy.testing.FakePackageManager`."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """`FakePackageManager`, imported when it is asked for: nothing else needs a server or a private authority."""
    if name == "FakePackageManager":
        from ppmproxy.testing.package_manager import FakePackageManager  # noqa: PLC0415

        return FakePackageManager
    raise AttributeError(name)
