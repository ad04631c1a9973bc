"""Explanations of the codes of errors, for the list of requests on the page: what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

DOCTOR = "`ppmproxy doctor` says more."

EXPLANATIONS: Mapping[str, str] = {
    "token-missing": "No place had a token for this. Sign in, or put a token where ppmproxy looks.",
    "token-expired": "The token is too old. Sign in again, or renew it where it comes from.",
    "token-rejected": "The Package Manager does not accept the token. Sign in again, or get a new one.",
    "sign-in-needed": "Nobody had signed in in time. Sign in, and run the command again.",
    "not-permitted": "The token is valid, and may not read this. Ask who administers the Package Manager.",
    "upstream-unreachable": f"The Package Manager cannot be reached. Is the network, or a VPN, on? {DOCTOR}",
    "upstream-untrusted": f"The Package Manager's certificate is not trusted on this machine. {DOCTOR}",
    "upstream-timeout": f"The Package Manager took the request and did not answer in time. {DOCTOR}",
    "upstream-unexpected": f"The Package Manager answered something that makes no sense here. {DOCTOR}",
    "forbidden-client": "A user, a web page or a name that may not use this proxy. Nothing was sent on.",
    "bad-target": "The address can be read in two ways, so it is refused. It is a mistake of the client.",
    "not-forwarded": "ppmproxy never forwards this path or method. Nothing was sent on.",
    "uploads-off": "Uploads are off. They are switched on with `uploads = true` in the settings.",
    "too-slow": "The client took too long to send its request.",
    "too-many-connections": "Too many connections at once. It passes when other programs have finished.",
    "too-many-downloads": "All connections were in use by other downloads. Try again when they are done.",
    "stopping": "ppmproxy was stopping. Try again when it has started anew.",
    "client-left": "The client left before it had everything, as after Ctrl-C. Nothing is wrong here.",
    "client-stalled": "The client stopped reading, so its connection was closed.",
    "drain-timeout": "ppmproxy was stopped and did not wait for the end of this.",
    "internal": "A mistake in ppmproxy. Its log has the details; please report it.",
}


def explanation_of(code: str) -> str:
    """What a code means and what to do; points to `doctor` for one that is not known here."""
    return EXPLANATIONS.get(code, DOCTOR)
