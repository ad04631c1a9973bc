"""Explanations of the codes of errors, for the list of requests on the page: what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

DOCTOR = "Run `ppmproxy doctor`."

EXPLANATIONS: Mapping[str, str] = {
    "token-missing": "The Package Manager requires a token, and none was found. Sign in, or set PPMPROXY_TOKEN.",
    "token-expired": "The token has expired. Sign in again, or renew it at its source.",
    "token-rejected": "The Package Manager rejects the token. Sign in again, or get a new one.",
    "sign-in-needed": "The sign-in was not confirmed in time. Sign in, and run the command again.",
    "not-permitted": "The token is valid and has no access to this. Ask the administrator of the Package Manager.",
    "upstream-unreachable": f"The Package Manager cannot be reached. Check the network and the VPN. {DOCTOR}",
    "upstream-untrusted": f"The Package Manager's certificate is not trusted on this machine. {DOCTOR}",
    "upstream-timeout": f"The Package Manager did not answer in time. {DOCTOR}",
    "upstream-unexpected": f"The Package Manager sent a response that does not fit the request. {DOCTOR}",
    "forbidden-client": "This user, web page or Host may not use this proxy. ppmproxy forwarded nothing.",
    "bad-target": "Servers could read the URL in two ways, so ppmproxy refuses it. The client has to correct it.",
    "not-forwarded": "ppmproxy does not forward this path or method.",
    "uploads-off": "Uploads are off. Set `uploads = true` in the settings to allow them.",
    "too-slow": "The client took too long to send its request.",
    "too-many-connections": "There were too many connections. Try again when other installs have finished.",
    "too-many-downloads": "Other downloads used all connections. Try again when they are done.",
    "stopping": "ppmproxy was stopping. Start it again, then try again.",
    "client-left": "The client closed the connection early, as after Ctrl-C.",
    "client-stalled": "The client stopped reading, so ppmproxy closed its connection.",
    "drain-timeout": "ppmproxy was stopped before this request ended.",
    "internal": "ppmproxy failed unexpectedly. See its log, and report it.",
}


def explanation_of(code: str) -> str:
    """What a code means and what to do; points to `doctor` for one that is not known here."""
    return EXPLANATIONS.get(code, DOCTOR)
