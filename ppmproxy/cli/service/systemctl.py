"""The user's systemd, controlled through `systemctl`."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError, one_line, shortened

TIMEOUT = 120.0  # seconds; longer than systemd itself waits for a start or a stop
JOURNAL = "journalctl --user -u ppmproxy"
MOST_LINES, LONGEST_LINE = 10, 500
JOURNAL_TRIES, JOURNAL_DELAY = 8, 0.25  # seconds between two looks at it
_NO_BUS = ("Failed to connect to bus", "Failed to connect to user scope bus", "has not been booted with systemd")
_WITHOUT = "start `ppmproxy run` in another way"

_NO_SESSION = f"log in as this user without su or sudo, or run `loginctl enable-linger`, or {_WITHOUT}"


class ServiceError(PpmProxyError):
    """The service failed."""

    code = "service"
    title = "service failure"


class StartError(Exception):
    """The service does not start: the error for the person, and the last lines of its log."""

    def __init__(self, cause: PpmProxyError, log: Sequence[str]) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.log = [f"the last lines of its log ({JOURNAL}):", *(f"  {line}" for line in log)] if log else []


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """Exit code and output of `systemctl`."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The error message on one line, or the exit code."""
        return one_line(self.err or self.out) or f"it ended with exit code {self.code}"


@dataclass(frozen=True, slots=True)
class UserSystemd:
    """The service manager of the user with this environment."""

    environ: Mapping[str, str] = field(repr=False)  # for child processes

    def call(self, *words: str) -> CommandOutput:
        """Run a command; `ConfigError` when there is no such manager."""
        return self._run("systemctl", "--user", "--no-ask-password", *words)

    def require(self, *words: str) -> None:
        """Run a command that must succeed; `ServiceError`."""
        answer = self.call(*words)
        if answer.code:
            raise ServiceError(f"systemctl --user {' '.join(words)}: {answer.words}", "see `journalctl --user -e`")

    def check(self) -> None:
        """`ConfigError` when there is no such manager."""
        self.call("show", "--property=Version")

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit by name; several values of one are joined by newlines."""
        answer = self.call("show", unit, f"--property={','.join(names)}")
        found: dict[str, str] = {}
        for name, _, value in (line.partition("=") for line in answer.out.splitlines()):
            found[name] = f"{found[name]}\n{value}" if name in found else value
        return found

    def directives(self, unit: str, name: str) -> list[str]:
        """The values of one directive in a unit's files, drop-ins included."""
        lines = self.call("cat", unit).out.splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]

    def last_words(self, unit: str) -> list[str]:
        """The last lines in the log of a unit's last start, which failed; none where there is no journal to read.

        The journal has them a moment after the unit has failed, the unit's own a little after systemd's.
        """
        start = self.show(unit, "InvocationID").get("InvocationID")
        of_start = (
            f"_SYSTEMD_INVOCATION_ID={start}",
            "+",
            f"USER_INVOCATION_ID={start}",
        )  # its own and systemd's lines
        words = (f"--lines={MOST_LINES}", "--output=cat", "--no-pager", "--quiet", *of_start)
        lines: list[str] = []
        with contextlib.suppress(PpmProxyError):
            for _ in range(JOURNAL_TRIES if start else 0):
                before, lines = lines, self._run("journalctl", "--user", *words).out.splitlines()
                if lines == before and any("Failed with result" in line for line in lines):
                    break
                time.sleep(JOURNAL_DELAY)
        return [shortened(one_line(line), LONGEST_LINE) for line in lines]

    def unit_folder(self, environment: Environment) -> Path:
        """The folder of this user's own units."""
        folders = (environment.home / ".config", environment.config_home())
        usual, named_folder = (folder / "systemd" / "user" for folder in folders)
        if named_folder == usual:
            return usual
        # The manager has its own environment, in which the variable of a shell may be missing.
        with contextlib.suppress(ConfigError):  # no manager; a dry run works without
            known = self.call("show", "--property=UnitPath", "--value").out.split()
            return named_folder if str(named_folder) in known else usual
        return named_folder

    def _run(self, *command: str) -> CommandOutput:
        try:
            ended = subprocess.run(  # noqa: S603 - a system program with fixed arguments
                command,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
            )
        except OSError:  # not found, or in a folder that cannot be searched
            raise ConfigError("systemctl is not installed on this machine", _WITHOUT) from None
        except subprocess.TimeoutExpired:
            raise ServiceError(f"systemctl did not answer within {TIMEOUT:g} s", "see `systemctl --user`") from None
        answer = CommandOutput(ended.returncode, ended.stdout, ended.stderr)
        if answer.code and any(words in answer.err for words in _NO_BUS):
            raise ConfigError("the systemd of this user is not running", _NO_SESSION)
        return answer

    def _environ(self) -> dict[str, str]:
        """The environment, with XDG_RUNTIME_DIR where a shell lacks it, as after `su`."""
        environ = dict(self.environ)
        runtime = Path(f"/run/user/{own_uid()}")
        if "XDG_RUNTIME_DIR" not in environ and (runtime / "systemd").is_dir():
            environ["XDG_RUNTIME_DIR"] = str(runtime)
        return environ | {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
