"""What the kernel knows of a running process: its CPU time and its memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


@dataclass(frozen=True)
class Observed:
    """A process that is looked at from outside."""

    pid: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far, in the program and in the kernel on its behalf."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK

    @property
    def memory(self) -> float:
        """Resident memory, in MB."""
        return self._megabytes("VmRSS")

    @property
    def peak_memory(self) -> float:
        """The most resident memory since `forget_peak`, in MB."""
        return self._megabytes("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak begin anew; proc(5), clear_refs."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _megabytes(self, name: str) -> float:
        line = next(line for line in self._read("status").splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024 / 1e6

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()


def worker_of(pid: int) -> Observed | None:
    """The one process that a server has started to do its work, once it has."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Observed(int(children[0])) if children else None
