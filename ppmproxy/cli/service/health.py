"""How systemd's units for ppmproxy are doing, what is wrong with them, and what to do about it.

To change what a failure of the service is called, or which way out is named, open this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppmproxy.access.port_owner import holder_of
from ppmproxy.cli.service.systemctl import ServiceError, UserSystemd
from ppmproxy.cli.service.units import SERVICE, SOCKET
from ppmproxy.errors import (
    EXIT_CANNOT_LISTEN,
    EXIT_CONFIGURATION,
    EXIT_USAGE,
    CannotListenError,
    ConfigError,
    PpmProxyError,
    TokenMissingError,
)

PROPERTIES = (
    *("ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "StatusText", "UnitFileState"),
    *("NRestarts", "Listen"),
)
_EXIT_CREDENTIALS, _EXIT_EXEC = 243, 203  # systemd.exec(5), Process Exit Codes
_GIVEN_UP = "start-limit-hit"
_LOG = "`journalctl --user -u ppmproxy`"
_AGAIN = "then `systemctl --user restart ppmproxy.socket ppmproxy.service`"


@dataclass(frozen=True, slots=True)
class Health:
    """The two units, by their properties."""

    service: Mapping[str, str]
    socket: Mapping[str, str]
    credentials: Sequence[str] = ()  # "token:/path"

    @classmethod
    def of(cls, systemd: UserSystemd) -> Health:
        """As they are now."""
        service, socket = (systemd.show(unit, *PROPERTIES) for unit in (SERVICE, SOCKET))
        return cls(service, socket, systemd.directives(SERVICE, "LoadCredential"))

    @property
    def is_well(self) -> bool:
        """Whether a request is taken, or will start what takes it."""
        return self.socket.get("ActiveState") == "active" and self.error() is None

    def lines(self) -> Iterator[str]:
        """The state of both, for people."""
        places = ", ".join(self._places())
        listening = self.socket.get("ActiveState") == "active"
        yield f"socket: {'listening on' if listening else 'not listening on'} {places}"
        if self.service.get("ActiveState") == "inactive" and listening:
            yield "service: not running; the first request starts it"
        else:
            said = self.service.get("StatusText")
            state = f"{self.service.get('ActiveState')} ({self.service.get('SubState')})"
            yield f"service: {state}" + (f": {said}" if said else "")
        if self.socket.get("UnitFileState") != "enabled":
            yield "socket: not enabled, so nothing starts by itself; `ppmproxy service install` enables it"

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong, and what to do about each."""
        error = self.error()
        if error is not None:
            yield str(error), error.hint
        if self.socket.get("ActiveState") == "failed" and not (error and self._gave_up):
            yield f"systemd does not listen: {self.why_no_socket()}", f"free the port, {_AGAIN}"
        elif self.socket.get("ActiveState") == "inactive":
            yield "systemd does not listen: ppmproxy.socket was stopped", "systemctl --user start ppmproxy.socket"

    @property
    def _gave_up(self) -> bool:
        """Whether systemd does not try any more; then it has closed the socket too."""
        return _GIVEN_UP in {self.service.get("Result"), self.socket.get("Result", "").removeprefix("service-")}

    def why_no_socket(self) -> str:
        """Who is in the way."""
        for place in self._places():
            host, _, port = place.rpartition(":")
            if port.isdigit():
                holder = holder_of(host.strip("[]"), int(port))
                if holder != "another program":
                    return f"{place} is taken by {holder}"
        return self.socket.get("Result", "") or "it does not say why"

    def _places(self) -> list[str]:
        """``Listen`` as `systemctl show` has it: ``127.0.0.1:7760 (Stream)``, one a line or all on one."""
        return [word for word in self.socket.get("Listen", "").split() if not word.startswith("(")]

    def error(self) -> PpmProxyError | None:
        """Why the service does not run although it should; None when nothing is wrong."""
        is_down = self.service.get("ActiveState") in {"failed", "activating"} or self._gave_up
        if not is_down or self.service.get("Result") in {"success", ""}:
            return None
        status = int(self.service.get("ExecMainStatus") or 0)
        said = self.service.get("StatusText", "")
        if status == _EXIT_CREDENTIALS:
            what = f"the service has no credential: {self._credential_file()} cannot be read"
            return TokenMissingError(what, f"put the token there (chmod 600), {_AGAIN}")
        if status == _EXIT_EXEC:
            what = "the service's program cannot be started: its Python was moved or removed"
            return ServiceError(what, "run `ppmproxy service install` from where it is now")
        if status in {EXIT_USAGE, EXIT_CONFIGURATION, EXIT_CANNOT_LISTEN}:
            kind = CannotListenError if status == EXIT_CANNOT_LISTEN else ConfigError
            return kind(f"the service does not start: {said or f'exit code {status}'}", f"mend that, {_AGAIN}")
        return ServiceError(f"the service failed: {self.service.get('Result')}", f"see {_LOG}, {_AGAIN}")

    def _credential_file(self) -> str:
        files = [one.partition(":")[2].replace("%%", "%") for one in self.credentials]
        return " or ".join(filter(None, files)) or "what its unit has as LoadCredential="
