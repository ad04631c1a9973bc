"""Error responses: status, headers and body, by client. The words are in `errors`.

Every client hides most of an error response, each a different part (measured):

- pip on an index page shows nothing of any error status, but prints the whole Content-Type of a 200 that is no index;
- pipx shows those of pip's lines that have "error:" in them;
- PDM shows no reason phrase at all; `pdm -v` and its log file show that Content-Type;
- uv shows the reason phrase and the problem document (RFC 9457) of a 4xx other than 401, 403, 404 on pages;
- all show the reason phrase of a 4xx other than 401 and 429 on files; pip retries a 5xx for eight seconds and hides it;
- twine posts five times on a 5xx;
- maturin shows the body of a 4xx, but takes a 403 for a wrong password and says only that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from ppmproxy.access.policy import ForbiddenUserError
from ppmproxy.errors import (
    LONGEST_MESSAGE,
    CredentialError,
    MethodNotAllowedError,
    NotPermittedError,
    PpmProxyError,
    RejectedElsewhereError,
    UpstreamError,
    one_line,
    shortened,
)
from ppmproxy.index.routing import ResourceKind

LONGEST_DETAIL = 4000
_SEE_DOCTOR = "; see `ppmproxy doctor`"


@dataclass(frozen=True, slots=True)
class ClientContext:
    """The client and its request, as far as the form of an error depends on them."""

    kind: ResourceKind | None = None  # None: refused before the path was parsed
    user_agent: str = ""

    @property
    def is_pip_page(self) -> bool:
        """Whether pip or PDM asks for an index page. pip-tools, pipenv and Hatch use pip and its User-Agent."""
        return self.kind is ResourceKind.INDEX_PAGE and self.user_agent.lower().startswith(("pip/", "pdm/"))

    @property
    def hides_forbidden(self) -> bool:
        """Whether uv or Poetry asks for an index page, where they hide what a 403 says, and show a 407."""
        return self.kind is ResourceKind.INDEX_PAGE and self.user_agent.lower().startswith(("uv/", "poetry/"))

    @property
    def is_maturin(self) -> bool:
        """Whether maturin uploads a distribution, which is all that it asks for."""
        return self.user_agent.lower().startswith("maturin/")


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A whole response; the reason phrase is ASCII without line breaks."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def last_message(self) -> bytes:
        """The bytes of the response, as the last one of its connection."""
        headers = {**self.headers, "Content-Length": str(len(self.body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii", "replace") + self.body


def render_error(error: PpmProxyError, client: ClientContext) -> ErrorResponse:
    """The response that shows `error` to the person who uses the client."""
    document = {"type": "about:blank", "title": error.title, "status": _status_for(error, client)}
    more = _SEE_DOCTOR if _is_shown_by_pip(error) and "`ppmproxy " not in error.detail else ""
    detail = f"{error.detail.removesuffix('.')}{more}."
    document |= {"detail": shortened(detail, LONGEST_DETAIL), "code": error.code}
    body = json.dumps(document, ensure_ascii=True).encode() + b"\n"
    headers = {"X-Ppmproxy-Error": error.code, "Cache-Control": "no-store", "Content-Type": "application/problem+json"}
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = error.allowed  # RFC 9110 section 15.5.6
    if client.is_pip_page and _is_shown_by_pip(error):
        code = f" (error: {error.code})"  # pipx hides the line without these words
        headers["Content-Type"] = f"text/x-ppmproxy; {_message(error, more, LONGEST_MESSAGE - len(code))}{code}"
        return ErrorResponse(HTTPStatus.OK, "OK", headers, body)
    return ErrorResponse(_status_for(error, client), _message(error, more, LONGEST_MESSAGE), headers, body)


def _message(error: PpmProxyError, more: str, longest: int) -> str:
    """The line for a person; the pointer to more is left out where there is no room for it."""
    message = header_text(error.within(longest))
    return message + more if len(message) + len(more) <= longest else message


def _is_shown_by_pip(error: PpmProxyError) -> bool:
    """Whether the cause is the upstream, the credential or the user; another refused request keeps its plain status."""
    return isinstance(error, (CredentialError, NotPermittedError, UpstreamError, ForbiddenUserError))


def _status_for(error: PpmProxyError, client: ClientContext) -> int:
    if isinstance(error, ForbiddenUserError) and client.hides_forbidden:
        return HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    if isinstance(error, (NotPermittedError, RejectedElsewhereError)) and client.kind is ResourceKind.INDEX_PAGE:
        return HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS  # uv hides a 403 on a page, and shows a 451
    if error.status == HTTPStatus.FORBIDDEN and client.is_maturin:
        return HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS  # maturin calls a 403 a wrong password, and shows a 451
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and client.kind is ResourceKind.UPLOAD:
        return HTTPStatus.FAILED_DEPENDENCY  # twine posts again on any 5xx
    return error.status


def header_text(text: str) -> str:
    """One line of printable ASCII: clients drop a reason phrase that has anything else in it."""
    return shortened(one_line(text).encode("ascii", "replace").decode(), LONGEST_MESSAGE)
