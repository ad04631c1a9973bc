"""The state of systemd's units for ppmproxy, their faults and the fix for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppmproxy.access.port_owner import owner_of
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
_AGAIN = "then `ppmproxy service install`"  # systemd itself refuses a start after several that failed


@dataclass(frozen=True, slots=True)
class Health:
    """The properties of the two units."""

    service: Mapping[str, str]
    socket: Mapping[str, str]
    credentials: Sequence[str] = ()  # "token:/path"

    @classmethod
    def of(cls, systemd: UserSystemd) -> Health:
        """The current state."""
        service, socket = (systemd.show(unit, *PROPERTIES) for unit in (SERVICE, SOCKET))
        return cls(service, socket, systemd.directives(SERVICE, "LoadCredential"))

    @property
    def is_healthy(self) -> bool:
        """Whether a request is answered, by a running service or by one that the socket starts."""
        return self.socket.get("ActiveState") == "active" and self.error() is None

    def lines(self) -> Iterator[str]:
        """The state of both units, as text."""
        places = ", ".join(self._places())
        is_listening = self.socket.get("ActiveState") == "active"
        yield f"socket: {'listening on' if is_listening else 'not listening on'} {places}"
        if self.service.get("ActiveState") == "inactive" and is_listening:
            yield "service: not running; the first request starts it"
        else:
            status_text = self.service.get("StatusText")
            state = f"{self.service.get('ActiveState')} ({self.service.get('SubState')})"
            yield f"service: {state}" + (f": {status_text}" if status_text else "")
        if self.socket.get("UnitFileState") != "enabled":
            yield "socket: not enabled, so nothing starts by itself; `ppmproxy service install` enables it"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Each fault, and its fix."""
        error = self.error()
        if error is not None:
            yield str(error), error.hint
        if self.socket.get("ActiveState") == "failed" and not (error and self._has_given_up):
            yield f"systemd does not listen: {self.socket_failure()}", f"free the port, {_AGAIN}"
        elif self.socket.get("ActiveState") == "inactive":
            yield "systemd does not listen: ppmproxy.socket was stopped", "systemctl --user start ppmproxy.socket"

    @property
    def _has_given_up(self) -> bool:
        """Whether systemd has stopped restarting the service; then it has closed the socket too."""
        return _GIVEN_UP in {self.service.get("Result"), self.socket.get("Result", "").removeprefix("service-")}

    def socket_failure(self) -> str:
        """The reason why the socket unit failed: the process that holds the port, or systemd's result."""
        for place in self._places():
            host, _, port = place.rpartition(":")
            if port.isdigit():
                holder = owner_of(host.strip("[]"), int(port))
                if holder != "another program":
                    return f"{place} is taken by {holder}"
        return self.socket.get("Result", "") or "it does not say why"

    def _places(self) -> list[str]:
        """``Listen`` as `systemctl show` has it: ``127.0.0.1:7760 (Stream)``, one a line or all on one."""
        return [word for word in self.socket.get("Listen", "").split() if not word.startswith("(")]

    def error(self) -> PpmProxyError | None:
        """The fault of a service that should run and does not; None when there is none."""
        is_down = self.service.get("ActiveState") in {"failed", "activating"} or self._has_given_up
        if not is_down or self.service.get("Result") in {"success", ""}:
            return None
        status = int(self.service.get("ExecMainStatus") or 0)
        status_text = self.service.get("StatusText", "")
        if status == _EXIT_CREDENTIALS:
            what = f"the service has no credential: {self._credential_file()} cannot be read"
            return TokenMissingError(what, f"put the token there (chmod 600), {_AGAIN}")
        if status == _EXIT_EXEC:
            what = "the service's program cannot be started: its Python was moved or removed"
            return ServiceError(what, "run `ppmproxy service install` from where it is now")
        if status in {EXIT_USAGE, EXIT_CONFIGURATION, EXIT_CANNOT_LISTEN}:
            kind = CannotListenError if status == EXIT_CANNOT_LISTEN else ConfigError
            return kind(f"the service does not start: {status_text or f'exit code {status}'}", f"mend that, {_AGAIN}")
        return ServiceError(f"the service failed: {self.service.get('Result')}", f"see {_LOG}, {_AGAIN}")

    def _credential_file(self) -> str:
        files = [one.partition(":")[2].replace("%%", "%") for one in self.credentials]
        return " or ".join(filter(None, files)) or "what its unit has as LoadCredential="
