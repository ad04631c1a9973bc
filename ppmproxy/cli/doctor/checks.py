"""Results of doctor's checks, and the checks of the clock, the token and the proxy variables.

Other programs' settings hold passwords, and some servers have a token in the path of a URL, so of a URL that is not our
own only the origin is shown.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppmproxy.auth.credential import Credential, Use, missing_scope
from ppmproxy.auth.redaction import without_user_info
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import PpmProxyError, one_line, shortened
from ppmproxy.upstream.http_date import seconds_since_epoch

MOST_SKEW = 60.0  # seconds between the clocks here and there
PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")  # what plain http is sent through
LONGEST_REASON = 300  # characters of an unforeseen exception
_PACKAGE = Path(__file__).parents[2]


class Outcome(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # the proxy works, with a fault
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of a check in one line, and its fix in one line. The names of checks are stable."""

    check: str
    outcome: Outcome
    what: str
    fix: str = ""

    def document(self) -> dict[str, str]:
        """The result as JSON."""
        return {"check": self.check, "outcome": self.outcome.value, "what": self.what, "fix": self.fix}

    def lines(self) -> Iterator[str]:
        """The result as text."""
        yield f"{self.outcome.value:8} {self.check}: {self.what}"
        if self.fix:
            yield f"{'':8} fix: {self.fix}"

    def without_secrets(self, masked: Callable[[str], str]) -> CheckResult:
        """The result with known secrets and the credentials of URLs masked, each text on one line."""
        what, fix = (masked(without_user_info(one_line(text))) for text in (self.what, self.fix))
        return replace(self, what=what, fix=fix)


def ok(check: str, what: str) -> CheckResult:
    """A check that passed."""
    return CheckResult(check, Outcome.OK, what)


def warning(check: str, what: str, fix: str) -> CheckResult:
    """A fault that does not stop the proxy from working."""
    return CheckResult(check, Outcome.WARNING, what, fix)


def failed(check: str, what: str, fix: str) -> CheckResult:
    """A fault: something does not work, or bypasses the proxy."""
    return CheckResult(check, Outcome.FAILED, what, fix)


def failed_by(check: str, error: PpmProxyError) -> CheckResult:
    """An error as a failed check."""
    return failed(check, str(error), error.hint or "see `ppmproxy --help`")


def guarded(check: str, results: Callable[[], Iterable[CheckResult]]) -> Iterator[CheckResult]:
    """The results of a check; a mistake of this program in it is one more result, so that the other checks go on."""
    try:
        yield from results()
    except PpmProxyError as error:
        yield failed_by(check, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        yield crashed(check, error)


def crashed(check: str, error: Exception) -> CheckResult:
    """An unforeseen exception in a check, with the place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)] or frames
    place = f"{_in_package(ours[-1].filename)}, line {ours[-1].lineno}" if ours else "an unknown place"
    said = shortened(one_line(str(error)), LONGEST_REASON)
    what = f"this check ended in {place}, with {type(error).__name__}{f': {said}' if said else ''}"
    return failed(check, what, "report it, with this line; the other checks went on")


def _in_package(file: str) -> str:
    path = Path(file)
    return path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else path.name


# --- the clock --------------------------------------------------------------------------------------------------------


def clock_check(date: str | None, now: float, upstream: Upstream) -> CheckResult | None:
    """The clock of this machine against the ``Date`` of a response; None when there is none."""
    there = seconds_since_epoch(date)
    if there is None:
        return None
    skew = now - there
    if abs(skew) <= MOST_SKEW:
        return ok("clock", f"within {MOST_SKEW:g} s of {upstream.url}")
    way = "ahead of" if skew > 0 else "behind"
    what = f"this machine's clock is {abs(skew):.0f} s {way} that of {upstream.url}: tokens seem expired, or valid"
    return warning("clock", what, "set the clock, best by a time server (timedatectl set-ntp true)")


# --- the token --------------------------------------------------------------------------------------------------------


def token_check(lookup: LookupResult, upstream: Upstream, now: float, use: Use = Use.READ) -> CheckResult | None:
    """The check of a token before it is tried; None when there is none."""
    check = check_name(use)
    credential = lookup.credential
    if credential is None:
        return None
    token_text = f"{upstream.url}: from {credential.source}{_until(credential)}{_with_scopes(credential)}"
    renewal = credential.remedy or f"put a new token there ({credential.source})"
    if credential.has_expired(now):
        return failed(check, f"{token_text}: it has expired{_others(lookup)}", renewal)
    if missing := missing_scope(credential.claims, use):
        fix = f"ask the Package Manager's administrator for a token with the scope {missing}"
        return failed(check, f"{token_text}: the scope {missing} is missing", fix)
    if credential.remarks:
        return warning(check, token_text, "; ".join(credential.remarks))
    return ok(check, token_text)


def check_name(use: Use) -> str:
    """The check's name for a token of this use."""
    return "upload-token" if use is Use.UPLOAD else "token"


def no_token(lookup: LookupResult, upstream: Upstream) -> str:
    """The message that no source has a token, with each source's reason."""
    return f"{upstream.url}: none found{_others(lookup)}"


def _others(lookup: LookupResult) -> str:
    explanation = lookup.explanation()
    return f" (looked at: {explanation})" if explanation else ""


def _until(credential: Credential) -> str:
    return f", until {credential.claims.expiry}" if credential.claims.expiry else ""


def _with_scopes(credential: Credential) -> str:
    return f", with the scopes {', '.join(credential.claims.scopes)}" if credential.claims.scopes else ""


# --- forward proxies that capture localhost ---------------------------------------------------------------------------


def proxy_variables_check(environ: Mapping[str, str], hosts: Sequence[str]) -> CheckResult:
    """Whether NO_PROXY exempts these hosts from a forward proxy, in both spellings, of which clients read either."""
    check = "proxy-variables"
    capturing = [name for name in PROXY_VARIABLES if environ.get(name)]
    if not capturing:
        return ok(check, "no variable sends plain http through a forward proxy")
    upper, lower = environ.get("NO_PROXY", ""), environ.get("no_proxy", "")
    spared = (lower or upper, upper or lower)  # urllib reads the lower-case one first, Rust's reqwest the other
    missing = [host for host in hosts if not all(_spares(value, host) for value in spared)]
    if not missing:
        return ok(check, f"{', '.join(capturing)} leaves {', '.join(hosts)} alone")
    what = f"{', '.join(capturing)} is set, and NO_PROXY does not name {', '.join(missing)}: clients miss the proxy"
    return failed(check, what, 'eval "$(ppmproxy env)", or add localhost,127.0.0.1,::1 to NO_PROXY and no_proxy')


def _spares(no_proxy: str, host: str) -> bool:
    words = [word.strip("[]") for word in re.split(r"[\s,]+", no_proxy) if word]
    return any(word == "*" or word.lower().lstrip(".") == host or _is_within(host, word) for word in words)


def _is_within(host: str, network: str) -> bool:
    try:
        return "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
