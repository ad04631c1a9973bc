"""The token of a finished sign-in: written to the token file, or kept in memory until it can be written.

A person who has signed in must not have to do it again because a disk is full or a home directory read-only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.refresh import retry_delay
from ppmproxy.credentials.token_file import TokenFile
from ppmproxy.errors import TokenFileError


@dataclass(frozen=True, slots=True)
class UnsavedToken:
    """A token that is only in memory, and the file's entry when the sign-in finished."""

    token: Secret = field(repr=False)
    file: TokenFile
    before: Secret | None = field(repr=False)
    was_readable: bool
    why: str

    def is_superseded_by(self, stored: Secret | None) -> bool:
        """Whether the file's present entry is newer: another process has written or removed it since."""
        return self.was_readable and stored != self.before


class SignInTokenStore:
    """Stores the tokens of sign-ins to one upstream; to be closed."""

    def __init__(self, address: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._address = address
        self._sleep = sleep
        self._retrying: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()  # so that no other try writes what a sign-in or sign-out has replaced
        self.unsaved: UnsavedToken | None = None

    def __repr__(self) -> str:
        return f"SignInTokenStore({self._address}, is_saved={self.unsaved is None})"

    @property
    def warning(self) -> str:
        """Why the token is only in memory; "" when it is not."""
        return "" if self.unsaved is None else f"the token of the sign-in is only in memory: {self.unsaved.why}"

    async def save(self, file: TokenFile, token: Secret) -> None:
        """Write the token to the file; when that fails, keep it in memory and try again until it succeeds."""
        async with self._changing:
            before, was_readable = await asyncio.to_thread(self._stored_in, file)
            try:
                await asyncio.to_thread(file.save, self._address, token)
            except TokenFileError as error:
                self.unsaved = UnsavedToken(token, file, before, was_readable, str(error))
                self._log("warning", "sign_in_token_unsaved", why=str(error), hint=error.hint)
                if self._retrying is None:
                    self._retrying = asyncio.create_task(self._retry())
            else:
                self.unsaved = None

    async def forget(self, file: TokenFile) -> bool:
        """Remove the token, from memory and from the file; whether there was one. Raises `TokenFileError`."""
        async with self._changing:
            was_unsaved, self.unsaved = self.unsaved is not None, None
            return await asyncio.to_thread(file.remove, self._address) or was_unsaved

    async def close(self) -> None:
        """Try to write the token a last time."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait({self._retrying})
        if self.unsaved is not None and not await self._try_again(self.unsaved):
            self._log("warning", "sign_in_token_lost", why=self.unsaved.why)

    async def _retry(self) -> None:
        failures = 0
        while (unsaved := self.unsaved) is not None:
            failures += 1
            await self._sleep(retry_delay(failures))
            await self._try_again(unsaved)
        self._retrying = None

    async def _try_again(self, unsaved: UnsavedToken) -> bool:
        """Write the token unless there is a newer one, or none any more; whether it needs no other try."""
        async with self._changing:
            if self.unsaved is not unsaved:  # another sign-in has finished meanwhile, or the person has signed out
                return True
            try:
                await asyncio.to_thread(self._write, unsaved)
            except TokenFileError:
                return False
            self.unsaved = None
            self._log("info", "sign_in_token_saved")
            return True

    def _write(self, unsaved: UnsavedToken) -> None:
        if not unsaved.is_superseded_by(unsaved.file.find(self._address)):
            unsaved.file.save(self._address, unsaved.token)

    def _stored_in(self, file: TokenFile) -> tuple[Secret | None, bool]:
        try:
            return file.find(self._address), True
        except TokenFileError:
            return None, False

    def _log(self, level: str, event: str, **fields: str) -> None:
        getattr(structlog.get_logger("ppmproxy"), level)(event, upstream=self._address, **fields)
