"""A clock of the tests, and what a fake Package Manager was sent during a sign-in."""

import time

from ppmproxy.auth.secret import Secret
from ppmproxy.testing.package_manager import (
    jwt,
)

SOON = 10  # seconds of real time; nothing here takes as long


class Time:
    """A clock that advances only by sleeping; the client and the fake Package Manager share it."""

    def __init__(self, package_manager):
        self.package_manager = package_manager
        self.started = time.time()
        self.slept = []
        self.happenings = []
        package_manager.clock = lambda: self.started

    def now(self):
        return self.started + sum(self.slept)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.package_manager.clock_offset += seconds
        if self.happenings:
            self.happenings.pop(0)()

    def meanwhile(self, *happenings):
        self.happenings += happenings


async def no_pause(_seconds):
    pass


def identity(**claims):
    return Secret(jwt({"aud": "ppm", "sub": "repo:acme/app", "exp": time.time() + 60} | claims))
