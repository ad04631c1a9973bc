"""The key of a daemon: the proof of its identity, and the secrets that its own user alone can send.

The daemon generates it when it starts and stores it in its record (`daemon_record`), which only its own user can read.
A command sends a random nonce and gets its HMAC under that key, over the nonce and the address at which the connection
came in: the response can neither be reused nor forwarded from another port. The key itself never crosses a socket.

Acting on the daemon takes a second secret, derived from the same key and sent only over a connection on which the
daemon has just proved itself (`daemon_identity`). The page for people has a third one, which signs in and out and
cannot end the daemon.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.errors import ForbiddenClientError

if TYPE_CHECKING:
    from ppmproxy.auth.secret import Secret

PAGE = "/-/proof"
DOCTOR = "/-/doctor"  # runs the checks of the Package Managers in the daemon; a POST with `ADMIN_HEADER`
ADMIN_HEADER = "X-Ppmproxy-Secret"
PAGE_HEADER = "X-Ppmproxy-Page-Token"
INTERCEPT_HEADER = "X-Ppmproxy-Intercept"
KEY_BYTES = NONCE_BYTES = 32

_NONCE = re.compile(r"[0-9a-f]{32,128}")


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """The secret by which a daemon proves its identity."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> IdentityKey:
        """A new one, for each start."""
        return cls(os.urandom(KEY_BYTES))

    def proof(self, nonce: str, place: str) -> str:
        """The proof for a nonce on a connection that came in at an endpoint (`endpoint_of`)."""
        return self._mac("proof", nonce, place)

    @property
    def admin_secret(self) -> str:
        """The value of `ADMIN_HEADER` in a request that acts on the daemon."""
        return self._mac("act")

    def token_fingerprint(self, token: Secret) -> str:
        """Identifies a token to those who can read the key; they can check a guess, and no more."""
        return self._mac("token", token.reveal())

    def is_authorized(self, header: str | None) -> bool:
        """Whether a request may act on the daemon; takes as long for a nearly right secret as for any other."""
        given = (header or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self.admin_secret.encode())

    @property
    def page_token(self) -> str:
        """The value of `PAGE_HEADER`, for a page that this daemon's own user asked for."""
        return self._mac("page")

    @property
    def start_id(self) -> str:
        """Identifies this start of the daemon to a page that was opened before; no secret."""
        return self._mac("start")[:16]

    def is_page_token(self, header: str | None) -> bool:
        """Whether a request comes from a page of this start that may act."""
        given = (header or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self.page_token.encode())

    def intercept_header(self, origin: str, method: str, raw_target: str) -> str:
        """The value of `INTERCEPT_HEADER` for a request whose real URL counts: the origin, and a proof of this key."""
        return f"{origin} {self._mac('intercept', origin, method, raw_target)}"

    def intercepted_origin(self, values: Sequence[str], method: str, raw_target: str) -> str:
        """The origin that such a request is for; `ForbiddenClientError` when it proves nothing."""
        origin = values[0].partition(" ")[0] if len(values) == 1 else ""
        expected = self.intercept_header(origin, method, raw_target).encode("utf-8", "surrogateescape")
        if not origin or not hmac.compare_digest(values[0].encode("utf-8", "surrogateescape"), expected):
            what = "the request for a real URL has no proof that `ppmproxy exec --intercept` sent it"
            raise ForbiddenClientError(what, "run the command with `ppmproxy exec --intercept --`")
        return origin

    def _mac(self, *parts: str) -> str:
        text = "\0".join(("ppmproxy", *parts)).encode("utf-8", "surrogatepass")  # an environment may have any bytes
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


def nonce_of_query(query: str) -> str | None:
    """The nonce of a request to `PAGE`; None without a well-formed one."""
    name, _, value = query.partition("=")
    return value if name == "nonce" and _NONCE.fullmatch(value) else None


def endpoint_of(name: object) -> str:
    """A socket's name as both ends write it: an IPv4 address is the same when mapped into IPv6."""
    if isinstance(name, tuple):
        host = str(name[0]).partition("%")[0].lower().removeprefix("::ffff:")
        return f"{host} {name[1]}"
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
