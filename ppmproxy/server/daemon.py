"""The daemon: start, reload, stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from ppmproxy.access.access_control import AccessControl
from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.access.discovery import tcp_addresses
from ppmproxy.access.hardening import open_file_limit
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.access.listeners import AcceptErrorHandler, Acceptor, open_listeners, url_of
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError
from ppmproxy.server.admin.routes import AdminPages
from ppmproxy.server.client_server import ClientServer
from ppmproxy.server.dispatcher import Dispatcher
from ppmproxy.server.notifications import Notifications
from ppmproxy.server.probe import UpstreamProbe
from ppmproxy.server.reload import Draining, merge_reloadable
from ppmproxy.server.sd_notify import listening_on
from ppmproxy.server.set_up_checks import Diagnose
from ppmproxy.server.state import State
from ppmproxy.server.wiring import Services, SignInUi, Wiring
from ppmproxy.upstream.address_changes import AddressChanges
from ppmproxy.upstream.preconnect import AT_START


@dataclass(frozen=True, slots=True)
class Launch:
    """How a daemon was started: with sockets that listen already, or without; to stay, or with one command."""

    passed: tuple[socket.socket, ...] = ()  # listened on instead of the settings' addresses
    is_ephemeral: bool = False  # published to this user's other commands, see `DaemonRecord`
    diagnose: Diagnose | None = None  # the checks that the page and `ppmproxy doctor` ask for
    manager: str = ""  # the service manager that started it, see `DaemonRecord`


class Daemon:
    """The proxy, listening; `start` makes one, `reload` gives it new settings, `stop` ends it in an orderly way."""

    def __init__(
        self,
        services: Services,
        wiring: Wiring,
        access_control: AccessControl,
        listeners: list[socket.socket],
        notifications: Notifications,
    ) -> None:
        self.services = services
        self.stop_requested = asyncio.Event()  # the caller of `start` waits for this, and calls `stop`
        self.urls = [url_of(listener) for listener in listeners]
        self._wiring = wiring
        self._access_control = access_control
        self._listeners = listeners
        self._notifications = notifications
        self._running = contextlib.AsyncExitStack()  # what is done in the background
        self._probe = UpstreamProbe()
        self._dispatcher = Dispatcher(services, self._admin_pages(services), self._probe)
        self._draining = Draining()
        self._runner: web.ServerRunner | None = None
        self._server: ClientServer | None = None
        self._acceptor: Acceptor | None = None
        self._address_changes: AddressChanges | None = None
        self._holds_passed_sockets = False
        self._is_cut = False

    @property
    def url(self) -> str:
        """The first address, without a trailing slash."""
        return self.urls[0]

    @property
    def key(self) -> IdentityKey:
        """What this daemon proves its identity with."""
        return self._access_control.key

    def connection(self) -> asyncio.Protocol:
        """The protocol of another client connection, for a transport that no listener has accepted."""
        if self._server is None:
            raise RuntimeError("the daemon has not started")
        return self._server()

    @classmethod
    async def start(
        cls,
        settings: Settings,
        environment: Environment,
        redactor: Redactor | None = None,
        sign_in_ui: SignInUi | None = None,
        launch: Launch | None = None,
    ) -> Daemon:
        """Bind, wire, and take requests; raises `CannotListenError` or `ConfigError`, and then leaves nothing open."""
        launch = launch or Launch()
        with contextlib.ExitStack() as undo:
            listeners = list(launch.passed) or open_listeners(settings.listen)
            for listener in listeners:
                undo.callback(listener.close)
            settings = listening_on(settings, launch.passed)
            _refuse_to_lead_to_itself(settings.upstreams, listeners)
            access_control = AccessControl.on(listeners, settings, environment)
            access_control.is_ephemeral, access_control.manager = launch.is_ephemeral, launch.manager
            undo.callback(access_control.close)
            state = State(started_at=time.time(), used_at=time.monotonic())
            notifications = Notifications(environment, settings, _own_page(listeners), launch.is_ephemeral)
            wiring = Wiring(
                environment,
                redactor or Redactor(),
                sign_in_ui or SignInUi(),
                launch.diagnose,
                sign_in_ended=state.counters.record_sign_in,
                notify=notifications.sign_in_changed,
            )
            services = wiring.services(settings, state)
            undo.pop_all()
        daemon = cls(services, wiring, access_control, listeners, notifications)
        daemon._holds_passed_sockets = bool(launch.passed)
        await daemon._serve()
        return daemon

    def _admin_pages(self, services: Services) -> AdminPages:
        access_control, end = self._access_control, self.stop_requested.set
        return AdminPages(
            services.settings,
            services.state,
            access_control.key,
            access_control.access,
            end,
            services.store,
            services.shared,
            access_control.restore_record,
            connections=lambda: access_control.admission.connections,
            urls=self.urls,
            diagnose=self._wiring.diagnose,
        )

    async def _serve(self) -> None:
        services, log = self.services, self._dispatcher.log
        asyncio.get_running_loop().set_exception_handler(AcceptErrorHandler(log))
        shares = DescriptorShares.of(open_file_limit())
        self._server = ClientServer(self._dispatcher, self._access_control.admission)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=services.settings.drain_timeout)
        await self._runner.setup()
        self._acceptor = Acceptor(self._listeners, self._server, shares.accepted_at_once)
        await self._acceptor.open()
        if self._acceptor.can_pause:
            self._access_control.admission.gate = self._acceptor
        self._address_changes = AddressChanges(self._distrust_idle_connections)
        await self._running.enter_async_context(self._notifications.watching(lambda: self.services.sessions))
        services.state.record_listening()
        # Published first: a command that reads "daemon_listening" may ask for the proof at once.
        self._access_control.publish(self.urls, log)
        upstreams = {upstream.mount: upstream.url for upstream in services.settings.upstreams}
        log.info("daemon_listening", urls=self.urls, upstreams=upstreams)

    async def find_first_credentials(self) -> None:
        """Look for each upstream's credential before anybody needs it, so that the state shows which there is."""
        services = self.services
        with services.in_flight:
            for session in services.sessions.values():
                await session.find_first_credential()

    def preconnect(self) -> None:
        """Open connections to the upstreams for the clients that start with this daemon; returns at once."""
        sessions = [session for session in self.services.sessions.values() if session.upstream.configured]
        for session in sessions:
            session.client.preconnect(max(1, AT_START // len(sessions)))

    def _distrust_idle_connections(self) -> None:
        for session in self.services.sessions.values():
            session.client.distrust_idle()

    def reload(self, settings: Settings) -> None:
        """Use new settings for new requests; after a `ConfigError` the old ones stay in use.

        Requests under way finish on the services that they began with, which are closed after the last of them.
        """
        old = self.services
        settings, _ = merge_reloadable(old.settings, settings)
        _refuse_to_lead_to_itself(settings.upstreams, self._listeners)
        fresh = State(0.0)
        services = self._wiring.services(settings, fresh)
        unchanged = {upstream.name for upstream in settings.upstreams if upstream in old.settings.upstreams}
        old.state.record_reload(fresh, unchanged)
        self.services = replace(services, state=old.state, running=old.running, limits=old.limits)
        self._dispatcher.use(self.services, self._admin_pages(self.services))
        self._notifications.settings = settings
        self._draining.add(old.in_flight, old.close)

    def cut(self) -> None:
        """Wait no longer for requests under way and for uploads: `stop` comes to its end at once."""
        self._is_cut = True
        self._wiring.cut()
        if self._server is not None:
            self._server.cut()

    async def stop(self) -> None:
        """Take no more requests, finish those under way within `drain_timeout`, close everything.

        Until then new requests get an error that says that the daemon stops. Sockets that systemd passed are closed at
        once: it holds them, and new connections wait for the next daemon.
        """
        deadline = time.monotonic() + self.services.settings.drain_timeout
        self.services.state.record_draining()
        await self._dispatcher.end_page()
        if self._runner is not None and self._server is not None:
            if not self._holds_passed_sockets:
                await self._server.drain(self.services.settings.drain_timeout)
            if self._acceptor is not None:
                self._access_control.admission.gate = None
                self._acceptor.close()
            await self._runner.cleanup()
        if self._address_changes is not None:
            self._address_changes.close()
        await self._running.aclose()
        await self.services.running.close()
        await self._probe.close()
        self._dispatcher.refusals.close()
        try:
            await self._draining.close()
            await self.services.close()
            await self._wiring.close(0.0 if self._is_cut else deadline)
        finally:  # last: `ppmproxy shutdown` returns when the record is gone, and the cache may be deleted then
            self._access_control.close()


def _own_page(listeners: Sequence[socket.socket]) -> str:
    """The URL of the page for people, at the first address with a port; "" without one."""
    return next((f"{one.for_clients.url}/-/" for one in tcp_addresses(map(url_of, listeners))), "")


def _refuse_to_lead_to_itself(upstreams: Sequence[Upstream], listeners: Sequence[socket.socket]) -> None:
    """Refuse an upstream that is this proxy itself, as when a person pastes the local URL: it would never answer."""
    ports = {listener.getsockname()[1] for listener in listeners if listener.family != getattr(socket, "AF_UNIX", None)}
    for upstream in upstreams:
        if is_loopback_host(upstream.origin.host) and upstream.origin.port in ports:
            what = f"the upstream {upstream.url} is ppmproxy itself"
            raise ConfigError(what, "set url to your Package Manager, as in https://packagemanager.example.com")
