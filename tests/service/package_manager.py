"""The stand-in Package Manager as a process, so that it can run where its test does not: in other namespaces.

Says its address on its first line; then one JSON list a line in, one JSON value a line out.
"""

import asyncio
import json
import sys
from pathlib import Path

from ppmproxy.stand_in import NoAnswer, StandIn, wheel


def acts_of(stand_in):
    """What it can be told to do, by name."""

    def seen():
        return [[one.path, one.authorization or ""] for one in stand_in.requests]

    return {
        "seen": seen,
        "accept": lambda token, expires_at: stand_in.accept_token(token, expires_at=expires_at),
        "hold": lambda pattern: stand_in.misbehave(pattern, NoAnswer()),
        "let_go": stand_in.behave,
        "clear": stand_in.clear,
        "approve": stand_in.approve,
    }


async def main(ca_file):
    loop = asyncio.get_running_loop()
    async with StandIn(device_interval=0.1, enforces_interval=False) as stand_in:
        stand_in.write_ca(Path(ca_file))
        stand_in.add(wheel("hello"))
        print(json.dumps([stand_in.url, stand_in.token]), flush=True)
        acts = acts_of(stand_in)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            name, *arguments = json.loads(line)
            print(json.dumps(acts[name](*arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
