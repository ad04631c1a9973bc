"""The server of client connections: makes them, and ends them all when the daemon stops."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage

from ppmproxy.access.admission import Admission
from ppmproxy.server.connection import ClientConnection, Responder

OUR_VERSIONS = (HttpVersion10, HttpVersion11)


class ClientServer(web.Server):
    """Creates a `ClientConnection` for each connection."""

    def __init__(self, responder: Responder, admission: Admission) -> None:
        # A client that leaves cancels its handler.
        super().__init__(self._answer, request_factory=self._request, handler_cancellation=True)
        self.responder = responder
        self.admission = admission
        self.is_draining = False  # what comes now is the last request of its connection
        self.is_cut = False  # and now there is none

    async def drain(self, timeout: float) -> None:
        """Finish the requests under way; new connections are still accepted, for a response that says why not."""
        self.is_draining = True
        await asyncio.sleep(0)  # a request that has arrived is begun
        held = list(self.connections)
        for connection in held:
            connection.close()
        await asyncio.gather(*(connection.shutdown(timeout) for connection in held))

    def cut(self) -> None:
        """Close every connection at once, those that are still to come too."""
        self.is_cut = True
        for connection in list(self.connections):
            if isinstance(connection, ClientConnection):
                connection.cut()

    def __call__(self) -> web.RequestHandler:
        return ClientConnection(self, self.responder, self.admission, lambda: self.is_cut)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        try:
            response = await self.responder.answer(request)
        finally:
            if isinstance(connection, ClientConnection):
                connection.request_ended()
        if self.is_draining or (isinstance(connection, ClientConnection) and connection.is_last_request):
            response.force_close()
        return response

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        is_ours = message.version in OUR_VERSIONS
        if isinstance(protocol, ClientConnection):
            protocol.request_began(payload, is_ours=is_ours)
        if not is_ours:  # the answer would be written in the version of the request
            message = message._replace(version=HttpVersion11, should_close=True)
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
