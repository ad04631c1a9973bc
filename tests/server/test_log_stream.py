"""Claims about `log_stream`: an unread log does not block the daemon, and dropped events are counted."""

import asyncio
import json
import os
import signal
import sys
import threading

import aiohttp
import pytest
from processes import START_DEADLINE, plain_environment
from proxy_client import DEADLINE

from ppmproxy.server.log_stream import BackgroundStream

if sys.platform == "win32":
    pytest.skip("a pipe of Windows has no such limit", allow_module_level=True)

LINE = "x" * 999 + "\n"


class Pipe:
    """A pipe with a writer at one end; the other is read when the test says so."""

    def __init__(self, max_queued):
        self.reading, self.writing = os.pipe()
        self.dropped = []
        self.writer = BackgroundStream(self.writing, max_queued=max_queued, on_dropped=self.dropped.append)

    def read_all(self):
        """Close the writer's end, and read what comes until the end."""
        received = bytearray()
        reading = threading.Thread(target=lambda: [received.extend(piece) for piece in iter(self._piece, b"")])
        reading.start()
        self.writer.close(DEADLINE)
        os.close(self.writing)
        reading.join(DEADLINE)
        os.close(self.reading)
        return received.decode()

    def _piece(self):
        return os.read(self.reading, 65536)


def test_every_line_is_written_in_order():
    pipe = Pipe(10_000)

    for number in range(1000):
        pipe.writer.write(f"{number}\n")

    assert pipe.read_all() == "".join(f"{number}\n" for number in range(1000))
    assert pipe.dropped == []


def test_an_unread_pipe_does_not_block_writers_and_dropped_writes_are_counted():
    pipe = Pipe(100)

    for _ in range(1000):
        pipe.writer.write(LINE)
    written = pipe.read_all().count("\n")

    assert sum(pipe.dropped) == 1000 - written
    assert 100 <= written < 1000


def test_the_end_does_not_wait_for_a_reader():
    pipe = Pipe(1000)
    for _ in range(200):
        pipe.writer.write(LINE)

    pipe.writer.close(0.05)

    assert pipe.writer._thread.is_alive()
    pipe.read_all()


def test_a_pipe_without_a_reader_is_reported():
    pipe = Pipe(1000)
    os.close(pipe.reading)

    pipe.writer.write(LINE)
    pipe.writer.close(DEADLINE)
    os.close(pipe.writing)

    with pytest.raises(BrokenPipeError):
        pipe.writer.write(LINE)


async def test_a_daemon_whose_log_nobody_reads_goes_on_serving_and_ends_at_sigterm(tmp_path):
    environ = plain_environment(tmp_path, PPMPROXY_LISTEN="127.0.0.1:0", PPMPROXY_LOG_LEVEL="debug")
    reading, writing = os.pipe()
    command = (sys.executable, "-m", "ppmproxy", "run")
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=writing, stderr=writing)
    os.close(writing)
    try:
        url = await asyncio.wait_for(asyncio.to_thread(url_in, reading), START_DEADLINE)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as session:
            statuses = []
            for _ in range(500):  # the pipe holds the lines of about a hundred
                async with session.get(f"{url}/-/nothing/{'x' * 500}") as response:
                    statuses.append(response.status)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), DEADLINE)
    finally:
        if process.returncode is None:
            process.kill()
        os.close(reading)

    assert set(statuses) == {404}
    assert code == 0


def url_in(descriptor):
    """The URL of the daemon that writes its log here; the rest of the log is not read."""
    received = b""
    while True:
        received += os.read(descriptor, 100)
        for line in received.split(b"\n")[:-1]:
            if b'"daemon_listening"' in line:
                return json.loads(line)["urls"][0]
