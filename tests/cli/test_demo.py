"""Claims about `ppmproxy demo`: it leaves nothing behind, however it ends."""

import asyncio
import signal
import sys

import pytest
from processes import START_DEADLINE, STOP_DEADLINE, plain_environment


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_demonstration_that_is_ended_in_the_middle_leaves_nothing_behind(tmp_path, number):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ppmproxy", "demo"),
        env=plain_environment(tmp_path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    while b" install --index-url" not in await asyncio.wait_for(process.stdout.readline(), START_DEADLINE):
        pass
    folders = [*tmp_path.glob("ppmproxy-demo-*")]

    process.send_signal(number)

    await asyncio.wait_for(process.communicate(), STOP_DEADLINE)
    assert process.returncode == 128 + number
    assert len(folders) == 1
    assert [*tmp_path.glob("ppmproxy-demo-*")] == []
