"""Responses that have no body by definition, but come with one: clients ignore it and close the connection."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp.client_proto import ResponseHandler

from ppmproxy.upstream.response_head import end_of_head

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_INTERIM: Final = re.compile(rb"1(?!01)")  # RFC 9110 section 15.2
_BODILESS: Final = frozenset({b"204", b"304"})


class BodilessResponseHandler(ResponseHandler):
    """aiohttp's handler, whose parser takes such a body for another response and refuses both.

    Responses to HEAD, 204 and 304 end with their heads (RFC 9112 section 6.3). The first data of a response must hold
    its whole head, as `LenientResponseHandler` passes it on.
    """

    _awaits_head = False
    _has_ended = False  # the response: what comes is no part of it

    def set_response_params(self, **params: Any) -> None:
        """Expect the head of a response: called for each request."""
        self._awaits_head, self._has_ended = True, False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to the response."""
        if self._awaits_head:
            data = self._own_part(data)
        elif self._has_ended:
            self.force_close()
            return
        super().data_received(data)

    def _own_part(self, data: bytes) -> bytes:
        status = _STATUS.match(data)
        if status and _INTERIM.match(status[1]):
            return data
        self._awaits_head = False
        end = end_of_head(data) if status and (self._skip_payload or status[1] in _BODILESS) else 0
        if not end:
            return data
        self._has_ended = True
        if len(data) > end:
            self.force_close()  # nobody knows where the body ends
        return data[:end]
