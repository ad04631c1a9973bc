"""The README's commands, as tests run them: fenced blocks behind a comment that names the test.

    <!-- run by real/service/test_service_readme::test_the_service_is_installed_by_the_commands_of_the_readme -->
    ```sh
    ppmproxy service install
    ```

Every block of the section on services is marked (`test_readme`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTION = "Run it as a service, in Docker, in CI, for a team"
_BLOCK = re.compile(
    r"(?:^<!-- run by (?P<test>\S+) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the test that runs it; "" for one that nobody runs."""

    test: str
    language: str
    text: str


def page() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Everything below a heading of the second level."""
    return page().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks_in(text: str) -> list[Block]:
    """Every fenced block of a text."""
    return [Block(found["test"] or "", found["language"], found["text"]) for found in _BLOCK.finditer(text)]


def blocks_of(test: str) -> list[Block]:
    """The blocks that a test runs, in their order; there has to be one."""
    found = [block for block in blocks_in(page()) if block.test == test]
    assert found, f"README.md has no block marked: <!-- run by {test} -->"
    return found
