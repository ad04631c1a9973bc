"""The fake Package Manager as a process, so that it can run where its test does not: in other namespaces.

    python package_manager.py CA_FILE [HOST_NAME WHEEL …]

Says its address on its first line; then one JSON list a line in, one JSON value a line out. With a host name it has the
usual port for https, and offers these wheels.
"""

import asyncio
import json
import sys
from pathlib import Path

from ppmproxy.testing.package_manager import Distribution, FakePackageManager, NoAnswer, wheel


def acts_of(package_manager):
    """What it can be told to do, by name."""

    def seen():
        return [[one.path, one.authorization or ""] for one in package_manager.requests]

    def approve_pending():
        try:
            package_manager.approve()
        except LookupError:
            return False
        return True

    return {
        "seen": seen,
        "accept": lambda token, expires_at: package_manager.accept_token(token, expires_at=expires_at),
        "hold": lambda pattern: package_manager.add_fault(pattern, NoAnswer()),
        "let_go": package_manager.clear_faults,
        "clear": package_manager.clear,
        "approve": package_manager.approve,
        "approve_pending": approve_pending,
    }


async def main(ca_file, name="", *wheels):
    loop = asyncio.get_running_loop()
    place = {"port": 443, "certificate_for": (name,)} if name else {}
    async with FakePackageManager(device_interval=0.1, enforces_interval=False, **place) as package_manager:
        package_manager.write_ca(Path(ca_file))
        package_manager.add(wheel("hello"))
        for path in map(Path, wheels):
            package_manager.add(Distribution(path.name, path.read_bytes()))
        print(json.dumps([package_manager.url, package_manager.token]), flush=True)
        acts = acts_of(package_manager)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            name, *arguments = json.loads(line)
            print(json.dumps(acts[name](*arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
