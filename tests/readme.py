"""The commands of README.md and of the pages it links to, as tests run them: blocks behind a comment that names a test.

    <!-- run by real/service/test_service_readme::test_the_service_is_installed_by_the_commands_of_the_readme -->
    ```sh
    ppmproxy service install
    ```

Every block of shell commands on the pages in `RUN` is marked (`test_readme`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ("README.md", "systemd/README.md", "docker/README.md")
PAGES = (*RUN, "ppmproxy/clients/README.md", "tests/README.md", "SECURITY.md", "CHANGELOG.md")
LONGEST = 250  # lines of README.md
_BLOCK = re.compile(
    r"(?:^<!-- run by (?P<test>\S+) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the test that runs it; "" for one that nobody runs."""

    test: str
    language: str
    text: str


def page(name: str = "README.md") -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(title: str) -> str:
    """Everything below a heading of the second level of README.md."""
    return page().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks_in(text: str) -> list[Block]:
    """Every fenced block of a text."""
    return [Block(found["test"] or "", found["language"], found["text"]) for found in _BLOCK.finditer(text)]


def blocks_of(test: str) -> list[Block]:
    """The blocks that a test runs, in their order; there has to be one."""
    found = [block for name in RUN for block in blocks_in(page(name)) if block.test == test]
    assert found, f"no page of {', '.join(RUN)} has a block marked: <!-- run by {test} -->"
    return found
