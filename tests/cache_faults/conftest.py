"""The table of the cache's faults: printed at the end, and written into the benchmarks' README on demand."""

import re
from pathlib import Path

import pytest
from cached_upstream import Cached

from ppmproxy.testing.package_manager import wheel

README = Path(__file__).resolve().parents[1] / "benchmarks" / "README.md"
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
ROWS = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="write the table into tests/benchmarks/README.md")


def pytest_configure(config):
    config.stash[ROWS] = {}


@pytest.fixture
def observed(request):
    """Records a row: `observed("what was wrong", "what the client saw")`; only tests that pass count."""

    def record(fault, seen):
        request.config.stash[ROWS][fault] = seen

    return record


def table(rows):
    lines = ["| fault | what clients see |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {fault} | {seen} |" for fault, seen in rows.items())])


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("faults of the cache")
    terminalreporter.write_line(table(rows))
    if config.getoption("--write-table"):
        pattern = f"{BEGIN}.*{END}"
        text = README.read_text(encoding="utf-8")
        README.write_text(re.sub(pattern, f"{BEGIN}\n{table(rows)}\n{END}", text, flags=re.DOTALL), encoding="utf-8")


@pytest.fixture
def cached(package_manager, proxy, tmp_path):
    """As in tests/cache: starts a fake Package Manager, and a daemon with a cache in front of it."""
    made = []

    async def start(server=None, payload=bytes(range(256)) * 400, settings=None, options=None, **upstream):
        first = made[0] if made else None
        server = server or (first.server if first else await package_manager(**(options or {})))
        file = first.file if first else server.add(wheel("hello", payload=payload))
        token_file = tmp_path / "token"
        token_file.write_text(server.token)
        folder = (settings or {}).get("cache_dir", tmp_path / "cache")
        running = await proxy(
            server,
            environ={"PPMPROXY_TOKEN_FILE": str(token_file)},
            settings={"cache_dir": folder, **(settings or {})},
            **{"cache": True, "read_timeout": 1.0, **upstream},
        )
        made.append(Cached(server, running, file, folder, token_file))
        return made[-1]

    return start
